"""Two coordinators on one database: one of them dies or freezes, and the other one is enough."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from gateway.app import serving
from luthier.client import AsyncClient
from luthier.settings import GatewaySettings
from luthier.transport import COORDINATOR_OPTIONS, coordinator_target
from luthier.v1.access_service_pb2 import CreateApiKeyRequest
from luthier.v1.access_service_pb2_grpc import AccessServiceStub
from luthier.v1.job_service_pb2 import CreateJobRequest, GetJobRequest
from luthier.v1.job_service_pb2_grpc import JobServiceStub
from luthier.v1.stage_pb2 import Stage
from luthier.v1.worker_pb2 import WorkerCapabilities
from luthier.v1.worker_service_pb2 import ClaimStageRequest, RegisterWorkerRequest
from luthier.v1.worker_service_pb2_grpc import WorkerServiceStub
from tests.integration.faults.conftest import TOKEN, CoordinatorProcess
from workers.coordinator_link import GrpcCoordinator
from workers.lease import Heartbeats

METADATA = (("authorization", f"Bearer {TOKEN}"), ("x-luthier-project", "default"))
KEY = "lk_" + "k" * 43
SPEC = json.dumps({"name": "tickets", "base_model": "tiny", "data": {"path": "/d.jsonl"}})
LEASE, INTERVAL = 3.0, 1.0
WORKER = RegisterWorkerRequest(
    worker_id="w", capabilities=WorkerCapabilities(worker_classes=["cpu"], kinds=["preprocess"])
)

Pair = tuple[CoordinatorProcess, CoordinatorProcess]


@pytest.fixture
async def pair(start_coordinator: Callable[..., CoordinatorProcess]) -> Pair:
    """Both are serving."""
    made = start_coordinator(), start_coordinator()
    for coordinator in made:
        await coordinator.becomes()
    return made


def addresses(pair: Pair) -> str:
    return ",".join(coordinator.address for coordinator in pair)


@pytest.fixture
async def link(pair: Pair) -> AsyncIterator[GrpcCoordinator]:
    """What a worker has."""
    async with GrpcCoordinator(addresses(pair), TOKEN, timeout=5) as made:
        await made.register_worker(WORKER)
        yield made


@pytest.mark.parametrize("number", [0, 1])
async def test_calls_go_on_when_one_is_killed(pair: Pair, link: GrpcCoordinator, number: int) -> None:
    under_way = [asyncio.create_task(link.register_worker(WORKER)) for _ in range(20)]
    await asyncio.sleep(0)
    pair[number].kill()
    started = time.monotonic()
    await asyncio.gather(*under_way)
    for _ in range(20):
        await link.register_worker(WORKER)
    assert time.monotonic() - started < 10
    started = time.monotonic()
    await link.register_worker(WORKER)
    assert time.monotonic() - started < 4


async def claim(pair: Pair, link: GrpcCoordinator) -> Any:
    """A running attempt of a new job."""
    async with grpc.aio.insecure_channel(pair[0].address) as channel:
        jobs: Any = JobServiceStub(channel)
        job = (await jobs.CreateJob(CreateJobRequest(spec_json=SPEC), metadata=METADATA)).job
    request = ClaimStageRequest(stage_id=job.stages[0].stage_id, worker_id="w", request_id="c")
    return (await link.claim_stage(request)).assignment.stage


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, pytest.param(1, marks=pytest.mark.soak)])
async def test_an_attempt_survives_the_freeze_of_one(pair: Pair, link: GrpcCoordinator, number: int) -> None:
    stage = await claim(pair, link)

    async def forgotten() -> None:
        raise AssertionError("the coordinator knows this worker")

    heartbeats = Heartbeats(link, "w", lease=LEASE, interval=INTERVAL, on_forgotten=forgotten)
    taken_at = asyncio.get_running_loop().time()
    with heartbeats.hold(stage.stage_id, stage.fence, taken_at) as lease:
        beating = asyncio.create_task(heartbeats.run())
        pair[number].freeze()
        ended = asyncio.create_task(lease.wait_ended())
        # Longer than the frozen one is kept for, and many leases long.
        await asyncio.wait([ended], timeout=6 * LEASE)
        assert lease.ended is None
        pair[number].thaw()
        await pair[number].becomes()
        async with grpc.aio.insecure_channel(pair[1 - number].address) as channel:
            jobs: Any = JobServiceStub(channel)
            job = (await jobs.GetJob(GetJobRequest(job_id=stage.job_id), metadata=METADATA)).job
        assert (job.stages[0].state, job.stages[0].attempt) == (Stage.STATE_RUNNING, 1)
        for task in (beating, ended):
            task.cancel()


@pytest.mark.soak
async def test_a_quiet_worker_is_not_called_abusive(pair: Pair) -> None:
    """A server that thinks so closes the connection at the third ping."""
    ready = grpc.ChannelConnectivity.READY
    async with grpc.aio.insecure_channel(coordinator_target(addresses(pair)), options=COORDINATOR_OPTIONS) as channel:
        await WorkerServiceStub(channel).RegisterWorker(WORKER, metadata=METADATA, wait_for_ready=True)
        left = asyncio.create_task(channel.wait_for_state_change(ready))
        await asyncio.wait([left], timeout=22)
        assert channel.get_state() is ready
        assert not left.done()
        left.cancel()


@pytest.mark.slow
async def test_clients_are_served_while_one_is_frozen(pair: Pair) -> None:
    async with grpc.aio.insecure_channel(pair[0].address) as channel:
        digest = hashlib.sha256(KEY.encode()).digest()
        key = CreateApiKeyRequest(project_id="default", key_sha256=digest, permissions=["*"])
        await AccessServiceStub(channel).CreateApiKey(key, metadata=METADATA)
    settings = GatewaySettings(coordinator=addresses(pair), internal_token=TOKEN, gateway_listen="127.0.0.1:0")
    async with serving(settings) as port, AsyncClient(f"127.0.0.1:{port}", KEY) as client:
        job = await client.submit(json.loads(SPEC))
        pair[0].freeze()
        # The first calls to the frozen one wait until its keepalive is missed; then nobody asks it any more.
        async with asyncio.timeout(25):
            await asyncio.gather(*(client.get(job.id) for _ in range(4)))
        async with asyncio.timeout(10):
            for _ in range(20):
                await client.get(job.id)
        pair[0].thaw()
        pair[1].kill()
        async with asyncio.timeout(20):
            assert (await client.submit(json.loads(SPEC))).state == "PENDING"
