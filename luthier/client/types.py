"""What the SDK returns: frozen dataclasses, nothing of protobuf or gRPC.

Ids and states are plain strings (`SUCCEEDED`, `OUT_OF_MEMORY`), times are aware datetimes in UTC, and what the
platform has not set yet is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

TERMINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED"})
"""States that a job or a stage does not leave."""


@dataclass(frozen=True)
class Failure:
    """Why something did not succeed."""

    failure_class: str
    """`CONFIG`, `DATA`, `OUT_OF_MEMORY`, ... : decides what the coordinator does next."""
    message: str
    """What happened, where, and what to do about it."""
    detail: str
    """Traceback or log tail, for a developer."""


@dataclass(frozen=True)
class Progress:
    """How far a running stage is."""

    step: int
    num_steps: int | None
    message: str
    eta: timedelta | None
    """Time to the end of the stage."""


@dataclass(frozen=True)
class Artifact:
    """A directory with a manifest."""

    uri: str
    digest: str
    num_bytes: int


@dataclass(frozen=True)
class Stage:
    """One node of a job's graph."""

    id: str
    name: str
    kind: str
    worker_class: str
    state: str
    needs: tuple[str, ...]
    attempt: int
    """Number of the current or last try; 0 before the first."""
    worker_id: str | None
    queued_time: datetime | None
    started_time: datetime | None
    finished_time: datetime | None
    progress: Progress | None
    failure: Failure | None
    artifact: Artifact | None
    metrics: Mapping[str, float]
    """Headline figures; empty until the stage has succeeded."""
    result: Mapping[str, Any]
    """The kind's own result; empty until the stage has succeeded."""
    gate_reason: str | None
    """Why the evaluation gate refused the model."""
    refit: int = 0
    """How often a forward pass was halved because memory ran out; the batch of a step stays what it was."""
    pause_requested: bool = False
    """Whether it is paused, or stops at its next checkpoint."""

    @property
    def is_terminal(self) -> bool:
        """Whether the stage has reached its last state."""
        return self.state in TERMINAL_STATES


@dataclass(frozen=True)
class Job:
    """One run of a job file."""

    id: str
    project_id: str
    name: str
    state: str
    """`PENDING`, `RUNNING`, `PAUSED`, `SUCCEEDED`, `FAILED` or `CANCELLED`."""
    spec: Mapping[str, Any]
    """The resolved job file."""
    stages: tuple[Stage, ...]
    failure: Failure | None
    metrics: Mapping[str, float]
    """Headline figures of all stages, `<stage>.<metric>`."""
    model_id: str | None
    deployment_id: str | None
    created_time: datetime | None
    started_time: datetime | None
    finished_time: datetime | None
    trace_id: str | None
    """32 hex digits."""

    @property
    def is_terminal(self) -> bool:
        """Whether the job has reached its last state."""
        return self.state in TERMINAL_STATES

    def stage(self, name: str) -> Stage:
        """The stage called `name`.

        Raises:
            KeyError: the job has none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(f"job {self.id} has no stage {name!r}")


@dataclass(frozen=True)
class MetricPoint:
    """One row of metrics of one step."""

    stage: str
    attempt: int
    step: int
    time: datetime | None
    values: Mapping[str, float]


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    id: str
    sequence: int
    """Position in the project's log: dense, starts at 1."""
    project_id: str
    job_id: str | None
    time: datetime | None
    kind: str
    """The fact, in the past tense: `stage_started`, `job_succeeded`, ..."""
    stage: str | None
    attempt: int | None
    failure: Failure | None
    metrics: tuple[MetricPoint, ...]
    """Rows of a `metrics_reported`."""
    data: Mapping[str, Any]
    """Every field of the fact, in the JSON form of protobuf (64-bit numbers are strings)."""


@dataclass(frozen=True)
class Model:
    """A fine-tuned model that was exported and passed its parity proof."""

    id: str
    project_id: str
    job_id: str
    name: str
    base_model: str
    artifact: Artifact | None
    formats: tuple[str, ...]
    metrics: Mapping[str, float]
    dataset_version: str
    """`sha256:<hex>` of what its job trained on; empty for a model from before datasets had versions."""
    created_time: datetime | None


@dataclass(frozen=True)
class Deployment:
    """A model that is loaded, or is to be loaded, into Triton."""

    id: str
    project_id: str
    job_id: str
    model_id: str | None
    name: str
    state: str
    """`PENDING`, `ACTIVE` or `FAILED`."""
    triton_model: str
    failure: Failure | None
    created_time: datetime | None
    active_time: datetime | None


@dataclass(frozen=True)
class Worker:
    """A process that runs stages."""

    id: str
    display_name: str
    """Host name."""
    state: str
    """`READY`, `DRAINING`, `LOST` or `QUARANTINED`."""
    worker_classes: tuple[str, ...]
    kinds: tuple[str, ...]
    num_cpus: int
    memory_bytes: int
    accelerator: str | None
    num_accelerators: int
    version: str
    registered_time: datetime | None
    heartbeat_time: datetime | None
    num_failures_in_row: int
    """Attempts that it failed since its last success."""
    quarantined_until: datetime | None


@dataclass(frozen=True)
class DeadLetter:
    """Something that could not be handled, kept until somebody retries it."""

    id: str
    source: str
    """Who gave up: `RELAY`, `WORKER` or `RECONCILER`."""
    reason: str
    subject: str | None
    """Of the message; None for a job that cannot be moved on."""
    headers: Mapping[str, str]
    payload: bytes
    project_id: str | None
    job_id: str | None
    stage_id: str | None
    created_time: datetime | None
    retried_time: datetime | None


@dataclass(frozen=True)
class DatasetVersion:
    """A version of a dataset that the artifact store keeps, to be used again."""

    version: str
    """`sha256:<hex>`"""
    num_datasets: int
    """Several attempts may have made it."""
    num_bytes: int
    """Of all files."""
    last_use_time: datetime | None
    """When a job got it last, or it was written; None when not known, and then it is never pruned."""
    job_ids: tuple[str, ...]
    """Jobs in flight that have it; it is not pruned before all of them are over."""
    model_ids: tuple[str, ...]
    """Models that were trained on it; it is not pruned as long as there is one."""


@dataclass(frozen=True)
class ToolCall:
    """A call of a function that was offered. Answer it with a message
    `{"role": "tool", "tool_call_id": call.id, "content": ...}`."""

    id: str
    name: str
    arguments: str
    """A JSON object as text, as the model wrote it."""


@dataclass(frozen=True)
class ChatChunk:
    """A piece of an answer. The last one carries the reason and the counts."""

    text: str
    finish_reason: str | None
    """`stop`, `length` or `tool_calls` on the last chunk, None before."""
    num_prompt_tokens: int
    num_completion_tokens: int
    tool_calls: tuple[ToolCall, ...] = ()
    """All calls, on the last chunk of an answer that ends with calls."""


@dataclass(frozen=True)
class ChatAnswer:
    """A whole answer."""

    text: str
    finish_reason: str
    """`stop`, `length` when it was cut, or `tool_calls` when the model waits for the results of calls."""
    num_prompt_tokens: int
    num_completion_tokens: int
    tool_calls: tuple[ToolCall, ...] = ()

    @property
    def message(self) -> dict[str, Any]:
        """The answer as a message of the conversation, in OpenAI's form, for the next question."""
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in self.tool_calls
        ]
        return {"role": "assistant", "content": self.text, **({"tool_calls": calls} if calls else {})}
