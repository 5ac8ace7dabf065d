"""The way into PostgreSQL: one pool per process, one session per transaction, and what counts as "not there".

asyncpg parses the URL itself, so everything that libpq understands (unix sockets, several hosts, sslmode) works.
No call waits for ever: connecting, every command, waiting for a lock and idling inside a transaction are limited.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.ext.asyncio.session import async_sessionmaker
from sqlmodel import func, select
from sqlmodel.ext.asyncio.session import AsyncSession

CONNECT_TIMEOUT_SECONDS = 5.0
COMMAND_TIMEOUT_SECONDS = 15.0
# A coordinator that was frozen inside a transaction loses it, and with it the locks that others wait for.
SERVER_SETTINGS = {
    "application_name": "luthier-coordinator",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
}
POOL_SIZE = 10
POOL_OVERFLOW = 10
POOL_TIMEOUT_SECONDS = 10.0
RECYCLE_SECONDS = 1800

# A statement that failed for one of these reasons is our fault and stays so when tried again.
OUR_FAULTS = (
    *(exc.IntegrityError, exc.ProgrammingError, exc.DataError),
    *(asyncpg.IntegrityConstraintViolationError, asyncpg.SyntaxOrAccessError, asyncpg.DataError),
)
# Raised when the database does not answer, or gave up on a transaction; the same call may work later. It is wider than
# OUR_FAULTS, so catch those first.
DATABASE_DOWN = (exc.DBAPIError, exc.TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class Database:
    """The pool of connections of one process."""

    def __init__(self, url: str) -> None:
        """Connects to nothing yet; `url` is `postgresql://...`."""
        self._url = url
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self.connect,
            # Transactions are asyncpg's own: see `begin`.
            isolation_level="AUTOCOMMIT",
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=POOL_TIMEOUT_SECONDS,
            pool_recycle=RECYCLE_SECONDS,
            # The fewer connections in use, the warmer their prepared statements.
            pool_use_lifo=True,
        )
        event.listen(self._engine.sync_engine, "checkout", _refuse_closed)
        self._sessions = async_sessionmaker(self._engine, class_=AsyncSession, expire_on_commit=False)

    @property
    def engine(self) -> AsyncEngine:
        """For migrations, with SQLAlchemy's transactions."""
        return self._engine.execution_options(isolation_level="READ COMMITTED")

    async def connect(self) -> asyncpg.Connection:
        """A connection of its own, outside the pool."""
        return await asyncpg.connect(
            self._url,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            server_settings=SERVER_SETTINGS,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A session inside one transaction: committed at the end, rolled back by an exception."""
        async with self.begin() as (session, _):
            yield session

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[tuple[AsyncSession, asyncpg.Connection]]:
        """The same with asyncpg's connection, for a `Statement` inside the transaction.

        asyncpg begins and ends it, so that the first statement may be either's.
        """
        async with self._sessions() as session:
            connection = await session.connection()
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None, "a connection that was just taken from the pool"
            async with driver.transaction():
                yield session, driver
                await session.flush()

    async def answers(self) -> bool:
        """Whether a query comes back."""
        try:
            async with self.transaction() as session:
                await session.exec(select(1))
        except OUR_FAULTS:
            raise
        except DATABASE_DOWN:
            return False
        return True

    async def close(self) -> None:
        """Gives every connection back."""
        await self._engine.dispose()


def _refuse_closed(connection: Any, *_: object) -> None:
    """Has the pool replace a connection that PostgreSQL has closed meanwhile; it costs no question to the server.

    Raises:
        sqlalchemy.exc.DisconnectionError: it is closed.
    """
    if connection.driver_connection.is_closed():
        raise exc.DisconnectionError("PostgreSQL has closed the connection")


async def now(session: AsyncSession) -> datetime:
    """The database's clock at this moment; the only clock that leases know."""
    moment: datetime = (await session.exec(select(func.clock_timestamp()))).one()
    return moment


async def notify(session: AsyncSession, channel: str, payload: str) -> None:
    """Sends a notification when the transaction commits."""
    await session.exec(select(func.pg_notify(channel, payload)))
