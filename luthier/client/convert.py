"""From protobuf messages to the SDK's types: one function per type, and nowhere else."""

import json
from datetime import UTC, datetime
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from luthier.client.types import (
    Artifact,
    ChatChunk,
    DatasetVersion,
    DeadLetter,
    Deployment,
    Event,
    Failure,
    Job,
    MetricPoint,
    Model,
    Progress,
    Stage,
    ToolCall,
    Worker,
)
from luthier.v1 import (
    dataset_service_pb2,
    dead_letter_pb2,
    deployment_pb2,
    event_pb2,
    failure_pb2,
    inference_service_pb2,
    job_pb2,
    job_service_pb2,
    model_pb2,
    stage_pb2,
    worker_pb2,
)


def job_of(message: job_pb2.Job) -> Job:
    """A Job."""
    return Job(
        id=message.job_id,
        project_id=message.project_id,
        name=message.name,
        state=_name(job_pb2.Job.State, message.state, "STATE_"),
        spec=json.loads(message.spec_json or "{}"),
        stages=tuple(stage_of(stage) for stage in message.stages),
        failure=_failure_of(message, "failure"),
        metrics=dict(message.metrics),
        model_id=message.model_id or None,
        deployment_id=message.deployment_id or None,
        created_time=_time(message, "create_time"),
        started_time=_time(message, "start_time"),
        finished_time=_time(message, "end_time"),
        trace_id=message.trace_id or None,
    )


def stage_of(message: stage_pb2.Stage) -> Stage:
    """A Stage; its outputs are spread over artifact, metrics, result and gate_reason."""
    outputs = message.outputs
    return Stage(
        id=message.stage_id,
        name=message.name,
        kind=message.kind,
        worker_class=message.worker_class,
        state=_name(stage_pb2.Stage.State, message.state, "STATE_"),
        needs=tuple(message.needs),
        attempt=message.attempt,
        worker_id=message.worker_id or None,
        queued_time=_time(message, "queued_time"),
        started_time=_time(message, "started_time"),
        finished_time=_time(message, "finished_time"),
        progress=_progress_of(message.progress) if message.HasField("progress") else None,
        failure=_failure_of(message, "failure"),
        artifact=_artifact_of(outputs.artifact) if outputs.HasField("artifact") else None,
        metrics=dict(outputs.metrics),
        result=json.loads(outputs.result_json or "{}"),
        gate_reason=outputs.gate_reason or None,
        refit=message.refit,
        pause_requested=message.pause_requested,
    )


def event_of(message: event_pb2.Event) -> Event:
    """An Event of any kind, kinds that this version does not know included."""
    kind = message.WhichOneof("fact")
    fact: Message | None = getattr(message, kind) if kind else None
    data = {} if fact is None else MessageToDict(fact, preserving_proto_field_name=True)
    points: tuple[MetricPoint, ...] = ()
    if isinstance(fact, event_pb2.MetricsReported):
        points = tuple(_point_of(fact.stage_name, fact.attempt, point) for point in fact.points)
    return Event(
        id=message.event_id,
        sequence=message.sequence,
        project_id=message.project_id,
        job_id=message.job_id or None,
        time=_time(message, "time"),
        kind=kind or "unknown",
        stage=data.get("stage_name"),
        attempt=data.get("attempt"),
        failure=_failure_of(fact, "failure") if fact is not None and "failure" in data else None,
        metrics=points,
        data=data,
    )


def model_of(message: model_pb2.Model) -> Model:
    """A Model."""
    return Model(
        id=message.model_id,
        project_id=message.project_id,
        job_id=message.job_id,
        name=message.name,
        base_model=message.base_model,
        artifact=_artifact_of(message.artifact) if message.HasField("artifact") else None,
        formats=tuple(message.formats),
        metrics=dict(message.metrics),
        dataset_version=message.dataset_version,
        created_time=_time(message, "create_time"),
    )


def dataset_version_of(message: dataset_service_pb2.DatasetVersion) -> DatasetVersion:
    """A DatasetVersion."""
    return DatasetVersion(
        version=message.dataset_version,
        num_datasets=message.num_datasets,
        num_bytes=message.num_bytes,
        last_use_time=_time(message, "last_use_time"),
        job_ids=tuple(message.job_ids),
        model_ids=tuple(message.model_ids),
    )


def deployment_of(message: deployment_pb2.Deployment) -> Deployment:
    """A Deployment."""
    return Deployment(
        id=message.deployment_id,
        project_id=message.project_id,
        job_id=message.job_id,
        model_id=message.model_id or None,
        name=message.name,
        state=_name(deployment_pb2.Deployment.State, message.state, "STATE_"),
        triton_model=message.triton_model,
        failure=_failure_of(message, "failure"),
        created_time=_time(message, "create_time"),
        active_time=_time(message, "active_time"),
    )


def worker_of(message: worker_pb2.Worker) -> Worker:
    """A Worker; its capabilities are spread over it."""
    can = message.capabilities
    return Worker(
        id=message.worker_id,
        display_name=message.display_name,
        state=_name(worker_pb2.Worker.State, message.state, "STATE_"),
        worker_classes=tuple(can.worker_classes),
        kinds=tuple(can.kinds),
        num_cpus=can.num_cpus,
        memory_bytes=can.memory_bytes,
        accelerator=can.accelerator or None,
        num_accelerators=can.num_accelerators,
        version=can.version,
        registered_time=_time(message, "register_time"),
        heartbeat_time=_time(message, "heartbeat_time"),
        num_failures_in_row=message.num_failures_in_row,
        quarantined_until=_time(message, "quarantined_until"),
    )


def dead_letter_of(message: dead_letter_pb2.DeadLetter) -> DeadLetter:
    """A DeadLetter."""
    return DeadLetter(
        id=message.dead_letter_id,
        source=_name(dead_letter_pb2.DeadLetter.Source, message.source, "SOURCE_"),
        reason=message.reason,
        subject=message.subject or None,
        headers=dict(message.headers),
        payload=message.payload,
        project_id=message.project_id or None,
        job_id=message.job_id or None,
        stage_id=message.stage_id or None,
        created_time=_time(message, "create_time"),
        retried_time=_time(message, "retry_time"),
    )


def metric_of(message: job_service_pb2.StageMetric) -> MetricPoint:
    """A recorded row of metrics."""
    return _point_of(message.stage_name, message.attempt, message.point)


def chunk_of(message: inference_service_pb2.ChatResponse) -> ChatChunk:
    """A piece of an answer."""
    return ChatChunk(
        text=message.delta,
        finish_reason=message.finish_reason or None,
        num_prompt_tokens=message.num_prompt_tokens,
        num_completion_tokens=message.num_completion_tokens,
        tool_calls=tuple(ToolCall(call.id, call.name, call.arguments_json) for call in message.tool_calls),
    )


def _point_of(stage: str, attempt: int, point: stage_pb2.MetricPoint) -> MetricPoint:
    return MetricPoint(stage, attempt, point.step, _time(point, "time"), dict(point.values))


def _progress_of(message: stage_pb2.Progress) -> Progress:
    eta = message.eta.ToTimedelta() if message.HasField("eta") else None
    return Progress(message.step, message.num_steps or None, message.message, eta)


def _artifact_of(message: stage_pb2.Artifact) -> Artifact:
    return Artifact(message.uri, message.digest, message.num_bytes)


def _failure_of(message: Message, field: str) -> Failure | None:
    if not message.HasField(field):
        return None
    failure: failure_pb2.Failure = getattr(message, field)
    failure_class = _name(failure_pb2.FailureClass, failure.failure_class, "FAILURE_CLASS_")
    return Failure(failure_class, failure.message, failure.detail)


def _time(message: Message, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    timestamp: Timestamp = getattr(message, field)
    return timestamp.ToDatetime(tzinfo=UTC)


def _name(enum: Any, number: int, prefix: str) -> str:
    """The value's name without its prefix; the number when a newer server sends one that we do not know."""
    value = enum.DESCRIPTOR.values_by_number.get(number)
    return value.name.removeprefix(prefix) if value else str(number)
