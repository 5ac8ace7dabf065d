"""Workers that die, freeze or stop getting on: somebody else goes on within the time promised, and nothing is doubled.

The times are printed; benchmarks/failover.py measures them on an idle machine.
"""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest

from luthier.artifacts import fetch
from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.job_pb2 import Job
from luthier.v1.stage_pb2 import Stage

pytestmark = pytest.mark.chaos

DEFAULT_LEASE = 15.0


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def default_settings(platform) -> None:
    """The reconciler looks as often as it does by default."""
    platform.set("LUTHIER_RECONCILE_INTERVAL", "PT2S")


@pytest.mark.usefixtures("default_settings")
@pytest.mark.parametrize(("lease", "limit"), [(DEFAULT_LEASE, 20.0), (3.0, 5.0)])
async def test_the_stage_of_a_killed_worker_runs_elsewhere_in_time(platform, gone, lease, limit):
    platform.coordinator(lease=lease)
    workers = {worker.pid: worker for worker in (platform.worker(), platform.worker())}
    job_id = await platform.submit("stubborn")
    await platform.until(platform.runs)
    first = platform.runs()[0]
    killed_at = now()
    workers[first.supervisor].kill()
    await platform.until(lambda: gone(first.runner), seconds=2)
    await platform.started(job_id, attempt=2, seconds=limit)
    print(f"lease {lease:g} s: claimed by another worker {now() - killed_at:.2f} s after the kill")
    await platform.until(lambda: len(platform.runs()) > 1)
    print(f"lease {lease:g} s: running there {now() - killed_at:.2f} s after the kill")
    assert (await platform.ended(job_id)).state == Job.STATE_SUCCEEDED
    assert platform.runs()[1].supervisor != first.supervisor
    assert await platform.failures(job_id) == [FailureClass.FAILURE_CLASS_LOST_WORKER]


@pytest.mark.parametrize("frozen", ["supervisor", "supervisor and runner"])
async def test_a_frozen_worker_is_replaced_and_changes_nothing_when_it_wakes(platform, gone, frozen, tmp_path: Path):
    platform.coordinator(lease=2.0)
    workers = {worker.pid: worker for worker in (platform.worker(), platform.worker())}
    job_id = await platform.submit("busy")
    await platform.until(platform.runs)
    first = platform.runs()[0]
    while not await platform.query("SELECT 1 FROM checkpoint"):  # noqa: ASYNC110 - one query, one answer
        await asyncio.sleep(0.05)
    pids = [first.supervisor, first.runner] if frozen != "supervisor" else [first.supervisor]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    job = await platform.ended(job_id)
    assert job.state == Job.STATE_SUCCEEDED
    assert not gone(first.runner)
    checkpoints = "SELECT * FROM checkpoint WHERE stage_id = $1 ORDER BY step, fence"
    known = await platform.query(checkpoints, job.stages[0].stage_id)
    woken_at = now()
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    await platform.until(lambda: gone(first.runner), seconds=5)
    print(f"{frozen} frozen: runner dead {now() - woken_at:.2f} s after waking")
    # It takes the next job once it is done with its old life, so nothing of that is still to come.
    other = next(pid for pid in workers if pid != first.supervisor)
    workers[other].send_signal(signal.SIGTERM)
    assert (await platform.ended(await platform.submit("echo"))).state == Job.STATE_SUCCEEDED
    assert await platform.query(checkpoints, job.stages[0].stage_id) == known
    assert (await platform.job(job_id)).stages == job.stages
    for stage in job.stages:
        fetch(stage.outputs.artifact.uri, tmp_path / "fetched", digest=stage.outputs.artifact.digest)


async def test_a_runner_that_does_not_get_on_is_killed_with_all_that_it_started_though_it_is_stopped(platform, gone):
    platform.coordinator(lease=2.0)
    platform.worker()
    job_id = await platform.submit("frozen", resources={"progress_timeout_seconds": 2})
    await platform.until((platform.folder / "child").exists)
    child = int((platform.folder / "child").read_text())
    runner = platform.runs()[0].runner
    await platform.until(lambda: psutil.Process(runner).status() == psutil.STATUS_STOPPED)
    assert not gone(child)
    await platform.until(lambda: gone(runner) and gone(child), seconds=10)
    job = await platform.ended(job_id)
    assert job.state == Job.STATE_SUCCEEDED
    assert job.stages[0].attempt == 2
    assert await platform.failures(job_id) == [FailureClass.FAILURE_CLASS_INTERNAL]


async def test_a_drain_longer_than_the_lease_keeps_the_lease(platform):
    platform.coordinator(lease=2.0)
    leaving = platform.worker()
    job_id = await platform.submit("slow-to-stop")
    await platform.until(platform.runs)
    leaving.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(leaving.wait, 20) == 0
    stage = await platform.stage(job_id)
    assert (stage.state, stage.attempt) == (Stage.STATE_QUEUED, 1)
    assert stage.failure.failure_class == FailureClass.FAILURE_CLASS_PREEMPTED
    assert await platform.failures(job_id) == [FailureClass.FAILURE_CLASS_PREEMPTED]
