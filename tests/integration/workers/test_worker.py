import asyncio
import os
import signal

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from luthier.subjects import STAGES_STREAM, stage_consumer, stage_subject
from luthier.v1.event_pb2 import StageReady
from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.job_pb2 import Job
from luthier.v1.stage_pb2 import Stage

PIPELINE = ["preprocess", "train", "evaluate", "export"]


async def test_a_worker_that_started_before_everything_else_runs_a_job_to_its_end(platform):
    platform.worker()
    platform.coordinator()
    job_id = await platform.submit("echo")
    job = await platform.ended(job_id)
    assert job.state == Job.STATE_SUCCEEDED
    assert [(run.stage, run.attempt) for run in platform.runs()] == [(stage, 1) for stage in PIPELINE]
    assert await platform.losses(job_id) == [(stage, 0.5) for stage in PIPELINE]
    assert all(stage.outputs.artifact.digest for stage in job.stages)
    assert len({run.runner for run in platform.runs()}) == 4


async def test_a_failed_stage_ends_the_job_with_its_reason(platform):
    platform.coordinator()
    platform.worker()
    job = await platform.ended(await platform.submit("config"))
    assert job.state == Job.STATE_FAILED
    assert job.failure.failure_class == FailureClass.FAILURE_CLASS_CONFIG
    assert job.failure.message == "method.r: must be smaller"


async def test_cancelling_a_job_kills_its_runner_and_frees_the_worker(platform, gone):
    platform.coordinator()
    platform.worker()
    job_id = await platform.submit("stubborn")
    await platform.until(platform.runs)
    await platform.cancel(job_id)
    await platform.until(lambda: gone(platform.runs()[0].runner), seconds=5)
    assert (await platform.job(job_id)).state == Job.STATE_CANCELLED
    assert (await platform.ended(await platform.submit("echo"))).state == Job.STATE_SUCCEEDED


async def test_a_wake_up_that_comes_thrice_runs_its_stage_once(platform):
    platform.coordinator()
    platform.worker()
    platform.worker()
    job_id = await platform.submit("gated")
    client = await nats.connect(platform.nats_url)
    await _made(client.jetstream(), stage_consumer("preprocess", "cpu"))
    [stage] = [stage for stage in (await platform.job(job_id)).stages if stage.name == "preprocess"]
    ready = StageReady(stage_id=stage.stage_id, job_id=job_id, project_id="default")
    for _ in range(3):
        subject = stage_subject("preprocess", "cpu", job_id)
        await client.jetstream().publish(subject, ready.SerializeToString())
    await client.close()
    await platform.until(platform.runs)
    platform.let_go()
    assert (await platform.ended(job_id)).state == Job.STATE_SUCCEEDED
    assert [(run.stage, run.attempt) for run in platform.runs()] == [(stage, 1) for stage in PIPELINE]


async def test_a_wake_up_that_nobody_can_use_is_a_dead_letter_and_holds_up_no_job(platform):
    platform.coordinator()
    platform.worker()
    client = await nats.connect(platform.nats_url)
    await _made(client.jetstream(), stage_consumer("preprocess", "cpu"))
    unknown = StageReady(stage_id="stage_unknown", job_id="job-1", project_id="default").SerializeToString()
    for payload in (b"\xff\xff nonsense", unknown):
        await client.jetstream().publish(stage_subject("preprocess", "cpu", "job-1"), payload)
    await client.close()
    assert (await platform.ended(await platform.submit("echo"))).state == Job.STATE_SUCCEEDED
    letters = "SELECT payload, reason FROM dead_letter"
    async with asyncio.timeout(30):
        while len(kept := await platform.query(letters)) < 2:  # noqa: ASYNC110 - one query, one answer
            await asyncio.sleep(0.1)
    reasons = {row["payload"]: row["reason"] for row in kept}
    assert "StageReady" in reasons[b"\xff\xff nonsense"]
    assert "there is no stage" in reasons[unknown]


async def test_a_job_survives_the_loss_of_its_consumers_and_of_the_stream(platform):
    platform.coordinator()
    platform.worker()
    client = await nats.connect(platform.nats_url)
    # A worker that is busy makes no consumers, so the job waits for them.
    await _made(client.jetstream(), stage_consumer("train", "cpu"))
    job_id = await platform.submit("gated")
    await platform.until(platform.runs)
    await client.jetstream().delete_consumer(STAGES_STREAM, stage_consumer("train", "cpu"))
    await client.jetstream().delete_stream(STAGES_STREAM)
    await client.close()
    platform.let_go()
    assert (await platform.ended(job_id)).state == Job.STATE_SUCCEEDED


@pytest.mark.chaos
async def test_another_worker_takes_over_from_one_that_was_killed(platform, gone):
    platform.coordinator(lease=2.0)
    workers = {worker.pid: worker for worker in (platform.worker(), platform.worker())}
    job_id = await platform.submit("stubborn")
    await platform.until(platform.runs)
    first = platform.runs()[0]
    workers[first.supervisor].kill()
    await platform.until(lambda: gone(first.runner), seconds=2)
    await platform.until(lambda: len(platform.runs()) > 1, seconds=10)
    job = await platform.ended(job_id)
    assert job.state == Job.STATE_SUCCEEDED
    assert job.stages[0].attempt == 2
    assert {run.supervisor for run in platform.runs()[1:]} == set(workers) - {first.supervisor}


@pytest.mark.chaos
async def test_a_worker_that_wakes_after_its_lease_kills_its_runner_and_changes_nothing(platform, gone):
    platform.coordinator(lease=2.0)
    workers = {worker.pid: worker for worker in (platform.worker(), platform.worker())}
    job_id = await platform.submit("stubborn")
    await platform.until(platform.runs)
    first = platform.runs()[0]
    os.kill(first.supervisor, signal.SIGSTOP)
    job = await platform.ended(job_id)
    assert job.state == Job.STATE_SUCCEEDED
    assert not gone(first.runner)
    os.kill(first.supervisor, signal.SIGCONT)
    await platform.until(lambda: gone(first.runner), seconds=5)
    assert (await platform.job(job_id)).stages == job.stages
    assert workers[first.supervisor].poll() is None


@pytest.mark.chaos
async def test_an_attempt_outlives_a_coordinator_that_restarts(platform):
    coordinator = platform.coordinator(lease=20.0)
    platform.worker()
    job_id = await platform.submit("gated")
    await platform.until(platform.runs)
    coordinator.kill()
    coordinator.wait()
    platform.let_go()
    await platform.until(lambda: "did not take a report" in platform.logs("workers"))
    platform.coordinator(lease=20.0)
    job = await platform.ended(job_id)
    assert job.state == Job.STATE_SUCCEEDED
    assert [stage.attempt for stage in job.stages] == [1, 1, 1, 1]


@pytest.mark.chaos
async def test_a_worker_that_is_cut_off_kills_its_runner_before_the_lease_is_over(platform, gone):
    coordinator = platform.coordinator(lease=4.0)
    platform.worker()
    await platform.submit("stubborn")
    await platform.until(platform.runs)
    coordinator.kill()
    await platform.until(lambda: gone(platform.runs()[0].runner), seconds=4)


async def test_a_drained_worker_gives_its_stage_back_at_a_checkpoint(platform):
    platform.coordinator()
    leaving = platform.worker()
    job_id = await platform.submit("polite")
    await platform.until(platform.runs)
    platform.worker()
    leaving.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(leaving.wait, 10) == 0
    job = await platform.ended(job_id)
    assert job.state == Job.STATE_SUCCEEDED
    assert [(run.stage, run.attempt) for run in platform.runs()][:2] == [("preprocess", 1), ("preprocess", 2)]
    assert all(run.supervisor != leaving.pid for run in platform.runs()[1:])


async def test_a_deaf_stage_is_given_back_when_the_grace_is_over(platform, gone):
    platform.coordinator()
    leaving = platform.worker(drain_grace="PT0.3S")
    job_id = await platform.submit("stubborn")
    await platform.until(platform.runs)
    leaving.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(leaving.wait, 10) == 0
    assert gone(platform.runs()[0].runner)
    stage = (await platform.job(job_id)).stages[0]
    assert stage.state == Stage.STATE_QUEUED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_worker_leaves_when_asked(platform, number):
    platform.coordinator()
    worker = platform.worker()
    await platform.until(lambda: "is registered" in platform.logs("workers"))
    worker.send_signal(number)
    assert await asyncio.to_thread(worker.wait, 10) == 0


async def test_a_worker_with_a_wrong_token_says_so_and_leaves(platform):
    platform.coordinator()
    worker = platform.worker(internal_token="guess")
    assert await asyncio.to_thread(worker.wait, 30) == 1
    assert "Traceback" not in platform.logs("workers")


async def test_a_worker_set_up_for_unknown_kinds_says_so_and_leaves(platform):
    worker = platform.worker(worker_kinds="train,telepathy")
    assert await asyncio.to_thread(worker.wait, 30) == 1
    assert "LUTHIER_WORKER_KINDS names ['telepathy']" in platform.logs("workers")


async def _made(stream: JetStreamContext, consumer: str, seconds: float = 30.0) -> None:
    """Returns once a worker has made its consumer."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                await stream.consumer_info(STAGES_STREAM, consumer)
            except NotFoundError:
                await asyncio.sleep(0.02)
            else:
                return
