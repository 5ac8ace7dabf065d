"""Rows as the messages that callers see. The only place that knows both."""

from collections.abc import Iterable, Sequence

from google.protobuf.json_format import ParseDict

from coordinator.retention import KnownVersion
from coordinator.store.tables import (
    CheckpointRow,
    DeadLetterRow,
    DeploymentRow,
    JobRow,
    MetricRow,
    ModelRow,
    ProjectRow,
    StageRow,
    WorkerRow,
)
from luthier.telemetry import trace_id_of
from luthier.v1.dataset_service_pb2 import DatasetVersion
from luthier.v1.dead_letter_pb2 import DeadLetter
from luthier.v1.deployment_pb2 import Deployment
from luthier.v1.job_pb2 import Job
from luthier.v1.job_service_pb2 import StageMetric
from luthier.v1.model_pb2 import Model
from luthier.v1.project_pb2 import Project
from luthier.v1.stage_pb2 import Artifact, Checkpoint, MetricPoint, Stage
from luthier.v1.worker_pb2 import Worker


def job_message(job: JobRow, stages: Sequence[StageRow]) -> Job:
    """A job with its stages, in the order of the plan."""
    return Job(
        job_id=job.job_id,
        project_id=job.project_id,
        name=job.name,
        state=f"STATE_{job.state}",
        spec_json=job.spec_json,
        stages=[stage_message(stage) for stage in stages],
        failure=job.failure,
        metrics=job_metrics(stages),
        model_id=job.model_id or "",
        deployment_id=job.deployment_id or "",
        create_time=job.create_time,
        start_time=job.start_time,
        end_time=job.end_time,
        trace_id=trace_id_of(job.traceparent),
    )


def job_metrics(stages: Iterable[StageRow]) -> dict[str, float]:
    """Headline figures of all stages that have outputs, `<stage>.<metric>`."""
    return {
        f"{stage.name}.{name}": value
        for stage in stages
        if stage.outputs is not None
        for name, value in stage.outputs.metrics.items()
    }


def stage_message(stage: StageRow) -> Stage:
    """A stage."""
    return Stage(
        stage_id=stage.stage_id,
        job_id=stage.job_id,
        name=stage.name,
        kind=stage.kind,
        worker_class=stage.worker_class,
        state=f"STATE_{stage.state}",
        needs=stage.needs,
        attempt=stage.attempt,
        fence=stage.fence,
        worker_id=stage.worker_id,
        queued_time=stage.queued_time,
        started_time=stage.started_time,
        finished_time=stage.finished_time,
        progress=stage.progress,
        failure=stage.failure,
        outputs=stage.outputs,
        refit=stage.refit,
        pause_requested=stage.pause_requested,
        member_ids=[] if stage.gang is None else [seat.worker_id for seat in stage.gang.seats],
    )


def checkpoint_message(row: CheckpointRow) -> Checkpoint:
    """A committed checkpoint."""
    return Checkpoint(uri=row.uri, digest=row.digest, step=row.step, attempt=row.attempt, fence=row.fence)


def metric_message(stage_name: str, row: MetricRow) -> StageMetric:
    """One row of metrics."""
    point = ParseDict({"values": row.values}, MetricPoint())
    point.step = row.step
    if row.time is not None:
        point.time.FromDatetime(row.time)
    return StageMetric(stage_name=stage_name, attempt=row.attempt, point=point)


def model_message(row: ModelRow) -> Model:
    """An exported model."""
    return Model(
        model_id=row.model_id,
        project_id=row.project_id,
        job_id=row.job_id,
        name=row.name,
        base_model=row.base_model,
        artifact=Artifact(uri=row.artifact_uri, digest=row.artifact_digest, num_bytes=row.artifact_bytes),
        formats=row.formats,
        metrics=row.metrics,
        create_time=row.create_time,
        dataset_version=row.dataset_version,
    )


def deployment_message(row: DeploymentRow) -> Deployment:
    """A deployment."""
    return Deployment(
        deployment_id=row.deployment_id,
        project_id=row.project_id,
        job_id=row.job_id,
        model_id=row.model_id,
        name=row.name,
        state=f"STATE_{row.state}",
        triton_model=row.triton_model,
        failure=row.failure,
        create_time=row.create_time,
        active_time=row.active_time,
    )


def worker_message(row: WorkerRow) -> Worker:
    """A worker."""
    return Worker(
        worker_id=row.worker_id,
        display_name=row.display_name,
        capabilities=row.capabilities,
        state=f"STATE_{row.state}",
        register_time=row.register_time,
        heartbeat_time=row.heartbeat_time,
        num_failures_in_row=row.num_failures_in_row,
        quarantined_until=row.quarantined_until,
    )


def dead_letter_message(row: DeadLetterRow) -> DeadLetter:
    """A dead letter."""
    return DeadLetter(
        dead_letter_id=row.dead_letter_id,
        source=f"SOURCE_{row.source}",
        subject=row.subject,
        headers=row.headers,
        payload=row.payload,
        reason=row.reason,
        project_id=row.project_id,
        job_id=row.job_id,
        stage_id=row.stage_id,
        create_time=row.create_time,
        retry_time=row.retry_time,
    )


def dataset_version_message(version: KnownVersion) -> DatasetVersion:
    """A version of a dataset."""
    return DatasetVersion(
        dataset_version=version.stored.version,
        num_datasets=version.stored.num_datasets,
        num_bytes=version.stored.num_bytes,
        last_use_time=version.last_use_time,
        job_ids=version.job_ids,
        model_ids=version.model_ids,
    )


def project_message(row: ProjectRow) -> Project:
    """A project."""
    return Project(
        project_id=row.project_id,
        display_name=row.display_name,
        create_time=row.create_time,
        last_sequence=row.last_sequence,
    )
