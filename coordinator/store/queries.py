"""What the API reads. Every query of a project's things names the project: another project's id finds nothing."""

from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate

from sqlmodel import Text, cast, col, func, or_, select, tuple_
from sqlmodel.ext.asyncio.session import AsyncSession

from coordinator.graph import JobState
from coordinator.lifecycle import StageState
from coordinator.retention import DatasetUse, TrainedModel, versions_in
from coordinator.store.tables import (
    ApiKeyRow,
    CheckpointRow,
    DeadLetterRow,
    DeploymentRow,
    DeploymentState,
    JobRow,
    MetricRow,
    ModelRow,
    OutboxRow,
    StageRow,
    WorkerRow,
)

PREPROCESS = "preprocess"
"""The kind of stage that leaves datasets."""

JobAndStages = tuple[JobRow, Sequence[StageRow]]
MetricKey = tuple[int, int, int]
"""Position of the stage, attempt, step."""
MomentKey = tuple[datetime, str]
"""A time, and the id of what has it."""


async def find_job(session: AsyncSession, project_id: str, job_id: str) -> JobAndStages | None:
    """A job and its stages in the order of the plan."""
    query = select(JobRow).where(JobRow.project_id == project_id, JobRow.job_id == job_id)
    job = (await session.exec(query)).one_or_none()
    return None if job is None else (job, await stages_of(session, job.job_id))


async def find_job_of_request(session: AsyncSession, project_id: str, request_id: str) -> JobAndStages | None:
    """The job that a request made."""
    query = select(JobRow).where(JobRow.project_id == project_id, JobRow.request_id == request_id)
    job = (await session.exec(query)).one_or_none()
    return None if job is None else (job, await stages_of(session, job.job_id))


async def stages_of(session: AsyncSession, job_id: str) -> Sequence[StageRow]:
    """The stages of one job."""
    query = select(StageRow).where(StageRow.job_id == job_id).order_by(col(StageRow.position))
    return (await session.exec(query)).all()


async def list_jobs(session: AsyncSession, project_id: str, before_id: str, limit: int) -> list[JobAndStages]:
    """At most `limit` jobs, newest first, older than `before_id` when that is given."""
    query = select(JobRow).where(JobRow.project_id == project_id).order_by(col(JobRow.job_id).desc()).limit(limit)
    if before_id:
        query = query.where(JobRow.job_id < before_id)
    jobs = (await session.exec(query)).all()
    ids = [job.job_id for job in jobs]
    stages_query = select(StageRow).where(col(StageRow.job_id).in_(ids)).order_by(col(StageRow.position))
    stages = (await session.exec(stages_query)).all()
    return [(job, [stage for stage in stages if stage.job_id == job.job_id]) for job in jobs]


async def list_metrics(
    session: AsyncSession, job_id: str, stage_name: str, after: MetricKey | None, limit: int
) -> Sequence[tuple[StageRow, MetricRow]]:
    """At most `limit` rows of metrics, oldest first, after a key when that is given."""
    key = (col(StageRow.position), col(MetricRow.attempt), col(MetricRow.step))
    query = (
        select(StageRow, MetricRow)
        .join(MetricRow, col(MetricRow.stage_id) == col(StageRow.stage_id))
        .where(StageRow.job_id == job_id)
        .order_by(*key)
        .limit(limit)
    )
    if stage_name:
        query = query.where(StageRow.name == stage_name)
    if after is not None:
        query = query.where(tuple_(*key) > after)
    return (await session.exec(query)).all()


async def list_checkpoints(session: AsyncSession, stage_id: str) -> Sequence[CheckpointRow]:
    """Committed checkpoints of a stage, newest first."""
    query = (
        select(CheckpointRow)
        .where(CheckpointRow.stage_id == stage_id)
        .order_by(col(CheckpointRow.step).desc(), col(CheckpointRow.fence).desc())
    )
    return (await session.exec(query)).all()


async def find_model(session: AsyncSession, project_id: str, model_id: str) -> ModelRow | None:
    """One model."""
    query = select(ModelRow).where(ModelRow.project_id == project_id, ModelRow.model_id == model_id)
    return (await session.exec(query)).one_or_none()


async def list_models(session: AsyncSession, project_id: str, before_id: str, limit: int) -> Sequence[ModelRow]:
    """At most `limit` models, newest first, older than `before_id` when that is given."""
    query = select(ModelRow).where(ModelRow.project_id == project_id)
    if before_id:
        query = query.where(ModelRow.model_id < before_id)
    return (await session.exec(query.order_by(col(ModelRow.model_id).desc()).limit(limit))).all()


async def list_dataset_uses(session: AsyncSession, project_id: str) -> list[DatasetUse]:
    """Every stage of preprocessing in the project that left a dataset."""
    query = (
        select(StageRow, JobRow.state)
        .join(JobRow, col(StageRow.job_id) == col(JobRow.job_id))
        .where(JobRow.project_id == project_id, StageRow.kind == PREPROCESS, StageRow.state == StageState.SUCCEEDED)
    )
    return [
        DatasetUse(
            job_id=stage.job_id,
            job_state=JobState(job_state),
            time=stage.finished_time,
            versions=versions_in(stage.outputs.artifact.uri, stage.outputs.result_json),
        )
        for stage, job_state in await session.exec(query)
        if stage.finished_time is not None and stage.outputs is not None
    ]


async def list_preprocessing_jobs(session: AsyncSession, project_id: str) -> Sequence[str]:
    """Jobs of the project whose data a worker prepares at the moment."""
    query = (
        select(JobRow.job_id)
        .join(StageRow, col(StageRow.job_id) == col(JobRow.job_id))
        .where(JobRow.project_id == project_id, StageRow.kind == PREPROCESS, StageRow.state == StageState.RUNNING)
        .order_by(col(JobRow.job_id))
    )
    return (await session.exec(query)).all()


async def list_trained_models(session: AsyncSession, project_id: str) -> list[TrainedModel]:
    """All models of the project, by what they were trained on."""
    query = select(ModelRow.model_id, ModelRow.job_id, ModelRow.dataset_version).where(
        ModelRow.project_id == project_id
    )
    return [TrainedModel(*row) for row in await session.exec(query)]


async def find_deployment(session: AsyncSession, project_id: str, id_or_name: str) -> DeploymentRow | None:
    """By id; else the newest ACTIVE one of that name; else the newest of that name."""
    row = DeploymentRow
    query = (
        select(row)
        .where(row.project_id == project_id, or_(row.deployment_id == id_or_name, row.name == id_or_name))
        .order_by(
            (col(row.deployment_id) == id_or_name).desc(),
            (col(row.state) == DeploymentState.ACTIVE).desc(),
            col(row.deployment_id).desc(),
        )
        .limit(1)
    )
    return (await session.exec(query)).one_or_none()


async def list_deployments(
    session: AsyncSession, project_id: str, before_id: str, limit: int
) -> Sequence[DeploymentRow]:
    """At most `limit` deployments, newest first, older than `before_id` when that is given."""
    query = select(DeploymentRow).where(DeploymentRow.project_id == project_id)
    if before_id:
        query = query.where(DeploymentRow.deployment_id < before_id)
    return (await session.exec(query.order_by(col(DeploymentRow.deployment_id).desc()).limit(limit))).all()


async def list_event_payloads(
    session: AsyncSession, project_id: str, job_id: str, after_sequence: int, limit: int
) -> Sequence[bytes]:
    """At most `limit` serialized events with a larger sequence, oldest first; of one job when `job_id` is given.

    A plain cursor is safe here: the sequence is in the order of commits (see apply.py).
    """
    query = (
        select(OutboxRow.payload)
        .where(OutboxRow.project_id == project_id, col(OutboxRow.sequence) > after_sequence)
        .order_by(col(OutboxRow.sequence))
        .limit(limit)
    )
    if job_id:
        query = query.where(OutboxRow.job_id == job_id)
    return (await session.exec(query)).all()


async def find_api_key(session: AsyncSession, key_sha256: bytes) -> ApiKeyRow | None:
    """The live key with this hash."""
    query = select(ApiKeyRow).where(ApiKeyRow.key_sha256 == key_sha256, col(ApiKeyRow.revoke_time).is_(None))
    return (await session.exec(query)).one_or_none()


async def list_workers(session: AsyncSession, before: MomentKey | None, limit: int) -> Sequence[WorkerRow]:
    """At most `limit` workers, those heard of last first, after a key when that is given."""
    key = (col(WorkerRow.heartbeat_time), col(WorkerRow.worker_id))
    query = select(WorkerRow).order_by(*(part.desc() for part in key)).limit(limit)
    if before is not None:
        query = query.where(tuple_(*key) < before)
    return (await session.exec(query)).all()


async def list_dead_letters(
    session: AsyncSession, before: MomentKey | None, limit: int, num_bytes: int, *, include_retried: bool
) -> tuple[Sequence[DeadLetterRow], bool]:
    """At most `limit` dead letters, newest first, after a key when that is given; and whether there are more.

    It stops before the one that makes them more than `num_bytes`, but not before the first.
    """
    row = DeadLetterRow
    key = (col(row.create_time), col(row.dead_letter_id))
    newest_first = [part.desc() for part in key]
    texts = (row.payload, row.subject, row.reason, cast(row.headers, Text))
    num_bytes_of = sum((func.octet_length(text) for text in texts[1:]), func.octet_length(texts[0]))
    sizes = select(row.dead_letter_id, num_bytes_of).order_by(*newest_first).limit(limit + 1)
    if before is not None:
        sizes = sizes.where(tuple_(*key) < before)
    if not include_retried:
        sizes = sizes.where(col(row.retry_time).is_(None))
    found = (await session.exec(sizes)).all()
    totals = accumulate(size for _, size in found)
    num_fitting = sum(total <= num_bytes for total in totals)
    page = [dead_letter_id for dead_letter_id, _ in found[: min(limit, max(num_fitting, 1))]]
    query = select(row).where(col(row.dead_letter_id).in_(page)).order_by(*newest_first)
    return (await session.exec(query)).all(), len(found) > len(page)
