"""The way into PostgreSQL: one pool per process, one session per transaction, and what counts as "not there".

asyncpg parses the URL itself, so everything that libpq understands (unix sockets, several hosts, sslmode) works.
No call waits for ever: connecting, every command, waiting for a lock and idling inside a transaction are limited.
A connection whose command was given up, for its time or because the caller left, is cut off and never asked again:
asyncpg would wait without limit for a server that is frozen to confirm that the command is cancelled, even in `close`
(MagicStack/asyncpg#1356).
"""

import asyncio
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
from asyncpg.transaction import Transaction
from sqlalchemy import event, exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.ext.asyncio.session import async_sessionmaker
from sqlmodel import func, select
from sqlmodel.ext.asyncio.session import AsyncSession

CONNECT_TIMEOUT_SECONDS = 5.0
COMMAND_TIMEOUT_SECONDS = 15.0
ROLLBACK_TIMEOUT_SECONDS = 5.0
PROBE_TIMEOUT_SECONDS = 3.0
SERVER_SETTINGS = {
    "application_name": "luthier-coordinator",
    # What we have answered is on disk, whatever the server's default is.
    "synchronous_commit": "on",
    "lock_timeout": "10s",
    # A coordinator that was frozen inside a transaction loses it, and with it the locks that others wait for.
    "idle_in_transaction_session_timeout": "30s",
    # So does one whose machine vanished without a word. Without effect on unix sockets.
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25s",
}
POOL_SIZE = 10
POOL_OVERFLOW = 10
POOL_TIMEOUT_SECONDS = 5.0
RECYCLE_SECONDS = 1800

# A statement that failed for one of these reasons is our fault and stays so when tried again.
OUR_FAULTS = (
    *(exc.IntegrityError, exc.ProgrammingError, exc.DataError),
    *(asyncpg.IntegrityConstraintViolationError, asyncpg.SyntaxOrAccessError, asyncpg.DataError),
)
# A connection that is closed, or that the server is just closing (asyncpg calls that an internal error).
CONNECTION_LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# Raised when the database does not answer, or gave up on a transaction; the same call may work later. It is wider than
# OUR_FAULTS, so catch those first.
DATABASE_DOWN = (exc.DBAPIError, exc.TimeoutError, asyncpg.PostgresError, TimeoutError, *CONNECTION_LOST)
# After one of these the server may be frozen: what it is asked next may never be answered.
GIVEN_UP = (TimeoutError, asyncio.CancelledError, *CONNECTION_LOST)
MADE_AT = "made_at"


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
        event.listen(self._engine.sync_engine, "connect", _note_time)
        event.listen(self._engine.sync_engine, "checkout", self._refuse_dubious)
        self._open: weakref.WeakSet[asyncpg.Connection] = weakref.WeakSet()
        self._dubious_before = float("-inf")
        self._sessions = async_sessionmaker(self._engine, class_=AsyncSession, expire_on_commit=False)

    @property
    def engine(self) -> AsyncEngine:
        """For migrations, with SQLAlchemy's transactions."""
        return self._engine.execution_options(isolation_level="READ COMMITTED")

    async def connect(self) -> asyncpg.Connection:
        """A connection of its own, outside the pool."""
        connection = await asyncpg.connect(
            self._url,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            server_settings=SERVER_SETTINGS,
        )
        self._open.add(connection)
        return connection

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
            transaction = driver.transaction()
            try:
                await transaction.start()
                yield session, driver
                if session.new or session.dirty or session.deleted:
                    await session.flush()
            except GIVEN_UP as error:
                self._cut_off(driver, error)
                raise
            except BaseException:  # whoever leaves, and why ever: nothing of it may stay, and the caller is told
                await self._roll_back(driver, transaction)
                raise
            try:
                await transaction.commit()
            except BaseException as error:  # whether it was committed is not known: the connection is of no use
                self._cut_off(driver, error)
                raise

    async def answers(self) -> bool:
        """Whether a query comes back within PROBE_TIMEOUT_SECONDS."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS), self.transaction() as session:
                await session.exec(select(1))
        except OUR_FAULTS:
            raise
        except DATABASE_DOWN as error:
            self._note_failure(error)
            return False
        return True

    async def close(self) -> None:
        """Cuts every connection off; PostgreSQL rolls back what they had open."""
        for connection in list(self._open):
            connection.terminate()
        await self._engine.dispose()

    async def _roll_back(self, driver: asyncpg.Connection, transaction: Transaction) -> None:
        """Rolls back, or leaves that to PostgreSQL by closing the connection."""
        try:
            async with asyncio.timeout(ROLLBACK_TIMEOUT_SECONDS):
                await transaction.rollback()
        except DATABASE_DOWN as error:
            self._cut_off(driver, error)
        except asyncio.CancelledError as error:
            self._cut_off(driver, error)
            raise

    def _cut_off(self, driver: asyncpg.Connection, error: BaseException) -> None:
        driver.terminate()
        self._note_failure(error)

    def _note_failure(self, error: BaseException) -> None:
        """After one command without an answer, no other connection of that time is asked either."""
        if isinstance(error, TimeoutError):
            self._dubious_before = time.monotonic()

    def _refuse_dubious(self, connection: Any, record: Any, _: object) -> None:
        """Has the pool replace a connection that is closed or dubious; it costs no question to the server.

        Raises:
            sqlalchemy.exc.DisconnectionError: it is.
        """
        driver = connection.driver_connection
        if driver.is_closed() or record.info[MADE_AT] < self._dubious_before:
            driver.terminate()
            raise exc.DisconnectionError("PostgreSQL has closed the connection, or may not answer on it")


def _note_time(_: Any, record: Any) -> None:
    record.info[MADE_AT] = time.monotonic()


async def now(session: AsyncSession) -> datetime:
    """The database's clock at this moment; the only clock that leases know."""
    moment: datetime = (await session.exec(select(func.clock_timestamp()))).one()
    return moment


async def notify(session: AsyncSession, channel: str, payload: str) -> None:
    """Sends a notification when the transaction commits."""
    await session.exec(select(func.pg_notify(channel, payload)))
