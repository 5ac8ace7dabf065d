import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from luthier.errors import (
    ConflictError,
    DeadlineError,
    InvalidRequestError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from luthier.settings import WorkerSettings
from luthier.v1.event_pb2 import StageReady
from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.worker_pb2 import WorkerCapabilities
from luthier.v1.worker_service_pb2 import ClaimStageResponse, CompleteStageResponse, RegisterWorkerResponse
from workers.bus import HAND_BACK_SECONDS
from workers.drain import Drain
from workers.supervisor import Supervisor


class FakeWakeUp:
    traceparent = ""

    def __init__(self, stage_id: str, payload: bytes = b"") -> None:
        self.headers = {"Nats-Msg-Id": "1"}
        self.ready = None if payload else StageReady(stage_id=stage_id)
        self.message = SimpleNamespace(subject="luthier.stage.echo.cpu.job-1", data=payload)
        self.fate = "open"

    async def settle(self) -> None:
        self.fate = "settled"

    async def hand_back(self, seconds: float = HAND_BACK_SECONDS) -> None:
        self.fate = f"handed back for {seconds:g} s"


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

    @asynccontextmanager
    async def job_events(self, project_id: str, job_id: str, on_event: Callable[[], None]) -> AsyncIterator[None]:
        self.hint = on_event
        yield

    def stop(self) -> None:
        self._stopped.set()


@pytest.fixture
def drain():
    return Drain()


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.supervisor._FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("workers.claims._PAUSE_SECONDS", 0.01)
    return WorkerSettings(worker_id="worker-1", work_dir=tmp_path)


@pytest.fixture
def supervise(fake_coordinator, drain, settings, runner_argv):
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
        supervisor = Supervisor(settings, runner_argv, capabilities, fake_coordinator, queue, drain)
        return queue, asyncio.create_task(supervisor.run())

    return start


async def leave(drain, task) -> None:
    drain.signal()
    async with asyncio.timeout(30):
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
    assert (wake_up.fate, other.fate) == ("handed back for 5 s", "handed back for 5 s")
    assert len(seen) == 6
    assert len(set(seen)) == 2
    await leave(drain, task)


@pytest.mark.parametrize("refusal", [NotFoundError("there is no such stage"), InvalidRequestError("stage_id is no id")])
async def test_a_wake_up_that_the_coordinator_refuses_becomes_a_dead_letter(
    supervise, fake_coordinator, drain, refusal
):
    async def refuse(request):
        raise refusal

    fake_coordinator.claim_stage = refuse
    wake_up = FakeWakeUp("stage-1")
    queue, task = supervise(wake_up)
    await queue.is_empty.wait()
    [letter] = fake_coordinator.dead_letters
    assert (letter.stage_id, letter.subject, dict(letter.headers)) == (
        "stage-1",
        "luthier.stage.echo.cpu.job-1",
        {"Nats-Msg-Id": "1"},
    )
    assert str(refusal) in letter.reason
    assert wake_up.fate == "settled"
    await leave(drain, task)


async def test_a_wake_up_that_cannot_be_read_becomes_a_dead_letter(supervise, fake_coordinator, drain):
    wake_up = FakeWakeUp("", b"nonsense")
    queue, task = supervise(wake_up)
    await queue.is_empty.wait()
    [letter] = fake_coordinator.dead_letters
    assert (letter.payload, letter.stage_id) == (b"nonsense", "")
    assert "StageReady" in letter.reason
    assert wake_up.fate == "settled"
    assert fake_coordinator.claims == []
    await leave(drain, task)


@pytest.mark.parametrize("error", [UnavailableError("down"), InvalidRequestError("the payload is too large")])
async def test_a_dead_letter_that_is_not_on_record_comes_again(supervise, fake_coordinator, drain, error):
    async def lose(request):
        raise error

    fake_coordinator.record_dead_letter = lose
    wake_up = FakeWakeUp("", b"nonsense")
    queue, task = supervise(wake_up)
    await queue.is_empty.wait()
    assert wake_up.fate == "handed back for 5 s"
    await leave(drain, task)


async def test_a_worker_that_was_forgotten_introduces_itself_and_claims_again(supervise, fake_coordinator, drain):
    async def claim(request):
        if len(fake_coordinator.registered) < 2:
            raise NotFoundError("worker worker-1 is not known")
        return ClaimStageResponse()

    fake_coordinator.claim_stage = claim
    wake_up = FakeWakeUp("stage-1")
    queue, task = supervise(wake_up)
    await queue.is_empty.wait()
    assert wake_up.fate == "settled"
    assert fake_coordinator.dead_letters == []
    await leave(drain, task)


async def test_a_stage_that_another_worker_should_have_is_handed_back_for_a_moment(supervise, fake_coordinator, drain):
    async def elsewhere(request):
        return ClaimStageResponse(try_elsewhere=True)

    fake_coordinator.claim_stage = elsewhere
    wake_up = FakeWakeUp("stage-1")
    queue, task = supervise(wake_up)
    await queue.is_empty.wait()
    assert wake_up.fate == "handed back for 0.5 s"
    await leave(drain, task)


async def test_a_claim_that_is_a_conflict_is_settled(supervise, fake_coordinator, drain):
    async def conflict(request):
        raise ConflictError("the job is closed")

    fake_coordinator.claim_stage = conflict
    wake_up = FakeWakeUp("stage-1")
    queue, task = supervise(wake_up)
    await queue.is_empty.wait()
    assert wake_up.fate == "settled"
    await leave(drain, task)


async def test_a_hint_about_the_job_at_hand_asks_for_the_verdict_at_once(
    supervise, fake_coordinator, drain, assign, monkeypatch
):
    is_running, may_end = asyncio.Event(), asyncio.Event()

    async def claim(request):
        return ClaimStageResponse(assignment=assign("echo"))

    async def run(self, taken):
        is_running.set()
        await may_end.wait()

    fake_coordinator.claim_stage = claim
    monkeypatch.setattr("workers.attempt.Attempts.run", run)
    queue, task = supervise(FakeWakeUp("stage-1"))
    await is_running.wait()
    num_beats = len(fake_coordinator.heartbeats)
    queue.hint()
    await fake_coordinator.until(lambda fake: len(fake.heartbeats) > num_beats, seconds=3)
    assert fake_coordinator.heartbeats[num_beats].worker_id == fake_coordinator.heartbeats[0].worker_id
    may_end.set()
    await leave(drain, task)


async def test_the_wake_up_is_settled_before_the_stage_runs(supervise, fake_coordinator, drain, assign, monkeypatch):
    fates = []
    wake_up = FakeWakeUp("stage-1")

    async def claim(request):
        return ClaimStageResponse(assignment=assign("echo"))

    async def run(self, taken):
        fates.append((taken.assignment.stage.stage_id, wake_up.fate))

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


async def test_a_stage_that_comes_with_an_answer_is_run_next_and_without_pulling(
    supervise, fake_coordinator, drain, assign, runner_environment, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", runner_environment["PYTHONPATH"])
    following = assign("echo")
    following.stage.stage_id, following.stage.fence = "stage-2", 8

    async def claim(request):
        return ClaimStageResponse(assignment=assign("echo"))

    async def complete(request):
        fake_coordinator.completed.append(request)
        return CompleteStageResponse(next=following if len(fake_coordinator.completed) == 1 else None)

    fake_coordinator.claim_stage, fake_coordinator.complete_stage = claim, complete
    queue, task = supervise(FakeWakeUp("stage-1"))
    await queue.is_empty.wait()
    assert [request.fence for request in fake_coordinator.completed] == [assign("echo").stage.fence, 8]
    assert len({request.claim_request_id for request in fake_coordinator.completed}) == 2
    await leave(drain, task)


async def test_a_stage_that_comes_with_an_answer_to_a_drained_worker_is_given_back(
    supervise, fake_coordinator, drain, assign, runner_environment, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", runner_environment["PYTHONPATH"])
    following = assign("echo")
    following.stage.stage_id, following.stage.fence = "stage-2", 8

    async def claim(request):
        return ClaimStageResponse(assignment=assign("echo"))

    async def complete(request):
        drain.signal()
        return CompleteStageResponse(next=following)

    fake_coordinator.claim_stage, fake_coordinator.complete_stage = claim, complete
    _, task = supervise(FakeWakeUp("stage-1"))
    async with asyncio.timeout(30):
        await task
    [failed] = fake_coordinator.failed
    assert (failed.stage_id, failed.fence) == ("stage-2", 8)
    assert failed.failure.failure_class == FailureClass.FAILURE_CLASS_PREEMPTED
