"""The tables. PostgreSQL is the truth: every other part of the platform can be rebuilt from these rows.

Only `coordinator/apply.py` and the modules of `coordinator/commands/` write them. Times are the database's clock.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Identity, Index, Sequence, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel

from coordinator.gang import Gang
from coordinator.graph import JobState
from coordinator.lifecycle import StageState
from coordinator.store.types import DataclassJson, Id, Moment, ProtoJson, StateText
from luthier.v1.failure_pb2 import Failure
from luthier.v1.stage_pb2 import Progress, StageOutputs
from luthier.v1.worker_pb2 import WorkerCapabilities

# Fences rise over the whole installation. No cache: a cached block would let a later claim get a smaller number.
FENCES = Sequence("fence", metadata=SQLModel.metadata)


class DeploymentState(StrEnum):
    """The names of `Deployment.State` in the protos."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"


class WorkerState(StrEnum):
    """The names of `Worker.State` in the protos."""

    READY = "READY"
    DRAINING = "DRAINING"
    LOST = "LOST"
    QUARANTINED = "QUARANTINED"


class DeadLetterSource(StrEnum):
    """The names of `DeadLetter.Source` in the protos."""

    RELAY = "RELAY"
    WORKER = "WORKER"
    RECONCILER = "RECONCILER"


class _Row(SQLModel):
    model_config = {"arbitrary_types_allowed": True}


class ProjectRow(_Row, table=True):
    """A project, and the counter of its event log."""

    __tablename__ = "project"

    project_id: str = Field(primary_key=True, sa_type=Id)
    display_name: str = Field(sa_type=Text)
    create_time: datetime = Field(sa_type=Moment, sa_column_kwargs={"server_default": text("now()")})
    last_sequence: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})


class ApiKeyRow(_Row, table=True):
    """A public API key, known by its hash only."""

    __tablename__ = "api_key"
    __table_args__ = (ForeignKeyConstraint(["project_id"], ["project.project_id"]),)

    key_id: str = Field(primary_key=True, sa_type=Id)
    project_id: str = Field(sa_type=Id)
    display_name: str = Field(sa_type=Text)
    key_sha256: bytes = Field(unique=True)
    permissions: list[str] = Field(sa_type=ARRAY(Text))
    create_time: datetime = Field(sa_type=Moment, sa_column_kwargs={"server_default": text("now()")})
    revoke_time: datetime | None = Field(default=None, sa_type=Moment)


class JobRow(_Row, table=True):
    """A job. `state` and `failure` are derived from its stages."""

    __tablename__ = "job"
    __table_args__ = (
        ForeignKeyConstraint(["project_id"], ["project.project_id"]),
        UniqueConstraint("project_id", "request_id"),
        Index("job_by_project", "project_id", "job_id"),
        Index("job_open", "job_id", postgresql_where=text("state IN ('PENDING', 'RUNNING')")),
    )

    job_id: str = Field(primary_key=True, sa_type=Id)
    project_id: str = Field(sa_type=Id)
    name: str = Field(sa_type=Id)
    request_id: str = Field(sa_type=Id)
    spec_json: str = Field(sa_type=Text)
    traceparent: str = Field(default="", sa_type=Text)
    state: JobState = Field(default=JobState.PENDING, sa_type=StateText(JobState))
    failure: Failure | None = Field(default=None, sa_type=ProtoJson(Failure))
    model_id: str | None = Field(default=None, sa_type=Id)
    deployment_id: str | None = Field(default=None, sa_type=Id)
    create_time: datetime = Field(sa_type=Moment)
    start_time: datetime | None = Field(default=None, sa_type=Moment)
    end_time: datetime | None = Field(default=None, sa_type=Moment)


class StageRow(_Row, table=True):
    """One stage of a job, and the lease of its present attempt."""

    __tablename__ = "stage"
    __table_args__ = (
        ForeignKeyConstraint(["job_id"], ["job.job_id"]),
        UniqueConstraint("job_id", "position"),
        UniqueConstraint("job_id", "name"),
        Index("stage_leased", "lease_until", postgresql_where=text("state = 'RUNNING'")),
        Index("stage_waiting", "wake_time", postgresql_where=text("state = 'QUEUED'")),
        Index("stage_shared", "gang_time", postgresql_where=text("gang_time IS NOT NULL")),
    )

    stage_id: str = Field(primary_key=True, sa_type=Id)
    job_id: str = Field(sa_type=Id)
    position: int
    name: str = Field(sa_type=Id)
    kind: str = Field(sa_type=Id)
    worker_class: str = Field(sa_type=Id)
    needs: list[str] = Field(sa_type=ARRAY(Text))
    max_attempts: int
    progress_timeout_seconds: float
    state: StageState = Field(default=StageState.PENDING, sa_type=StateText(StageState))
    attempt: int = 0
    num_counted: int = 0
    fence: int = Field(default=0, sa_type=BigInteger)
    worker_id: str = Field(default="", sa_type=Id)
    claim_request_id: str = Field(default="", sa_type=Id)
    lease_until: datetime | None = Field(default=None, sa_type=Moment)
    claimable_time: datetime | None = Field(default=None, sa_type=Moment)
    """End of the back-off; nobody may claim it before."""
    wake_time: datetime | None = Field(default=None, sa_type=Moment)
    """When to tell the workers (again) if nobody has claimed it by then."""
    queued_time: datetime | None = Field(default=None, sa_type=Moment)
    started_time: datetime | None = Field(default=None, sa_type=Moment)
    finished_time: datetime | None = Field(default=None, sa_type=Moment)
    progress: Progress | None = Field(default=None, sa_type=ProtoJson(Progress))
    progress_time: datetime | None = Field(default=None, sa_type=Moment)
    """When step or message last moved."""
    failure: Failure | None = Field(default=None, sa_type=ProtoJson(Failure))
    outputs: StageOutputs | None = Field(default=None, sa_type=ProtoJson(StageOutputs))
    num_waits: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    """Ended tries that used up none of `max_attempts`, because all that they can do is wait."""
    refit: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    """How often a forward pass was halved."""
    pause_requested: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    avoid_worker_id: str = Field(default="", sa_type=Id, sa_column_kwargs={"server_default": text("''")})
    """Worker of the last attempt that failed; others go first."""
    num_workers: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})
    """How many workers should share an attempt."""
    min_workers: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})
    """How many of them are enough."""
    gang: Gang | None = Field(default=None, sa_type=DataclassJson(Gang))
    """Those that share the present attempt; NULL where one worker has it alone."""
    gang_time: datetime | None = Field(default=None, sa_type=Moment)
    """When time alone changes something about the gang."""


class CheckpointRow(_Row, table=True):
    """A committed checkpoint."""

    __tablename__ = "checkpoint"
    __table_args__ = (ForeignKeyConstraint(["stage_id"], ["stage.stage_id"]),)

    stage_id: str = Field(primary_key=True, sa_type=Id)
    step: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    fence: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    attempt: int
    uri: str = Field(sa_type=Text)
    digest: str = Field(sa_type=Text)


class MetricRow(_Row, table=True):
    """One row of metrics of one step of one attempt."""

    __tablename__ = "metric"
    __table_args__ = (ForeignKeyConstraint(["stage_id"], ["stage.stage_id"]),)

    stage_id: str = Field(primary_key=True, sa_type=Id)
    attempt: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    step: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    time: datetime | None = Field(default=None, sa_type=Moment)
    values: dict[str, Any] = Field(sa_type=JSONB)
    """As in the JSON form of MetricPoint: what is not finite is the text NaN, Infinity or -Infinity."""


class ModelRow(_Row, table=True):
    """An exported model."""

    __tablename__ = "model"
    __table_args__ = (
        ForeignKeyConstraint(["project_id"], ["project.project_id"]),
        ForeignKeyConstraint(["job_id"], ["job.job_id"]),
        Index("model_by_project", "project_id", "model_id"),
    )

    model_id: str = Field(primary_key=True, sa_type=Id)
    project_id: str = Field(sa_type=Id)
    job_id: str = Field(sa_type=Id)
    name: str = Field(sa_type=Id)
    base_model: str = Field(sa_type=Text)
    artifact_uri: str = Field(sa_type=Text)
    artifact_digest: str = Field(sa_type=Text)
    artifact_bytes: int = Field(sa_type=BigInteger)
    formats: list[str] = Field(sa_type=ARRAY(Text))
    metrics: dict[str, float] = Field(sa_type=JSONB)
    dataset_version: str = Field(default="", sa_type=Text, sa_column_kwargs={"server_default": text("''")})
    """Of what its job trained on; empty for a model from before datasets had versions."""
    create_time: datetime = Field(sa_type=Moment)


class DeploymentRow(_Row, table=True):
    """A deployment of a model."""

    __tablename__ = "deployment"
    __table_args__ = (
        ForeignKeyConstraint(["project_id"], ["project.project_id"]),
        ForeignKeyConstraint(["job_id"], ["job.job_id"]),
        Index("deployment_by_project", "project_id", "deployment_id"),
        Index("deployment_by_name", "project_id", "name", "deployment_id"),
    )

    deployment_id: str = Field(primary_key=True, sa_type=Id)
    project_id: str = Field(sa_type=Id)
    job_id: str = Field(sa_type=Id)
    model_id: str = Field(sa_type=Id)
    name: str = Field(sa_type=Id)
    triton_model: str = Field(default="", sa_type=Text)
    state: DeploymentState = Field(default=DeploymentState.PENDING, sa_type=StateText(DeploymentState))
    failure: Failure | None = Field(default=None, sa_type=ProtoJson(Failure))
    create_time: datetime = Field(sa_type=Moment)
    active_time: datetime | None = Field(default=None, sa_type=Moment)


class WorkerRow(_Row, table=True):
    """A supervisor that has announced itself."""

    __tablename__ = "worker"

    worker_id: str = Field(primary_key=True, sa_type=Id)
    instance_id: str = Field(default="", sa_type=Id, sa_column_kwargs={"server_default": text("''")})
    display_name: str = Field(sa_type=Text)
    capabilities: WorkerCapabilities = Field(sa_type=ProtoJson(WorkerCapabilities))
    state: WorkerState = Field(default=WorkerState.READY, sa_type=StateText(WorkerState))
    register_time: datetime = Field(sa_type=Moment)
    heartbeat_time: datetime = Field(sa_type=Moment)
    num_failures_in_row: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    quarantined_until: datetime | None = Field(default=None, sa_type=Moment)


class OutboxRow(_Row, table=True):
    """A message for the bus, written with the change that it tells of.

    Rows with a sequence are the project's event log and stay; rows without are wake-ups and are pruned.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        ForeignKeyConstraint(["project_id"], ["project.project_id"]),
        UniqueConstraint("project_id", "sequence"),
        Index("outbox_by_job", "job_id", "sequence"),
        Index("outbox_unpublished", "position", postgresql_where=text("published_time IS NULL AND NOT held")),
        Index("outbox_wake_ups", "stage_id", postgresql_where=text("sequence IS NULL")),
    )

    message_id: str = Field(primary_key=True, sa_type=Id)
    position: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), nullable=False))
    """Order of publication; has gaps, and is never used as a cursor."""
    project_id: str = Field(sa_type=Id)
    sequence: int | None = Field(default=None, sa_type=BigInteger)
    job_id: str = Field(default="", sa_type=Id)
    stage_id: str = Field(default="", sa_type=Id)
    subject: str = Field(sa_type=Text)
    headers: dict[str, str] = Field(sa_type=JSONB)
    payload: bytes
    create_time: datetime = Field(sa_type=Moment)
    published_time: datetime | None = Field(default=None, sa_type=Moment)
    held: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    """The bus can never take it; a dead letter says why."""


class DeadLetterRow(_Row, table=True):
    """Something that could not be handled."""

    __tablename__ = "dead_letter"
    __table_args__ = (Index("dead_letter_open", "job_id", "source", postgresql_where=text("retry_time IS NULL")),)

    dead_letter_id: str = Field(primary_key=True, sa_type=Id)
    source: DeadLetterSource = Field(sa_type=StateText(DeadLetterSource))
    message_id: str = Field(default="", sa_type=Id)
    """Row of the outbox that it stands for; empty when there is none."""
    subject: str = Field(default="", sa_type=Text)
    headers: dict[str, str] = Field(default_factory=dict, sa_type=JSONB)
    payload: bytes = b""
    reason: str = Field(sa_type=Text)
    project_id: str = Field(default="", sa_type=Id)
    job_id: str = Field(default="", sa_type=Id)
    stage_id: str = Field(default="", sa_type=Id)
    create_time: datetime = Field(sa_type=Moment)
    retry_time: datetime | None = Field(default=None, sa_type=Moment)
