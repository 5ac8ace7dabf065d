"""Every call of a worker may be lost, answered into the void, or repeated while it still runs; each stage ends once.

The three faults are those that Ray tests its calls with: the request is lost, the reply is lost, the retry arrives
while the first call is in flight. Here they befall real supervisors with real runner processes, on their way to a real
coordinator.
"""

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from luthier.errors import ConflictError, DeadlineError
from luthier.settings import WorkerSettings
from luthier.v1.access_service_pb2 import CreateApiKeyRequest
from luthier.v1.access_service_pb2_grpc import AccessServiceStub
from luthier.v1.event_service_pb2 import ListEventsRequest
from luthier.v1.event_service_pb2_grpc import EventServiceStub
from luthier.v1.job_pb2 import Job
from luthier.v1.job_service_pb2 import CreateJobRequest, GetJobRequest
from luthier.v1.job_service_pb2_grpc import JobServiceStub
from luthier.v1.worker_pb2 import WorkerCapabilities
from workers.bus import StageQueue
from workers.coordinator_link import GrpcCoordinator
from workers.drain import Drain
from workers.supervisor import Supervisor

pytestmark = pytest.mark.chaos

NUM_JOBS = 12
NUM_WORKERS = 3
OPEN = (Job.STATE_PENDING, Job.STATE_RUNNING)
PIPELINE = ["preprocess", "train", "evaluate", "export"]
FAULTS = ("request lost", "reply lost", "in flight")
METHODS = ("claim_stage", "heartbeat", "report_stage", "complete_stage", "fail_stage")

# A runner without any import of ours. The first try of every training is given back.
RUNNER = """
import json, os, sys
folder = sys.argv[-1]
with open(folder + "/task.json") as stream:
    stage = json.load(stream)["stage"]
said = [
    {"metrics": {"step": 1, "values": {"loss": 0.5}}},
    {"checkpoint": {"uri": "file:///%s/%s" % (stage["stage_id"], stage["fence"]), "digest": "sha256:00", "step": 1}},
]
os.write(int(sys.argv[sys.argv.index("--report-fd") + 1]), "".join(json.dumps(line) + "\\n" for line in said).encode())
failure = {"failureClass": "FAILURE_CLASS_PREEMPTED", "message": "given back"}
outputs = {"resultJson": "{}", "gatePassed": True, "artifact": {"uri": "file:///x", "digest": "sha256:00"}}
is_given_back = stage["name"] == "train" and stage["attempt"] == 1
with open(folder + "/outcome.json", "w") as stream:
    json.dump({"failure": failure} if is_given_back else {"outputs": outputs}, stream)
"""


class Faults:
    """Of every method's calls, over all lines together, the share `rate` meets a fault, each fault equally often."""

    def __init__(self, rate: float) -> None:
        self.met: Counter[tuple[str, str]] = Counter()
        self._chance = random.Random(f"faults {rate}")
        self._deck = [*FAULTS, *[""] * round(len(FAULTS) / rate - len(FAULTS))]
        self._dealt: dict[str, list[str]] = {}

    def draw(self, method: str) -> str:
        """What befalls the next call; empty for nothing."""
        if not self._dealt.get(method):
            self._dealt[method] = self._chance.sample(self._deck, len(self._deck))
        fault = self._dealt[method].pop()
        self.met[method, fault] += 1
        return fault


class Unreliable:
    """A coordinator behind a bad line."""

    def __init__(self, inner: GrpcCoordinator, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults
        self._in_flight: list[asyncio.Task[Any]] = []

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return partial(self._call, name)

    async def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        fault = self._faults.draw(name)
        if fault == "request lost":
            raise DeadlineError(f"{name}: {fault}")
        call = asyncio.create_task(getattr(self._inner, name)(*arguments, **options))
        if fault == "in flight":
            self._in_flight.append(call)
            raise DeadlineError(f"{name}: {fault}")
        answer = await call
        if fault == "reply lost":
            raise DeadlineError(f"{name}: {fault}")
        return answer

    async def landed(self) -> list[Any]:
        """What has become of the calls in flight."""
        return await asyncio.gather(*self._in_flight, return_exceptions=True)


@pytest.fixture
def faults(rate: float) -> Faults:
    return Faults(rate)


@pytest.fixture
async def workers(coordinator, tmp_path: Path, faults: Faults) -> AsyncIterator[list[Unreliable]]:
    """Supervisors at work; their lines."""
    script = tmp_path / "runner.py"
    script.write_text(RUNNER)
    capabilities = WorkerCapabilities(worker_classes=["cpu"], kinds=PIPELINE)
    lines, drains, working = [], [], []
    for number in range(NUM_WORKERS):
        settings = WorkerSettings(worker_id=f"worker-{number}", work_dir=tmp_path / "work")
        inner = GrpcCoordinator(coordinator.address, coordinator.token, timeout=5)
        line, drain = Unreliable(inner, faults), Drain()
        queue = StageQueue(coordinator.nats_url, PIPELINE, ["cpu"])
        runner_argv = (sys.executable, "-I", "-S", str(script))
        supervisor = Supervisor(settings, runner_argv, capabilities, line, queue, drain)
        lines.append(line)
        drains.append(drain)
        working.append(asyncio.create_task(supervisor.run()))
    yield lines
    for drain in drains:
        drain.signal()
    await asyncio.gather(*working)


@pytest.mark.parametrize("rate", [0.25, 0.5])
async def test_every_stage_ends_once_however_bad_the_line(coordinator, workers, faults):
    access, jobs = AccessServiceStub(coordinator.channel), JobServiceStub(coordinator.channel)
    key = CreateApiKeyRequest(project_id="default", display_name="test", key_sha256=os.urandom(32))
    await access.CreateApiKey(key, metadata=coordinator.metadata, wait_for_ready=True)
    spec = {"name": "bad-line", "base_model": "tiny", "data": {"path": "/data"}, "resources": {"max_attempts": 100}}
    request = CreateJobRequest(spec_json=json.dumps(spec))
    job_ids = [(await jobs.CreateJob(request, metadata=coordinator.metadata)).job.job_id for _ in range(NUM_JOBS)]
    async with asyncio.timeout(240):
        for job_id in job_ids:
            while (job := await _get(jobs, coordinator, job_id)).state in OPEN:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            assert job.state == Job.STATE_SUCCEEDED, job.failure
    landed = [answer for line in workers for answer in await line.landed()]
    assert [error for error in landed if isinstance(error, Exception) and not isinstance(error, ConflictError)] == []
    print({": ".join(call): number for call, number in sorted(faults.met.items()) if call[1]})
    assert all(faults.met[method, fault] for method in METHODS for fault in FAULTS)
    await _check_events(coordinator, job_ids)
    await _check_rows(coordinator)


async def _get(jobs: JobServiceStub, coordinator, job_id: str) -> Job:
    return (await jobs.GetJob(GetJobRequest(job_id=job_id), metadata=coordinator.metadata)).job


async def _check_events(coordinator, job_ids: list[str]) -> None:
    """Each stage succeeded once; its attempts began one after the other, under rising fences."""
    events = EventServiceStub(coordinator.channel)
    for job_id in job_ids:
        request = ListEventsRequest(job_id=job_id, page_size=1000)
        told = (await events.ListEvents(request, metadata=coordinator.metadata)).events
        succeeded = Counter(event.stage_succeeded.stage_name for event in told if event.HasField("stage_succeeded"))
        assert succeeded == Counter(PIPELINE)
        for name in PIPELINE:
            begun = [event.stage_started for event in told if event.stage_started.stage_name == name]
            assert [fact.attempt for fact in begun] == list(range(1, len(begun) + 1))
            assert [fact.fence for fact in begun] == sorted({fact.fence for fact in begun})


async def _check_rows(coordinator) -> None:
    """No attempt has a metric or a checkpoint twice, and every attempt that ended well has both."""
    connection = await asyncpg.connect(coordinator.database_url)
    try:
        doubled = "SELECT stage_id, attempt, count(*) FROM {} GROUP BY stage_id, attempt, step HAVING count(*) > 1"
        for table in ("metric", "checkpoint"):
            assert await connection.fetch(doubled.format(table)) == []
        last = "SELECT count(*) FROM stage JOIN {} AS said USING (stage_id) WHERE said.attempt = stage.attempt"
        for table in ("metric", "checkpoint"):
            assert await connection.fetchval(last.format(table)) == NUM_JOBS * len(PIPELINE)
    finally:
        await connection.close()
