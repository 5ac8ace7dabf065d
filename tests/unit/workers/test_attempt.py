import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from luthier.errors import ConflictError, InvalidRequestError, UnavailableError
from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.stage_pb2 import Stage, StageOutputs
from luthier.v1.worker_service_pb2 import CompleteStageResponse, StageAssignment, StageVerdict
from workers.attempt import Attempts
from workers.delivery import Delivery, Taken
from workers.drain import Drain
from workers.lease import Heartbeats, Lease


async def _nothing() -> None:
    pass


@pytest.fixture
def drain():
    return Drain()


@pytest.fixture
async def run(tmp_path: Path, fake_coordinator, drain, assign, runner_argv, runner_environment):
    """Runs an attempt at a tiny stage, as a task."""
    heartbeats = Heartbeats(fake_coordinator, "worker-1", lease=20, interval=0.05, on_forgotten=_nothing)
    attempts = Attempts(
        coordinator=fake_coordinator,
        worker_id="worker-1",
        heartbeats=heartbeats,
        drain=drain,
        runner_argv=runner_argv,
        environment=runner_environment,
        work_root=tmp_path / "work",
        drain_grace=30,
    )
    beating = asyncio.create_task(heartbeats.run())

    def run(kind: str, **changes) -> asyncio.Task[None]:
        taken = Taken(assign(kind), asyncio.get_running_loop().time())
        return asyncio.create_task(replace(attempts, **changes).run(taken))

    yield run
    beating.cancel()
    assert list((tmp_path / "work").glob("*")) == []


def steps(fake) -> list[int]:
    return [stage.progress.step for beat in fake.heartbeats for stage in beat.stages]


async def test_a_successful_stage_is_reported_and_completed(run, fake_coordinator):
    await run("echo")
    [done] = fake_coordinator.completed
    assert (done.stage_id, done.fence, done.outputs.result_json) == ("stage-1", 7, '{"a":[2],"b":1}')
    points = [point for report in fake_coordinator.reports for point in report.points]
    checkpoints = [checkpoint for report in fake_coordinator.reports for checkpoint in report.checkpoints]
    assert [dict(point.values) for point in points] == [{"loss": 0.5}]
    assert [checkpoint.uri for checkpoint in checkpoints] == ["file:///somewhere"]
    assert fake_coordinator.failed == []


async def test_files_of_a_retired_checkpoint_go_after_the_coordinator_has_forgotten_it(
    run, fake_coordinator, tmp_path, monkeypatch
):
    there_when_told = []
    record = fake_coordinator.report_stage

    async def report(request):
        there_when_told.extend(map(os.path.exists, request.retired_checkpoint_uris))
        return await record(request)

    monkeypatch.setattr(fake_coordinator, "report_stage", report)
    fake_coordinator.failures = [UnavailableError("down")] * 2
    await run("retiring")
    assert set(there_when_told) == {True}
    assert [path.name for path in (tmp_path / "out" / "checkpoints").iterdir()] == ["2"]


async def test_files_of_a_checkpoint_stay_while_it_is_on_record(run, fake_coordinator, tmp_path, monkeypatch):
    async def refuse(request):
        raise InvalidRequestError("not now")

    monkeypatch.setattr(fake_coordinator, "report_stage", refuse)
    await run("retiring")
    assert sorted(path.name for path in (tmp_path / "out" / "checkpoints").iterdir()) == ["1", "2"]


@pytest.mark.parametrize(
    ("kind", "failure_class", "words"),
    [
        ("config", FailureClass.FAILURE_CLASS_CONFIG, "must be smaller"),
        ("exits", FailureClass.FAILURE_CLASS_INTERNAL, "exit status 7"),
        ("killed", FailureClass.FAILURE_CLASS_OUT_OF_MEMORY, "training.per_device_train_batch_size"),
    ],
)
async def test_a_failed_stage_says_why(run, fake_coordinator, kind, failure_class, words):
    await run(kind)
    [failed] = fake_coordinator.failed
    assert failed.failure.failure_class == failure_class
    assert words in failed.failure.message
    assert fake_coordinator.completed == []


async def test_the_last_words_of_a_dead_runner_are_kept(run, fake_coordinator):
    await run("exits")
    assert "these are my last words" in fake_coordinator.failed[0].failure.detail


@pytest.mark.parametrize("verdict", [StageVerdict.VERDICT_CANCEL, StageVerdict.VERDICT_LOST_LEASE])
async def test_a_lost_attempt_dies_and_says_nothing(run, fake_coordinator, verdict):
    task = run("stubborn")
    await fake_coordinator.until(lambda fake: 1 in steps(fake))
    fake_coordinator.verdict = verdict
    async with asyncio.timeout(30):
        await task
    assert fake_coordinator.completed == fake_coordinator.failed == []


async def test_a_result_is_offered_until_the_coordinator_answers(run, fake_coordinator):
    fake_coordinator.failures = [UnavailableError("down")] * 4
    await run("echo")
    assert len(fake_coordinator.completed) == 1
    assert len([point for report in fake_coordinator.reports for point in report.points]) == 1


async def test_a_refused_result_is_not_offered_again(run, fake_coordinator):
    fake_coordinator.failures = [ConflictError("stale fence")]
    async with asyncio.timeout(30):
        await run("echo")
    assert fake_coordinator.completed == fake_coordinator.failed == []


async def test_outputs_that_the_coordinator_cannot_use_fail_the_stage(run, fake_coordinator, monkeypatch):
    async def refuse(request):
        raise InvalidRequestError("outputs are too large")

    monkeypatch.setattr(fake_coordinator, "complete_stage", refuse)
    await run("echo")
    assert "outputs are too large" in fake_coordinator.failed[0].failure.message


async def test_metrics_that_the_coordinator_cannot_use_do_not_fail_the_stage(run, fake_coordinator, monkeypatch):
    async def refuse(request):
        raise InvalidRequestError("a point is too large")

    monkeypatch.setattr(fake_coordinator, "report_stage", refuse)
    await run("echo")
    assert len(fake_coordinator.completed) == 1


async def test_draining_lets_a_stage_stop_at_a_checkpoint(run, fake_coordinator, drain):
    task = run("polite")
    await fake_coordinator.until(lambda fake: any(step > 0 for step in steps(fake)))
    drain.signal()
    num_heartbeats = len(fake_coordinator.heartbeats)
    await task
    assert fake_coordinator.reports[-1].checkpoints[0].uri == "file:///last"
    assert fake_coordinator.failed[0].failure.failure_class == FailureClass.FAILURE_CLASS_PREEMPTED
    assert "stopped at step" in fake_coordinator.failed[0].failure.message
    assert len(fake_coordinator.heartbeats) > num_heartbeats


async def test_a_stage_that_does_not_stop_in_time_is_killed_and_given_back(run, fake_coordinator, drain):
    task = run("stubborn", drain_grace=0.5)
    await fake_coordinator.until(lambda fake: 1 in steps(fake))
    drain.signal()
    async with asyncio.timeout(30):
        await task
    [failed] = fake_coordinator.failed
    assert failed.failure.failure_class == FailureClass.FAILURE_CLASS_PREEMPTED
    assert "in time" in failed.failure.message


@pytest.mark.parametrize(("kind", "words", "grace"), [("polite", "stopped at step", 30), ("stubborn", "in time", 0.5)])
async def test_a_paused_stage_stops_with_heartbeats_going_on_and_the_worker_stays(
    run, fake_coordinator, drain, kind, words, grace
):
    task = run(kind, drain_grace=grace)
    await fake_coordinator.until(lambda fake: any(step > 0 for step in steps(fake)))
    fake_coordinator.verdict = StageVerdict.VERDICT_PAUSE
    async with asyncio.timeout(30):
        await task
    [failed] = fake_coordinator.failed
    assert failed.failure.failure_class == FailureClass.FAILURE_CLASS_PREEMPTED
    assert words in failed.failure.message
    assert not drain.requested.is_set()


@pytest.mark.parametrize("why", ["drain", "pause"])
async def test_a_stage_that_is_not_wanted_any_more_is_given_back_before_it_begins(
    run, fake_coordinator, drain, tmp_path, why
):
    if why == "drain":
        drain.signal()
        await run("stubborn")
    else:
        fake_coordinator.verdict = StageVerdict.VERDICT_PAUSE
        await run("stubborn")
    [failed] = fake_coordinator.failed
    assert failed.failure.failure_class == FailureClass.FAILURE_CLASS_PREEMPTED


async def test_a_drain_while_the_runner_starts_gives_the_stage_back(run, fake_coordinator, drain, tmp_path):
    task = run("polite")
    async with asyncio.timeout(30):
        while not (tmp_path / "work/stage-1-7/runner.log").exists():  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.001)
    drain.signal()
    await task
    assert [failed.failure.failure_class for failed in fake_coordinator.failed] == [
        FailureClass.FAILURE_CLASS_PREEMPTED
    ]


async def test_a_drain_while_the_result_is_published_lets_it_be_a_success(run, fake_coordinator, drain):
    task = run("finishing")
    await fake_coordinator.until(lambda fake: any(step > 0 for step in steps(fake)))
    drain.signal()
    num_heartbeats = len(fake_coordinator.heartbeats)
    await task
    assert len(fake_coordinator.completed) == 1
    assert len(fake_coordinator.heartbeats) > num_heartbeats


async def test_a_drain_while_the_result_is_reported_goes_on_reporting_it(run, fake_coordinator, drain):
    tries = []

    async def complete(request):
        tries.append(request)
        if len(tries) == 1:
            drain.signal()
        if len(tries) < 4:
            raise UnavailableError("down")
        fake_coordinator.completed.append(request)

    fake_coordinator.complete_stage = complete
    await run("echo")
    assert len(fake_coordinator.completed) == 1
    assert fake_coordinator.failed == []


async def test_a_second_signal_does_not_wait_for_the_grace_or_for_a_dead_coordinator(run, fake_coordinator, drain):
    task = run("stubborn")
    await fake_coordinator.until(lambda fake: 1 in steps(fake))
    fake_coordinator.failures = [UnavailableError("down")] * 1000
    drain.signal()
    drain.signal()
    async with asyncio.timeout(10):
        await task
    assert fake_coordinator.failed == []


async def test_a_work_folder_that_cannot_be_made_fails_the_stage(run, fake_coordinator, tmp_path: Path):
    foreign = tmp_path / "work" / "stage-1-7"
    foreign.mkdir(parents=True)
    await run("echo")
    assert "stage-1-7" in fake_coordinator.failed[0].failure.message
    foreign.rmdir()


async def test_a_runner_that_cannot_be_stopped_from_outside_is_fenced_by_our_own_clock(
    fake_coordinator, tmp_path: Path, drain, assign, runner_argv, runner_environment
):
    fake_coordinator.verdict = UnavailableError("down")
    heartbeats = Heartbeats(fake_coordinator, "worker-1", lease=2, interval=0.5, on_forgotten=_nothing)
    beating = asyncio.create_task(heartbeats.run())
    attempts = Attempts(
        coordinator=fake_coordinator,
        worker_id="worker-1",
        heartbeats=heartbeats,
        drain=drain,
        runner_argv=runner_argv,
        environment=runner_environment,
        work_root=tmp_path / "work",
        drain_grace=60,
    )
    async with asyncio.timeout(30):
        await attempts.run(Taken(assign("stubborn"), asyncio.get_running_loop().time()))
    assert fake_coordinator.completed == fake_coordinator.failed == []
    beating.cancel()


async def test_what_comes_with_the_answer_is_told_with_the_moment_of_the_first_request(
    run, fake_coordinator, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    async def lose_one_reply(request):
        asked.append((request.worker_id, request.claim_request_id, asyncio.get_running_loop().time()))
        if len(asked) == 1:
            raise UnavailableError("the reply is lost")
        return CompleteStageResponse(next=StageAssignment(stage=Stage(stage_id="stage-2", fence=8)))

    monkeypatch.setattr(fake_coordinator, "complete_stage", lose_one_reply)
    taken = await run("echo")
    assert [one[:2] for one in asked] == [("worker-1", asked[0][1])] * 2
    assert asked[0][1]
    assert taken.assignment.stage.stage_id == "stage-2"
    assert taken.asked_at <= asked[0][2]


async def test_a_worker_that_leaves_asks_for_nothing_more(drain, fake_coordinator):
    drain.signal()
    lease = Lease("stage-1", 7, patience=60, taken_at=asyncio.get_running_loop().time())
    delivery = Delivery(fake_coordinator, lease, drain, "worker-1")
    assert await delivery.record(Stage(stage_id="stage-1", fence=7), StageOutputs()) is None
    [request] = fake_coordinator.completed
    assert not request.worker_id
    assert not request.claim_request_id
    lease.release()
