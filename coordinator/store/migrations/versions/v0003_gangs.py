"""Several workers may share an attempt."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds columns with defaults: stages of a running installation are of one worker."""
    op.add_column("stage", sa.Column("num_workers", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("stage", sa.Column("min_workers", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("stage", sa.Column("gang", JSONB, nullable=True))
    op.add_column("stage", sa.Column("gang_time", sa.DateTime(timezone=True), nullable=True))
    op.create_index("stage_shared", "stage", ["gang_time"], postgresql_where=sa.text("gang_time IS NOT NULL"))


def downgrade() -> None:
    """Not offered: attempts that are shared would be forgotten."""
    raise NotImplementedError("restore a backup instead of downgrading")
