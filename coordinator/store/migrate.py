"""Brings the schema up to date when a coordinator starts. Several may start at once: an advisory lock lets one work."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from coordinator.store.engine import Database

MIGRATIONS = Path(__file__).parent / "migrations"
# Any number, as long as nothing else in this database locks it.
LOCK = 0x6C757468


async def migrate(database: Database) -> None:
    """Runs the migrations that are missing, all in one transaction."""
    async with database.engine.begin() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None, "a connection that was just taken from the pool"
        try:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            await connection.run_sync(upgrade)
        except BaseException:
            driver.terminate()  # PostgreSQL rolls back; a frozen one is not waited for
            raise


def upgrade(connection: Connection) -> None:
    """Runs the missing migrations on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
