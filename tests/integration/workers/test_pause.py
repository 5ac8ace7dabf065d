"""Cancelling and pausing a job while a worker runs a stage of it: real processes, default lease and heartbeat."""

import asyncio
from pathlib import Path

import psutil
import pytest

from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.job_pb2 import Job
from luthier.v1.stage_pb2 import Stage

LEASE = 15.0
HEARTBEAT = LEASE / 3


def seconds() -> float:
    return asyncio.get_running_loop().time()


async def test_cancelling_kills_the_runner_long_before_the_next_heartbeat(platform, gone):
    platform.coordinator(lease=LEASE)
    platform.worker()
    job_id = await platform.submit("stubborn")
    await platform.until(platform.runs)
    started = seconds()
    await platform.cancel(job_id)
    await platform.until(lambda: gone(platform.runs()[0].runner), seconds=HEARTBEAT)
    print(f"cancelled, runner dead after {seconds() - started:.2f} s")


@pytest.mark.chaos
async def test_cancelling_needs_no_bus(platform, gone, tmp_path: Path):
    platform.coordinator(lease=LEASE)
    platform.worker()
    job_id = await platform.submit("stubborn")
    await platform.until(platform.runs)
    [nats] = [process for process in psutil.process_iter() if str(tmp_path / "nats.conf") in _command(process)]
    nats.kill()
    started = seconds()
    await platform.cancel(job_id)
    await platform.until(lambda: gone(platform.runs()[0].runner), seconds=2 * HEARTBEAT)
    print(f"cancelled without NATS, runner dead after {seconds() - started:.2f} s")


async def test_a_paused_job_frees_its_worker_and_goes_on_where_it_stopped(platform, gone):
    platform.coordinator(lease=LEASE)
    worker = platform.worker()
    job_id = await platform.submit("polite")
    await platform.until(platform.runs)
    started = seconds()
    await platform.pause(job_id)
    job = await platform.reached(job_id, Job.STATE_PAUSED, seconds=HEARTBEAT)
    print(f"paused after {seconds() - started:.2f} s")
    assert gone(platform.runs()[0].runner)
    stage = job.stages[0]
    assert (stage.state, stage.attempt) == (Stage.STATE_PAUSED, 1)
    assert (await platform.ended(await platform.submit("echo"))).state == Job.STATE_SUCCEEDED
    assert (await platform.job(job_id)).state == Job.STATE_PAUSED
    await platform.resume(job_id)
    job = await platform.ended(job_id)
    assert job.state == Job.STATE_SUCCEEDED
    assert job.stages[0].attempt == 2
    assert {run.supervisor for run in platform.runs()} == {worker.pid}


async def test_a_paused_stage_that_does_not_listen_is_killed_when_the_grace_is_over(platform, gone):
    platform.coordinator(lease=LEASE)
    platform.worker(drain_grace="PT0.3S")
    job_id = await platform.submit("stubborn")
    await platform.until(platform.runs)
    await platform.pause(job_id)
    job = await platform.reached(job_id, Job.STATE_PAUSED, seconds=HEARTBEAT)
    assert gone(platform.runs()[0].runner)
    assert job.stages[0].failure.failure_class == FailureClass.FAILURE_CLASS_PREEMPTED


async def test_a_job_that_is_cancelled_while_it_pauses_is_cancelled(platform, gone):
    platform.coordinator(lease=LEASE)
    platform.worker(drain_grace="PT60S")
    job_id = await platform.submit("stubborn")
    await platform.until(platform.runs)
    await platform.pause(job_id)
    await platform.cancel(job_id)
    await platform.until(lambda: gone(platform.runs()[0].runner), seconds=2 * HEARTBEAT)
    assert (await platform.job(job_id)).state == Job.STATE_CANCELLED


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
