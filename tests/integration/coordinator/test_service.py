"""The whole process: two side by side, stores that go away and come back, graceful and ungraceful ends."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import nats
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from nats.js.errors import NotFoundError

from coordinator.reconcile import Reconciler
from coordinator.service import check_settings, serve
from luthier.events import parse_event
from luthier.settings import CoordinatorSettings
from luthier.subjects import EVENTS_STREAM, EVENTS_WILDCARD
from luthier.v1 import job_service_pb2 as pb
from luthier.v1.job_service_pb2_grpc import JobServiceStub

TOKEN = "internal-token-of-the-tests"
METADATA = (("authorization", f"Bearer {TOKEN}"), ("x-luthier-project", "default"))
SPEC = json.dumps({"name": "tickets", "base_model": "tiny", "data": {"path": "/d.jsonl"}})
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def settings_of(postgres_url: str, nats_url: str, **changes: Any) -> CoordinatorSettings:
    values = {
        "database_url": postgres_url,
        "nats_url": nats_url,
        "internal_token": TOKEN,
        "coordinator_listen": "127.0.0.1:0",
        "artifacts": "/tmp/artifacts",
        "reconcile_interval": 0.1,
        "stop_grace": 1.0,
    }
    return CoordinatorSettings.model_validate(values | changes)


@asynccontextmanager
async def running(settings: CoordinatorSettings) -> AsyncIterator[grpc.aio.Channel]:
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, stop, port.set_result))
    serving.add_done_callback(lambda _: port.cancel())
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{await port}") as channel:
            yield channel
    finally:
        stop.set()
        await serving


async def health_becomes(channel: grpc.aio.Channel, wanted: int) -> None:
    async with asyncio.timeout(20):
        async for reply in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
            if reply.status == wanted:
                return


async def test_a_watcher_of_one_coordinator_sees_what_another_one_does(postgres_url: str, nats_url: str) -> None:
    settings = settings_of(postgres_url, nats_url)
    async with running(settings) as first, running(settings) as second:
        one: Any = JobServiceStub(first)
        other: Any = JobServiceStub(second)
        job = (await one.CreateJob(pb.CreateJobRequest(spec_json=SPEC), metadata=METADATA)).job
        facts = []
        async for update in other.WatchJob(pb.WatchJobRequest(job_id=job.job_id), metadata=METADATA):
            facts.append(update.event.WhichOneof("fact"))
            if facts == [None, "job_created", "stage_queued"]:
                await one.CancelJob(pb.CancelJobRequest(job_id=job.job_id), metadata=METADATA)
        assert facts[-2:] == ["job_cancelled", None]


async def test_a_job_with_a_field_that_does_nothing_is_accepted_with_a_warning(postgres_url, nats_url):
    document = json.loads(SPEC) | {"training": {"warmup_ratio": 0.2, "warmup_steps": 3}}
    async with running(settings_of(postgres_url, nats_url)) as channel:
        stub: Any = JobServiceStub(channel)
        job = (await stub.CreateJob(pb.CreateJobRequest(spec_json=json.dumps(document)), metadata=METADATA)).job
        async for update in stub.WatchJob(pb.WatchJobRequest(job_id=job.job_id), metadata=METADATA):
            if update.event.WhichOneof("fact") == "job_created":
                (warning,) = update.event.job_created.warnings
                assert warning.startswith("training.warmup_ratio does nothing here")
                await stub.CancelJob(pb.CancelJobRequest(job_id=job.job_id), metadata=METADATA)


async def test_it_starts_without_nats_and_serves_once_that_comes(
    postgres_url: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    async with running(settings_of(postgres_url, f"nats://127.0.0.1:{port}")) as channel:
        stub: Any = JobServiceStub(channel)
        await health_becomes(channel, NOT_SERVING)
        job = (await stub.CreateJob(pb.CreateJobRequest(spec_json=SPEC), metadata=METADATA)).job
        process = await asyncio.create_subprocess_exec(
            *("nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(tmp_path / "store")),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await health_becomes(channel, SERVING)
            client = await nats.connect(f"nats://127.0.0.1:{port}")
            events = await published_stream(client)
            (message,) = await events.fetch(1, timeout=20)
            assert parse_event(message.data, message.headers).job_id == job.job_id
            await client.close()
        finally:
            process.kill()
            await process.wait()
        await health_becomes(channel, NOT_SERVING)


async def published_stream(client: Any) -> Any:
    """A consumer of the events, as soon as the relay has made the stream."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await client.jetstream().pull_subscribe(EVENTS_WILDCARD, stream=EVENTS_STREAM)
            except NotFoundError:
                await asyncio.sleep(0.05)


async def test_calls_answer_unavailable_while_postgresql_is_away_and_work_again_after(
    postgres_url: str, postgres_server: str, nats_url: str
) -> None:
    async with running(settings_of(postgres_url, nats_url)) as channel:
        stub: Any = JobServiceStub(channel)
        await health_becomes(channel, SERVING)
        admin = await asyncpg.connect(postgres_server)
        name = postgres_url.split("?")[0].rsplit("/", 1)[1]
        await admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListJobs(pb.ListJobsRequest(), metadata=METADATA)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await health_becomes(channel, NOT_SERVING)
        await admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
        await admin.close()
        await health_becomes(channel, SERVING)
        await stub.ListJobs(pb.ListJobsRequest(), metadata=METADATA)


async def read_to_the_end(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:
        pass


async def test_a_part_that_dies_takes_the_process_with_it(
    postgres_url: str, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Reconciler) -> int:
        raise RuntimeError("our own fault")

    monkeypatch.setattr(Reconciler, "step", broken)
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="our own fault")):
        async with asyncio.timeout(20):
            await serve(settings_of(postgres_url, nats_url), asyncio.Event())


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"database_url": ""}, "LUTHIER_DATABASE_URL"),
        ({"internal_token": ""}, "LUTHIER_INTERNAL_TOKEN"),
        ({"artifacts": ""}, "LUTHIER_ARTIFACTS"),
        ({"coordinator_listen": "0.0.0.0:7430"}, "LUTHIER_COORDINATOR_LISTEN"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(changes: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        check_settings(settings_of("postgresql://x", "nats://x", **changes))


async def test_the_process_stops_cleanly_on_sigterm(
    postgres_url: str, nats_url: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        "LUTHIER_DATABASE_URL": postgres_url,
        "LUTHIER_NATS_URL": nats_url,
        "LUTHIER_INTERNAL_TOKEN": TOKEN,
        "LUTHIER_COORDINATOR_LISTEN": f"127.0.0.1:{port}",
        "LUTHIER_ARTIFACTS": str(tmp_path),
        "LUTHIER_STOP_GRACE": "2",
    }
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "coordinator"), env=os.environ | environment, stdout=log, stderr=log
        )
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                async with asyncio.timeout(30):
                    await channel.channel_ready()
                await health_becomes(channel, SERVING)
                stub: Any = JobServiceStub(channel)
                job = (await stub.CreateJob(pb.CreateJobRequest(spec_json=SPEC), metadata=METADATA)).job
                stream = stub.WatchJob(pb.WatchJobRequest(job_id=job.job_id), metadata=METADATA)
                assert (await stream.read()).HasField("job")
                process.send_signal(signal.SIGTERM)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await read_to_the_end(stream)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            async with asyncio.timeout(10):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert TOKEN not in (tmp_path / "log").read_text()
