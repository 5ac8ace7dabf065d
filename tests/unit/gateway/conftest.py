"""A coordinator that answers on a real socket, and the real gateway in front of it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import grpc
import pytest

from gateway.app import serving
from luthier.settings import GatewaySettings
from luthier.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    job_pb2,
    job_service_pb2,
    job_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)

TOKEN = "internal-secret"
ADMIN_KEY = "lk_" + "a" * 43
READER_KEY = "lk_" + "r" * 43


@dataclass
class Backend(
    job_service_pb2_grpc.JobServiceServicer,
    access_service_pb2_grpc.AccessServiceServicer,
    worker_service_pb2_grpc.WorkerServiceServicer,
):
    """Knows two keys, records what it is told, and fails when asked to."""

    num_authentications: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    time_remaining: float | None = None
    watching: asyncio.Event = field(default_factory=asyncio.Event)
    watch_ended: asyncio.Event = field(default_factory=asyncio.Event)
    failure: tuple[grpc.StatusCode, str] | None = None

    async def AuthenticateApiKey(self, request, context):
        self.num_authentications += 1
        sent = dict(context.invocation_metadata())
        assert sent["authorization"] == f"Bearer {TOKEN}"
        permissions = {
            hashlib.sha256(ADMIN_KEY.encode()).digest(): ["*"],
            hashlib.sha256(READER_KEY.encode()).digest(): ["jobs.get"],
        }.get(request.key_sha256)
        if permissions is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "hash not found in table api_key")
        principal = access_service_pb2.Principal(key_id="key_1", project_id="prj_1", permissions=permissions)
        return access_service_pb2.AuthenticateApiKeyResponse(principal=principal)

    async def CreateApiKey(self, request, context):
        return access_service_pb2.CreateApiKeyResponse(key_id="key_2")

    async def RegisterWorker(self, request, context):
        return worker_service_pb2.RegisterWorkerResponse()

    async def GetJob(self, request, context):
        self.metadata = dict(context.invocation_metadata())
        self.time_remaining = context.time_remaining()
        if self.failure:
            await context.abort(*self.failure, (("x-reason", "because"),))
        return job_service_pb2.GetJobResponse(job=job_pb2.Job(job_id=request.job_id, name="n" * 10))

    async def WatchJob(self, request, context):
        yield job_service_pb2.WatchJobResponse(job=job_pb2.Job(job_id=request.job_id))
        self.watching.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.watch_ended.set()


@asynccontextmanager
async def serve_backend(backend: Backend, port: int = 0) -> AsyncIterator[int]:
    """The backend on a loopback port."""
    server = grpc.aio.server()
    job_service_pb2_grpc.add_JobServiceServicer_to_server(backend, server)
    access_service_pb2_grpc.add_AccessServiceServicer_to_server(backend, server)
    worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(backend, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def bearer(key: str) -> tuple[tuple[str, str], ...]:
    """Call metadata with an API key."""
    return (("authorization", f"Bearer {key}"),)


@dataclass(frozen=True)
class Edge:
    """A gateway, a channel to it, what stands behind it, and metadata of two keys."""

    backend: Backend
    channel: grpc.aio.Channel
    jobs: job_service_pb2_grpc.JobServiceStub
    port: int
    admin = bearer(ADMIN_KEY)
    """May do everything."""
    reader = bearer(READER_KEY)
    """Has `jobs.get` only."""


@asynccontextmanager
async def serve_edge(backend: Backend, coordinator_port: int) -> AsyncIterator[Edge]:
    """The real gateway in front of `coordinator_port`."""
    settings = GatewaySettings(
        coordinator=f"127.0.0.1:{coordinator_port}",
        internal_token=TOKEN,
        gateway_listen="127.0.0.1:0",
        stop_grace=timedelta(seconds=5),
    )
    async with (
        serving(settings) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Edge(backend, channel, job_service_pb2_grpc.JobServiceStub(channel), port)


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    """A gateway whose coordinator is up."""
    backend = Backend()
    async with serve_backend(backend) as coordinator_port, serve_edge(backend, coordinator_port) as edge:
        yield edge


@pytest.fixture
def start_coordinator() -> Callable[..., AbstractAsyncContextManager[int]]:
    """A function that serves a new backend: for tests that take the coordinator down."""
    return lambda backend=None, port=0: serve_backend(backend or Backend(), port)


@pytest.fixture
def start_gateway() -> Callable[[int], AbstractAsyncContextManager[Edge]]:
    """A function that serves a gateway in front of a port."""
    return lambda coordinator_port: serve_edge(Backend(), coordinator_port)
