"""What supervisor and runner say to each other, and nothing else: three files and one pipe.

- `task.json`: the StageAssignment, written by the supervisor before the runner starts.
- the pipe: JSON lines `{"progress" | "metrics" | "checkpoint" | "retire" | "log": {...}}`, from the runner, as things
  happen.
- `outcome.json`: `{"outputs": {...}}` or `{"failure": {...}}`, written by the runner, whole or not at all.
- `runner.log`: stdout and stderr of the runner, for people.

Values are protobuf messages in their JSON form, so the types are those of `proto/luthier/v1`; but for `log` and
`retire`, which are the dataclasses below.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message as ProtoMessage

from luthier.artifacts import sync_path
from luthier.v1.failure_pb2 import Failure
from luthier.v1.stage_pb2 import Checkpoint, MetricPoint, Progress, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment

_ProtoMessage = TypeVar("_ProtoMessage", bound=ProtoMessage)

TASK = "task.json"
OUTCOME = "outcome.json"
LOG = "runner.log"

MAX_LINE_BYTES = 1 << 20
"""Longest line on the pipe."""


@dataclass(frozen=True)
class LogLine:
    """A log record of the runner, for the supervisor's log."""

    level: int
    """As in `logging`."""
    logger: str
    message: str


@dataclass(frozen=True)
class Retirement:
    """Checkpoints that the stage needs no more. They stay until the coordinator has struck them from its record."""

    uris: tuple[str, ...]


Message = Progress | MetricPoint | Checkpoint | Retirement | LogLine
"""One line on the pipe."""

Outcome = StageOutputs | Failure
"""How an attempt ended."""

_MESSAGES: dict[str, type[Progress | MetricPoint | Checkpoint]] = {
    "progress": Progress,
    "metrics": MetricPoint,
    "checkpoint": Checkpoint,
}
_OUTCOMES: dict[str, type[Outcome]] = {"outputs": StageOutputs, "failure": Failure}


def write_task(work_dir: Path, assignment: StageAssignment) -> None:
    """Leaves the assignment for the runner."""
    (work_dir / TASK).write_text(json_format.MessageToJson(assignment, preserving_proto_field_name=True))


def read_task(work_dir: Path) -> StageAssignment:
    """The assignment that the supervisor left.

    Raises:
        OSError: there is none.
        json_format.ParseError: it is not one.
    """
    return json_format.Parse((work_dir / TASK).read_text(), StageAssignment())


def encode(message: Message) -> bytes:
    """`message` as one line of JSON."""
    if isinstance(message, LogLine):
        return f"{json.dumps({'log': asdict(message)})}\n".encode()
    if isinstance(message, Retirement):
        return f"{json.dumps({'retire': asdict(message)})}\n".encode()
    tag = next(tag for tag, kind in _MESSAGES.items() if isinstance(message, kind))
    return f"{json.dumps({tag: json_format.MessageToDict(message)})}\n".encode()


def decode(line: bytes) -> Message:
    """The message that a line stands for.

    Raises:
        ValueError: it is not a line that `encode` made.
    """
    tag, body = _untag(line)
    if tag == "log":
        return LogLine(int(body["level"]), str(body["logger"]), str(body["message"]))
    if tag == "retire":
        return Retirement(tuple(str(uri) for uri in body["uris"]))
    if tag not in _MESSAGES:
        raise ValueError(f"a runner sent {tag!r}, which is no message")
    return _parse(body, _MESSAGES[tag]())


def write_outcome(work_dir: Path, outcome: Outcome) -> None:
    """Records how the attempt ended, durably and whole.

    Raises:
        OSError: it cannot be written.
    """
    staged = work_dir / f"{OUTCOME}.tmp"
    tag = next(tag for tag, kind in _OUTCOMES.items() if isinstance(outcome, kind))
    staged.write_text(json.dumps({tag: json_format.MessageToDict(outcome)}))
    sync_path(staged)
    os.replace(staged, work_dir / OUTCOME)


def read_outcome(work_dir: Path) -> Outcome | None:
    """How the attempt ended; None when the runner died before it could say.

    Raises:
        ValueError: the file is there but says neither outputs nor failure.
    """
    try:
        text = (work_dir / OUTCOME).read_bytes()
    except FileNotFoundError:
        return None
    tag, body = _untag(text)
    if tag not in _OUTCOMES:
        raise ValueError(f"{OUTCOME} says {tag!r}, which is no outcome")
    return _parse(body, _OUTCOMES[tag]())


def log_tail(work_dir: Path, num_bytes: int = 4000) -> str:
    """The end of what the runner printed."""
    try:
        with (work_dir / LOG).open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - num_bytes))
            return stream.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _untag(text: bytes) -> tuple[str, dict[str, Any]]:
    document = json.loads(text)
    if not isinstance(document, dict) or len(document) != 1:
        raise ValueError("expected a JSON object with one key")
    [(tag, body)] = document.items()
    if not isinstance(body, dict):
        raise ValueError(f"expected an object under {tag!r}")
    return str(tag), body


def _parse(body: dict[str, Any], into: _ProtoMessage) -> _ProtoMessage:
    try:
        return json_format.ParseDict(body, into)
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error
