"""The embedded PostgreSQL and NATS, as the launcher runs them."""

import asyncio
import os
import signal
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import nats
import pytest
from nats.errors import Error

from luthier.local.child import Child
from luthier.local.home import Home
from luthier.local.nats import nats_child, nats_url
from luthier.local.postgres import database_url, postgres_child
from luthier.local.state import ChildState


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """Not under pytest's folder: every other pytest takes away the way through it that root's PostgreSQL needs."""
    with tempfile.TemporaryDirectory(prefix="luthier-") as folder:
        home = Home(Path(folder) / "home")
        home.create()
        yield home


@pytest.fixture
async def postgres(home: Home) -> AsyncIterator[Child]:
    child = Child(postgres_child(home), lambda: None)
    await child.start()
    yield child
    await child.stop()


async def execute(home: Home, statement: str) -> object:
    connection = await asyncpg.connect(database_url(home))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_postgres_keeps_its_data_over_a_crash_and_a_restart(home: Home, postgres: Child) -> None:
    await execute(home, "CREATE TABLE crashed AS SELECT 42 AS answer")
    supervision = asyncio.create_task(postgres.supervise())
    assert postgres.record.process is not None
    os.kill(postgres.record.process.pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while postgres.record.restarts == 0 or postgres.record.state is not ChildState.RUNNING:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await execute(home, "SELECT answer FROM crashed") == 42
    supervision.cancel()
    await postgres.stop()
    await postgres.start()
    assert await execute(home, "SELECT answer FROM crashed") == 42


async def test_postgres_opens_no_port_and_its_socket_is_private(home: Home, postgres: Child) -> None:
    assert await execute(home, "SHOW listen_addresses") == ""
    folder = database_url(home).partition("host=")[2]
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700


async def test_a_server_that_outlived_its_launcher_is_replaced(home: Home, postgres: Child) -> None:
    await execute(home, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert postgres.record.process is not None
    old = postgres.record.process
    successor = Child(postgres_child(home), lambda: None)
    await successor.start()
    try:
        assert old.process() is None
        assert await execute(home, "SELECT answer FROM kept") == 42
    finally:
        await successor.stop()


async def test_a_lock_file_of_a_recycled_pid_does_not_keep_postgres_down(home: Home, postgres: Child) -> None:
    await postgres.stop()
    lock = home.postgres / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{home.postgres}\n")
    await postgres.start()
    assert int(lock.read_text().splitlines()[0]) != os.getpid()


async def test_nats_lets_in_only_who_knows_the_password(home: Home, free_port: Callable[[], int]) -> None:
    port = free_port()
    child = Child(nats_child(home, port), lambda: None)
    await child.start()
    try:
        assert stat.S_IMODE((home.nats / "nats.conf").stat().st_mode) == 0o600
        connection = await nats.connect(nats_url(home, port))
        await connection.close()
        with pytest.raises(Error):
            await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False, max_reconnect_attempts=0)
    finally:
        await child.stop()
