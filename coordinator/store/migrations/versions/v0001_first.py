"""Every table of the first version, the fence sequence, and the project that exists from the start."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None

ID = sa.String(64, collation="C")
MOMENT = sa.DateTime(timezone=True)
STATE = sa.String(16)
TEXTS = ARRAY(sa.Text())


def upgrade() -> None:
    """Creates everything in an empty database."""
    op.execute(sa.schema.CreateSequence(sa.Sequence("fence")))
    op.create_table(
        "project",
        sa.Column("project_id", ID, nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("create_time", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.Column("last_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("project_id"),
    )
    op.create_table(
        "worker",
        sa.Column("worker_id", ID, nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("capabilities", JSONB, nullable=False),
        sa.Column("state", STATE, nullable=False),
        sa.Column("register_time", MOMENT, nullable=False),
        sa.Column("heartbeat_time", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("worker_id"),
    )
    op.create_table(
        "api_key",
        sa.Column("key_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("key_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("permissions", TEXTS, nullable=False),
        sa.Column("create_time", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.Column("revoke_time", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"]),
        sa.PrimaryKeyConstraint("key_id"),
        sa.UniqueConstraint("key_sha256"),
    )
    op.create_table(
        "job",
        sa.Column("job_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("request_id", ID, nullable=False),
        sa.Column("spec_json", sa.Text(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=False),
        sa.Column("state", STATE, nullable=False),
        sa.Column("failure", JSONB, nullable=True),
        sa.Column("model_id", ID, nullable=True),
        sa.Column("deployment_id", ID, nullable=True),
        sa.Column("create_time", MOMENT, nullable=False),
        sa.Column("start_time", MOMENT, nullable=True),
        sa.Column("end_time", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"]),
        sa.PrimaryKeyConstraint("job_id"),
        sa.UniqueConstraint("project_id", "request_id"),
    )
    op.create_index("job_by_project", "job", ["project_id", "job_id"])
    op.create_index("job_open", "job", ["job_id"], postgresql_where=sa.text("state IN ('PENDING', 'RUNNING')"))
    op.create_table(
        "outbox",
        sa.Column("message_id", ID, nullable=False),
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("stage_id", ID, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("headers", JSONB, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("create_time", MOMENT, nullable=False),
        sa.Column("published_time", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"]),
        sa.PrimaryKeyConstraint("message_id"),
        sa.UniqueConstraint("project_id", "sequence"),
    )
    op.create_index("outbox_by_job", "outbox", ["job_id", "sequence"])
    op.create_index("outbox_unpublished", "outbox", ["position"], postgresql_where=sa.text("published_time IS NULL"))
    op.create_index("outbox_wake_ups", "outbox", ["stage_id"], postgresql_where=sa.text("sequence IS NULL"))
    op.create_table(
        "deployment",
        sa.Column("deployment_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("model_id", ID, nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("triton_model", sa.Text(), nullable=False),
        sa.Column("state", STATE, nullable=False),
        sa.Column("failure", JSONB, nullable=True),
        sa.Column("create_time", MOMENT, nullable=False),
        sa.Column("active_time", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.job_id"]),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"]),
        sa.PrimaryKeyConstraint("deployment_id"),
    )
    op.create_index("deployment_by_name", "deployment", ["project_id", "name", "deployment_id"])
    op.create_index("deployment_by_project", "deployment", ["project_id", "deployment_id"])
    op.create_table(
        "model",
        sa.Column("model_id", ID, nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("base_model", sa.Text(), nullable=False),
        sa.Column("artifact_uri", sa.Text(), nullable=False),
        sa.Column("artifact_digest", sa.Text(), nullable=False),
        sa.Column("artifact_bytes", sa.BigInteger(), nullable=False),
        sa.Column("formats", TEXTS, nullable=False),
        sa.Column("metrics", JSONB, nullable=False),
        sa.Column("create_time", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.job_id"]),
        sa.ForeignKeyConstraint(["project_id"], ["project.project_id"]),
        sa.PrimaryKeyConstraint("model_id"),
    )
    op.create_index("model_by_project", "model", ["project_id", "model_id"])
    op.create_table(
        "stage",
        sa.Column("stage_id", ID, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", ID, nullable=False),
        sa.Column("kind", ID, nullable=False),
        sa.Column("worker_class", ID, nullable=False),
        sa.Column("needs", TEXTS, nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("progress_timeout_seconds", sa.Float(), nullable=False),
        sa.Column("state", STATE, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("num_counted", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("worker_id", ID, nullable=False),
        sa.Column("claim_request_id", ID, nullable=False),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("claimable_time", MOMENT, nullable=True),
        sa.Column("wake_time", MOMENT, nullable=True),
        sa.Column("queued_time", MOMENT, nullable=True),
        sa.Column("started_time", MOMENT, nullable=True),
        sa.Column("finished_time", MOMENT, nullable=True),
        sa.Column("progress", JSONB, nullable=True),
        sa.Column("progress_time", MOMENT, nullable=True),
        sa.Column("failure", JSONB, nullable=True),
        sa.Column("outputs", JSONB, nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.job_id"]),
        sa.PrimaryKeyConstraint("stage_id"),
        sa.UniqueConstraint("job_id", "name"),
        sa.UniqueConstraint("job_id", "position"),
    )
    op.create_index("stage_leased", "stage", ["lease_until"], postgresql_where=sa.text("state = 'RUNNING'"))
    op.create_index("stage_waiting", "stage", ["wake_time"], postgresql_where=sa.text("state = 'QUEUED'"))
    op.create_table(
        "checkpoint",
        sa.Column("stage_id", ID, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["stage_id"], ["stage.stage_id"]),
        sa.PrimaryKeyConstraint("stage_id", "step", "fence"),
    )
    op.create_table(
        "metric",
        sa.Column("stage_id", ID, nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("time", MOMENT, nullable=True),
        sa.Column("values", JSONB, nullable=False),
        sa.ForeignKeyConstraint(["stage_id"], ["stage.stage_id"]),
        sa.PrimaryKeyConstraint("stage_id", "attempt", "step"),
    )
    op.execute("INSERT INTO project (project_id, display_name) VALUES ('default', 'Default project')")


def downgrade() -> None:
    """Not offered: it would delete every job."""
    raise NotImplementedError("restore a backup instead of downgrading")
