"""What a benchmark of the platform needs: PostgreSQL, nats-server and coordinators as real processes in a folder.

They are the children that `luthier up` starts, so a benchmark measures what a user runs: PostgreSQL as it comes, with
`fsync`, and JetStream with `sync_interval: always`.
"""

import hashlib
import json
import os
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
import grpc

from luthier.local.child import Child, ChildSpec
from luthier.local.home import Home
from luthier.local.nats import nats_child, nats_url
from luthier.local.ports import LOOPBACK, choose_ports
from luthier.local.postgres import database_url, postgres_child
from luthier.local.services import Wiring, coordinator_child, worker_child
from luthier.v1.access_service_pb2 import CreateApiKeyRequest
from luthier.v1.access_service_pb2_grpc import AccessServiceStub
from luthier.v1.job_service_pb2 import CancelJobRequest, CreateJobRequest
from luthier.v1.job_service_pb2_grpc import JobServiceStub

PROJECT = "default"
_CALL_SECONDS = 30.0


@dataclass(frozen=True)
class Servers:
    """PostgreSQL and nats-server that answer."""

    home: Home
    nats_url: str = field(repr=False)
    start: Callable[[ChildSpec], Coroutine[Any, Any, Child]]
    """Starts another process, which ends before the servers do."""

    def database_url(self, name: str) -> str:
        """URL of a database, for anything that is built on libpq's names."""
        return database_url(self.home, name)

    async def create_database(self, prefix: str) -> str:
        """A fresh database; returns its name."""
        name = f"{prefix}_{uuid.uuid4().hex[:8]}"
        connection = await asyncpg.connect(self.database_url("postgres"))
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return name

    async def query(self, name: str, statement: str) -> list[asyncpg.Record]:
        """The rows of one query on one database."""
        connection = await asyncpg.connect(self.database_url(name))
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    async def start_coordinator(self, database: str, **settings: str) -> Wiring:
        """Starts a coordinator on a database; `settings` are LUTHIER_ variables in lower case.

        The project exists, and whoever shows `metadata` may work in it.
        """
        wiring = Wiring(
            database_url=self.database_url(database),
            nats_url=self.nats_url,
            artifacts=str(self.home.artifacts),
            coordinator=f"{LOOPBACK}:{choose_ports(['coordinator'], {})['coordinator']}",
            gateway="",
            triton_url="",
            triton_unavailable_reason="",
            triton_repository=Path(),
        )
        await self.start(_with(coordinator_child(self.home, wiring), settings))
        async with grpc.aio.insecure_channel(wiring.coordinator) as channel:
            digest = hashlib.sha256(os.urandom(32)).digest()
            key = CreateApiKeyRequest(project_id=PROJECT, display_name="benchmark", key_sha256=digest)
            await AccessServiceStub(channel).CreateApiKey(key, metadata=self.metadata(), timeout=_CALL_SECONDS)
        return wiring

    async def start_worker(self, wiring: Wiring, worker_id: str, stages: str) -> Child:
        """Starts `python -m workers` with a table of stages of benchmarks/support, `module:attribute`."""
        spec = worker_child(self.home, wiring, "cpu", worker_id)
        environment = {**spec.environment, "PYTHONPATH": str(Path(__file__).parent)}
        environment["LUTHIER_WORK_DIR"] = str(self.home.work / worker_id)
        return await self.start(replace(spec, argv=(*spec.argv, "--stages", stages), environment=environment))

    async def submit(self, wiring: Wiring, name: str) -> str:
        """Submits a job of five stages; returns its id."""
        spec = {"name": name, "base_model": "none", "data": {"path": "/dev/null"}, "deploy": {}}
        async with grpc.aio.insecure_channel(wiring.coordinator) as channel:
            request = CreateJobRequest(spec_json=json.dumps(spec))
            response = await JobServiceStub(channel).CreateJob(request, metadata=self.metadata(), timeout=_CALL_SECONDS)
        return str(response.job.job_id)

    async def cancel(self, wiring: Wiring, job_id: str) -> None:
        """Cancels a job."""
        async with grpc.aio.insecure_channel(wiring.coordinator) as channel:
            request = CancelJobRequest(job_id=job_id)
            await JobServiceStub(channel).CancelJob(request, metadata=self.metadata(), timeout=_CALL_SECONDS)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What the gateway would send along for a caller of the project."""
        return (("authorization", f"Bearer {self.home.secrets().internal_token}"), ("x-luthier-project", PROJECT))


def _with(spec: ChildSpec, settings: Mapping[str, str]) -> ChildSpec:
    variables = {f"LUTHIER_{name.upper()}": value for name, value in settings.items()}
    return replace(spec, environment={**spec.environment, **variables})


@asynccontextmanager
async def servers(folder: Path, postgres: Path | None = None) -> AsyncIterator[Servers]:
    """PostgreSQL and nats-server below `folder`; whatever was started ends with the block, the newest first.

    Args:
        postgres: folder of PostgreSQL's binaries; None: those that `luthier up` uses.
    """
    home = Home(folder)
    home.create()
    port = choose_ports(["nats"], {})["nats"]
    async with AsyncExitStack() as stack:

        async def start(spec: ChildSpec) -> Child:
            child = Child(spec, lambda: None)
            stack.push_async_callback(child.stop)
            await child.start()
            return child

        await start(postgres_child(home, postgres))
        await start(nats_child(home, port))
        yield Servers(home, nats_url(home, port), start)
