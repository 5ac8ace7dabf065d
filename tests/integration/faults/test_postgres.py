"""PostgreSQL frozen, killed and restarted under a coordinator: every call ends in time, and what was OK is there."""

import asyncio
import itertools
import json
import random
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from coordinator.service import serve
from luthier.local.home import Home
from luthier.local.postgres import database_url, postgres_child
from luthier.settings import CoordinatorSettings
from luthier.v1 import job_service_pb2 as jobs_pb
from luthier.v1 import worker_service_pb2 as pb
from luthier.v1.job_service_pb2_grpc import JobServiceStub
from luthier.v1.stage_pb2 import StageOutputs
from luthier.v1.worker_pb2 import WorkerCapabilities
from luthier.v1.worker_service_pb2_grpc import WorkerServiceStub
from tests.chaos.services import Service, until
from tests.integration.faults.conftest import TOKEN

METADATA = (("authorization", f"Bearer {TOKEN}"), ("x-luthier-project", "default"))
SPEC = json.dumps({"name": "tickets", "base_model": "tiny", "data": {"path": "/d.jsonl"}})
KINDS = ("preprocess", "train", "evaluate", "export")
REGISTER = pb.RegisterWorkerRequest(
    worker_id="w", capabilities=WorkerCapabilities(worker_classes=["cpu"], kinds=list(KINDS))
)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# What a caller may hear while the database is away.
NO_ANSWER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
# Waiting for a connection, then for one command, with time for a busy machine.
LONGEST_CALL_SECONDS = 28.0


class Postgres:
    """A server of our own."""

    def __init__(self, home: Home) -> None:
        self.service = Service(postgres_child(home))
        self.url = database_url(home)
        self._frozen: list[psutil.Process] = []

    def freeze(self) -> None:
        """Stops all its processes; the postmaster first, so that no new one comes."""
        self.service.signal(signal.SIGSTOP)
        self._frozen = self.service.kin()
        for process in self._frozen:
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        for process in self._frozen:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self.service.signal(signal.SIGCONT)

    async def fetch(self, query: str) -> list[Any]:
        connection = await asyncpg.connect(self.url)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()


@pytest.fixture
async def postgres() -> AsyncIterator[Postgres]:
    # Not under pytest's folder: as root PostgreSQL is another user, who cannot get through there.
    with tempfile.TemporaryDirectory(prefix="luthier-pg-") as folder:
        home = Home(Path(folder))
        home.create()
        made = Postgres(home)
        made.service.start()
        try:
            await made.service.answers()
            yield made
        finally:
            made.thaw()
            await made.service.stop()


@asynccontextmanager
async def running(postgres: Postgres, nats_url: str, stop: asyncio.Event | None = None) -> AsyncIterator[str]:
    """A coordinator in this process, so that its tasks can be looked at; yields its address."""
    settings = CoordinatorSettings.model_validate(
        {
            "database_url": postgres.url,
            "nats_url": nats_url,
            "internal_token": TOKEN,
            "coordinator_listen": "127.0.0.1:0",
            "artifacts": "/tmp/artifacts",
            "lease": 30.0,
            "reconcile_interval": 0.5,
            "stop_grace": 1.0,
        }
    )
    stop = stop or asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, stop, port.set_result))
    serving.add_done_callback(lambda _: port.cancel())
    try:
        yield f"127.0.0.1:{await port}"
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await serving


async def health_becomes(channel: grpc.aio.Channel, wanted: int, seconds: float) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    watching = stub.Watch(health_pb2.HealthCheckRequest())
    async with asyncio.timeout(seconds):
        async for reply in watching:
            if reply.status == wanted:
                watching.cancel()
                return


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def create(channel: grpc.aio.Channel, request_id: str, timeout: float) -> Any:
    stub: Any = JobServiceStub(channel)
    request = jobs_pb.CreateJobRequest(spec_json=SPEC, request_id=request_id)
    return stub.CreateJob(request, metadata=METADATA, timeout=timeout)


@pytest.mark.slow
async def test_while_it_is_frozen_every_call_ends_and_afterwards_all_goes_on(postgres: Postgres, nats_url: str) -> None:
    async with running(postgres, nats_url) as address, grpc.aio.insecure_channel(address) as channel:
        stub: Any = JobServiceStub(channel)
        worker: Any = WorkerServiceStub(channel)
        await health_becomes(channel, SERVING, 30)
        job = (await create(channel, "before", 20)).job
        at_rest = len(asyncio.all_tasks())
        watching = stub.WatchJob(jobs_pb.WatchJobRequest(job_id=job.job_id), metadata=METADATA)
        assert (await watching.read()).HasField("job")

        postgres.freeze()
        frozen_at = time.monotonic()
        # More than the pool has connections; some callers leave early, in the middle of a statement.
        patient = [create(channel, f"patient-{number}", 60) for number in range(30)]
        patient += [worker.RegisterWorker(REGISTER, metadata=METADATA, timeout=60) for _ in range(5)]
        hasty = [create(channel, f"hasty-{number}", 1) for number in range(30)]
        codes = asyncio.gather(*(code_of(call) for call in patient), *(code_of(call) for call in hasty))
        await health_becomes(channel, NOT_SERVING, 15)
        async with asyncio.timeout(LONGEST_CALL_SECONDS):
            answered = await codes
        assert set(answered[:35]) == {grpc.StatusCode.UNAVAILABLE}
        assert set(answered[35:]) <= set(NO_ANSWER)
        # Once that is known, nobody waits for a whole command any more.
        async with asyncio.timeout(15):
            assert await code_of(create(channel, "late", 60)) is grpc.StatusCode.UNAVAILABLE
        await asyncio.sleep(max(0.0, frozen_at + 30 - time.monotonic()))  # the promise is about 30 s

        postgres.thaw()
        await health_becomes(channel, SERVING, 20)
        watching.cancel()
        names = ["late", *(f"{kind}-{number}" for kind in ("patient", "hasty") for number in range(30))]
        for name in names:
            await create(channel, name, 20)
        assert await code_of(worker.RegisterWorker(REGISTER, metadata=METADATA, timeout=20)) is grpc.StatusCode.OK
        rows = await postgres.fetch("SELECT request_id FROM job")
        assert sorted(row["request_id"] for row in rows) == sorted(["before", *names])

        async def is_published() -> bool:
            return not await postgres.fetch("SELECT 1 FROM outbox WHERE published_time IS NULL LIMIT 1")

        async def is_at_rest() -> bool:
            return len(asyncio.all_tasks()) <= at_rest + 1

        await until(is_published, 20)
        await until(is_at_rest, 20)


async def test_it_stops_in_time_though_the_database_is_frozen(postgres: Postgres, nats_url: str) -> None:
    stop = asyncio.Event()
    async with running(postgres, nats_url, stop) as address, grpc.aio.insecure_channel(address) as channel:
        await health_becomes(channel, SERVING, 30)
        postgres.freeze()
        calls = [asyncio.create_task(code_of(create(channel, f"job-{number}", 60))) for number in range(30)]
        await health_becomes(channel, NOT_SERVING, 15)
        asked_at = time.monotonic()
        stop.set()
        await asyncio.gather(*calls)
    assert time.monotonic() - asked_at < 15


async def test_it_starts_once_the_database_answers_again(postgres: Postgres, nats_url: str) -> None:
    postgres.freeze()
    thawing = asyncio.create_task(_after(7, postgres.thaw))
    async with running(postgres, nats_url) as address, grpc.aio.insecure_channel(address) as channel:
        await health_becomes(channel, SERVING, 30)
    await thawing


async def test_it_can_be_stopped_while_it_waits_for_a_frozen_database(postgres: Postgres, nats_url: str) -> None:
    postgres.freeze()
    stop = asyncio.Event()
    stopping = asyncio.create_task(_after(1, stop.set))
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):  # it never listened
            async with running(postgres, nats_url, stop):
                pass
    await stopping


async def _after(seconds: float, act: Callable[[], object]) -> None:
    await asyncio.sleep(seconds)
    act()


@dataclass
class Load:
    """Jobs from submit to their last stage, by a worker that repeats whatever was not answered."""

    channel: grpc.aio.Channel
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    created: dict[str, str] = field(default_factory=dict)
    """Job by request id, as answered."""
    completed: dict[str, int] = field(default_factory=dict)
    """Fence by stage, as answered."""
    slowest: float = 0.0

    async def run(self, names: Iterator[int]) -> None:
        """Lives through one job after the other."""
        while not self.is_over.is_set():
            await self._live(f"request-{next(names)}")

    async def _live(self, name: str) -> None:
        job = (await self._insist(lambda: create(self.channel, name, 30))).job
        self.created[name] = job.job_id
        worker: Any = WorkerServiceStub(self.channel)
        for stage in job.stages:
            claim = pb.ClaimStageRequest(stage_id=stage.stage_id, worker_id="w", request_id=f"c-{name}")
            assignment = (
                await self._insist(lambda claim=claim: worker.ClaimStage(claim, metadata=METADATA, timeout=30))
            ).assignment
            outputs = StageOutputs(result_json="{}", gate_passed=True)
            done = pb.CompleteStageRequest(stage_id=stage.stage_id, fence=assignment.stage.fence, outputs=outputs)
            await self._insist(lambda done=done: worker.CompleteStage(done, metadata=METADATA, timeout=30))
            self.completed[stage.stage_id] = assignment.stage.fence

    async def _insist(self, call: Callable[[], Any]) -> Any:
        """The answer, of the first try that gets one."""
        while True:
            started = time.monotonic()
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                if error.code() not in NO_ANSWER:
                    raise
            finally:
                self.slowest = max(self.slowest, time.monotonic() - started)
            await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_restarts_under_load_lose_nothing_and_invent_nothing(postgres: Postgres, nats_url: str) -> None:
    choose = random.Random(5)
    async with running(postgres, nats_url) as address, grpc.aio.insecure_channel(address) as channel:
        await health_becomes(channel, SERVING, 30)
        await WorkerServiceStub(channel).RegisterWorker(REGISTER, metadata=METADATA)
        load = Load(channel)
        names = itertools.count()
        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(load.run(names))
            for _ in range(6):
                await asyncio.sleep(choose.uniform(0.5, 3))
                postgres.service.end(choose.choice((signal.SIGKILL, signal.SIGINT)), pause=choose.uniform(0, 1))
                await postgres.service.answers()
            load.is_over.set()
        await health_becomes(channel, SERVING, 30)
        stages = await postgres.fetch("SELECT stage_id, state, attempt, fence FROM stage")
        jobs = await postgres.fetch("SELECT job_id, request_id, state FROM job")
        assert {row["request_id"]: row["job_id"] for row in jobs} == load.created
        assert {row["stage_id"]: row["fence"] for row in stages} == load.completed
        assert {row["state"] for row in jobs} == {row["state"] for row in stages} == {"SUCCEEDED"}
        assert {row["attempt"] for row in stages} == {1}
        assert len(jobs) > 8
        assert load.slowest < LONGEST_CALL_SECONDS
