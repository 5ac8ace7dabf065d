"""What runs: `state.json`, written by the launcher after every change and read by everybody else.

A process is named by pid and start time together, so a pid that the system gave to somebody else is never mistaken
for ours.
"""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import psutil

from luthier.local.home import Home, write_json

_SAME_START_SECONDS = 0.5  # the kernel counts in ticks of 10 ms; psutil adds the boot time


class ChildState(StrEnum):
    """Of one process."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


class StackState(StrEnum):
    """Of the whole."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class ProcessId:
    """One life of one process."""

    pid: int
    started: float
    """Seconds since the epoch."""

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """The process that has `pid` now; None when there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def process(self) -> psutil.Process | None:
        """The process, as long as it lives; a zombie does not."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < _SAME_START_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass
class ProcessRecord:
    """One row of `luthier status`."""

    name: str
    state: ChildState = ChildState.WAITING
    process: ProcessId | None = None
    restarts: int = 0
    reason: str = ""
    """Why it is not running, for people."""


@dataclass
class StackRecord:
    """Everything in `state.json`."""

    state: StackState = StackState.STOPPED
    launcher: ProcessId | None = None
    error: str = ""
    """Why the stack did not come up."""
    messages: list[str] = field(default_factory=list)
    """What else the launcher has to tell a person."""
    ports: dict[str, int] = field(default_factory=dict)
    """Loopback ports by role, kept from one `up` to the next."""
    processes: list[ProcessRecord] = field(default_factory=list)
    """In the order of starting."""

    def is_alive(self) -> bool:
        """Whether the launcher that wrote this still runs."""
        return self.launcher is not None and self.launcher.process() is not None


def read_state(home: Home) -> StackRecord:
    """What the last launcher wrote; an empty record when there never was one."""
    try:
        document = json.loads(home.state_file.read_text())
    except FileNotFoundError:
        return StackRecord()
    return StackRecord(
        state=StackState(document["state"]),
        launcher=_process_id(document["launcher"]),
        error=document["error"],
        messages=document.get("messages", []),
        ports=document["ports"],
        processes=[
            ProcessRecord(
                name=row["name"],
                state=ChildState(row["state"]),
                process=_process_id(row["process"]),
                restarts=row["restarts"],
                reason=row["reason"],
            )
            for row in document["processes"]
        ],
    )


def write_state(home: Home, record: StackRecord) -> None:
    """Replaces `state.json`."""
    write_json(home.state_file, asdict(record))


def _process_id(document: dict[str, Any] | None) -> ProcessId | None:
    return ProcessId(document["pid"], document["started"]) if document else None
