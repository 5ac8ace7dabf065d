"""Pausing, refitting, quarantine and dead letters."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"

ID = sa.String(64, collation="C")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Adds columns with defaults, so that rows of a running installation stay valid."""
    op.add_column("stage", sa.Column("num_waits", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("stage", sa.Column("refit", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("stage", sa.Column("pause_requested", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("stage", sa.Column("avoid_worker_id", ID, server_default=sa.text("''"), nullable=False))
    op.add_column("worker", sa.Column("instance_id", ID, server_default=sa.text("''"), nullable=False))
    op.add_column("worker", sa.Column("num_failures_in_row", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("worker", sa.Column("quarantined_until", MOMENT, nullable=True))
    op.add_column("outbox", sa.Column("held", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.drop_index("outbox_unpublished", "outbox")
    op.create_index(
        "outbox_unpublished", "outbox", ["position"], postgresql_where=sa.text("published_time IS NULL AND NOT held")
    )
    op.create_table(
        "dead_letter",
        sa.Column("dead_letter_id", ID, nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("message_id", ID, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("headers", JSONB, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("project_id", ID, nullable=False),
        sa.Column("job_id", ID, nullable=False),
        sa.Column("stage_id", ID, nullable=False),
        sa.Column("create_time", MOMENT, nullable=False),
        sa.Column("retry_time", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("dead_letter_id"),
    )
    op.create_index(
        "dead_letter_open", "dead_letter", ["job_id", "source"], postgresql_where=sa.text("retry_time IS NULL")
    )
    # The key of the local user: `*` alone does not reach what concerns every project.
    op.execute("UPDATE api_key SET permissions = '{*,admin.*}' WHERE display_name = 'luthier up'")


def downgrade() -> None:
    """Not offered: it would forget what could not be handled."""
    raise NotImplementedError("restore a backup instead of downgrading")
