"""Alembic's entry: runs migrations on the connection that `coordinator/store/migrate.py` opened."""

from alembic import context
from sqlmodel import SQLModel

from coordinator.store import tables

assert tables.FENCES.metadata is SQLModel.metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=SQLModel.metadata, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
