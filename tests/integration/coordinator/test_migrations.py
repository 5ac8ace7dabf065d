"""The migrations make the tables that the code declares, and several coordinators may run them at once."""

import asyncio

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlmodel import SQLModel, col, select

from coordinator.store.engine import Database
from coordinator.store.migrate import migrate
from coordinator.store.tables import ProjectRow


async def test_the_migrated_schema_is_the_declared_one(postgres_url: str) -> None:
    database = Database(postgres_url)
    await migrate(database)
    async with database.engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), SQLModel.metadata)
        )
    await database.close()
    assert differences == []


async def test_several_coordinators_migrate_at_once_and_seed_one_project(postgres_url: str) -> None:
    databases = [Database(postgres_url) for _ in range(4)]
    await asyncio.gather(*(migrate(database) for database in databases))
    async with databases[0].transaction() as session:
        projects = (await session.exec(select(col(ProjectRow.project_id)))).all()
    for database in databases:
        await database.close()
    assert projects == ["default"]
