"""Two processes with one worker id: the last to register stays, the first one is fenced off and leaves."""

import asyncio

from luthier.v1.job_pb2 import Job


async def test_the_first_of_two_processes_with_one_id_leaves_and_its_runner_with_it(platform, gone):
    platform.coordinator(lease=3.0)
    first = platform.worker(worker_id="twin")
    job_id = await platform.submit("stubborn")
    await platform.until(platform.runs)
    second = platform.worker(worker_id="twin")
    assert await asyncio.to_thread(first.wait, 30) == 1
    assert gone(platform.runs()[0].runner)
    assert "another process has registered as worker twin" in platform.logs("workers")
    assert "Traceback" not in platform.logs("workers")
    job = await platform.ended(job_id)
    assert job.state == Job.STATE_SUCCEEDED
    assert {run.supervisor for run in platform.runs()[1:]} == {second.pid}
    assert second.poll() is None


async def test_a_worker_that_restarts_under_its_id_goes_on_at_once(platform):
    platform.coordinator(lease=3.0)
    first = platform.worker(worker_id="twin")
    assert (await platform.ended(await platform.submit("echo"))).state == Job.STATE_SUCCEEDED
    first.kill()
    second = platform.worker(worker_id="twin")
    assert (await platform.ended(await platform.submit("echo"))).state == Job.STATE_SUCCEEDED
    assert platform.runs()[-1].supervisor == second.pid
