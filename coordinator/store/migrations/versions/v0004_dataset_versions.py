"""Models know what they were trained on."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds a column with a default: of models that are there nobody knows it."""
    op.add_column("model", sa.Column("dataset_version", sa.Text(), server_default=sa.text("''"), nullable=False))


def downgrade() -> None:
    """Not offered: which data a model is from would be forgotten."""
    raise NotImplementedError("restore a backup instead of downgrading")
