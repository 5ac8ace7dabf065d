import asyncio
import subprocess
import sys

import pytest

from luthier.errors import DeadlineError, NotFoundError, UnauthenticatedError, UnavailableError
from luthier.settings import WorkerSettings
from luthier.v1.event_pb2 import StageReady
from luthier.v1.worker_pb2 import WorkerCapabilities
from luthier.v1.worker_service_pb2 import ClaimStageResponse, RegisterWorkerResponse
from workers.drain import Drain
from workers.supervisor import Supervisor


class FakeWakeUp:
    traceparent = ""

    def __init__(self, stage_id: str) -> None:
        self.ready = StageReady(stage_id=stage_id)
        self.fate = "open"

    async def settle(self) -> None:
        self.fate = "settled"

    async def hand_back(self) -> None:
        self.fate = "handed back"


class FakeQueue:
    """Hands out the wake-ups that it was given, then waits until it is stopped."""

    def __init__(self, *wake_ups: FakeWakeUp) -> None:
        self._wake_ups = list(wake_ups)
        self._stopped = asyncio.Event()
        self.is_empty = asyncio.Event()

    async def run(self) -> None:
        await self._stopped.wait()

    async def next(self) -> FakeWakeUp | None:
        if self._wake_ups:
            return self._wake_ups.pop(0)
        self.is_empty.set()
        await self._stopped.wait()
        return None

    def stop(self) -> None:
        self._stopped.set()


@pytest.fixture
def drain():
    return Drain()


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.supervisor._FIRST_PAUSE_SECONDS", 0.01)
    return WorkerSettings(worker_id="worker-1", work_dir=tmp_path)


@pytest.fixture
def supervise(fake_coordinator, drain, settings):
    """Starts a supervisor on the given wake-ups; it leaves when drained."""
    registered = RegisterWorkerResponse()
    registered.lease.FromMilliseconds(15_000)
    registered.heartbeat_interval.FromMilliseconds(5_000)

    async def register(request):
        if fake_coordinator.failures:
            raise fake_coordinator.failures.pop(0)
        fake_coordinator.registered.append(request)
        return registered

    fake_coordinator.register_worker = register
    capabilities = WorkerCapabilities(worker_classes=["cpu"], kinds=["echo"])

    def start(*wake_ups: FakeWakeUp) -> tuple[FakeQueue, asyncio.Task[None]]:
        queue = FakeQueue(*wake_ups)
        supervisor = Supervisor(settings, "tiny_stages:STAGES", capabilities, fake_coordinator, queue, drain)
        return queue, asyncio.create_task(supervisor.run())

    return start


async def leave(drain, task) -> None:
    drain.signal()
    async with asyncio.timeout(5):
        await task


async def test_a_wake_up_that_somebody_else_answered_is_settled(supervise, fake_coordinator, drain):
    wake_up = FakeWakeUp("stage-1")
    queue, task = supervise(wake_up)
    await queue.is_empty.wait()
    assert wake_up.fate == "settled"
    [claim] = fake_coordinator.claims
    assert (claim.stage_id, claim.worker_id) == ("stage-1", "worker-1")
    await leave(drain, task)


async def test_a_claim_without_an_answer_is_repeated_under_the_same_id_then_handed_back(
    supervise, fake_coordinator, drain
):
    seen = []

    async def never(request):
        seen.append(request.request_id)
        raise DeadlineError("no answer")

    fake_coordinator.claim_stage = never
    wake_up, other = FakeWakeUp("stage-1"), FakeWakeUp("stage-2")
    queue, task = supervise(wake_up, other)
    await queue.is_empty.wait()
    assert (wake_up.fate, other.fate) == ("handed back", "handed back")
    assert len(seen) == 6
    assert len(set(seen)) == 2
    await leave(drain, task)


async def test_a_stage_that_the_coordinator_does_not_know_is_forgotten(supervise, fake_coordinator, drain):
    async def unknown(request):
        raise NotFoundError("there is no such stage")

    fake_coordinator.claim_stage = unknown
    wake_up = FakeWakeUp("stage-1")
    queue, task = supervise(wake_up)
    await queue.is_empty.wait()
    assert wake_up.fate == "settled"
    await leave(drain, task)


async def test_the_wake_up_is_settled_before_the_stage_runs(supervise, fake_coordinator, drain, assign, monkeypatch):
    fates = []
    wake_up = FakeWakeUp("stage-1")

    async def claim(request):
        return ClaimStageResponse(assignment=assign("echo"))

    async def run(self, assignment, claimed_at):
        fates.append((assignment.stage.stage_id, wake_up.fate))

    fake_coordinator.claim_stage = claim
    monkeypatch.setattr("workers.attempt.Attempts.run", run)
    queue, task = supervise(wake_up)
    await queue.is_empty.wait()
    assert fates == [("stage-1", "settled")]
    await leave(drain, task)


async def test_registering_is_repeated_while_the_coordinator_is_down(supervise, fake_coordinator, drain):
    fake_coordinator.failures = [UnavailableError("down")] * 3
    queue, task = supervise()
    await queue.is_empty.wait()
    assert [request.worker_id for request in fake_coordinator.registered] == ["worker-1"]
    await leave(drain, task)


async def test_a_worker_may_leave_before_it_was_ever_registered(supervise, fake_coordinator, drain):
    fake_coordinator.failures = [UnavailableError("down")] * 1000
    _, task = supervise()
    await leave(drain, task)
    assert fake_coordinator.registered == []


async def test_a_worker_that_is_not_welcome_does_not_insist(supervise, fake_coordinator):
    fake_coordinator.failures = [UnauthenticatedError("wrong token")]
    _, task = supervise()
    with pytest.raises(UnauthenticatedError):
        await task


async def test_the_last_heartbeat_says_that_the_worker_drains(supervise, fake_coordinator, drain):
    queue, task = supervise()
    await queue.is_empty.wait()
    await leave(drain, task)
    assert fake_coordinator.heartbeats[-1].is_draining


async def test_a_background_task_that_dies_takes_the_supervisor_with_it(supervise, fake_coordinator):
    _, task = supervise()
    fake_coordinator.verdict = UnauthenticatedError("the token was changed")
    with pytest.raises(ExceptionGroup) as raised:
        await task
    assert raised.group_contains(UnauthenticatedError)


def test_the_supervisor_does_not_import_torch():
    script = "import sys, workers.__main__; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "[]"
