"""JobService through a real coordinator: every call, and what it refuses."""

import json
from typing import Any

import grpc
import pytest

from luthier.v1 import job_service_pb2 as pb
from luthier.v1.event_service_pb2 import ListEventsRequest
from luthier.v1.event_service_pb2_grpc import EventServiceStub
from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.job_pb2 import Job
from luthier.v1.job_service_pb2_grpc import JobServiceStub
from luthier.v1.stage_pb2 import Stage
from luthier.v1.worker_pb2 import WorkerCapabilities
from luthier.v1.worker_service_pb2 import RegisterWorkerRequest
from luthier.v1.worker_service_pb2_grpc import WorkerServiceStub

SPEC = {"name": "tickets", "base_model": "tiny", "data": {"path": "/data/tickets.jsonl"}, "deploy": {}}


@pytest.fixture
def jobs(coordinator: Any) -> Any:
    return JobServiceStub(coordinator.channel)


async def create(jobs: Any, coordinator: Any, request_id: str = "", **changes: Any) -> Job:
    request = pb.CreateJobRequest(spec_json=json.dumps(SPEC | changes), request_id=request_id)
    return (await jobs.CreateJob(request, metadata=coordinator.metadata)).job


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_a_created_job_is_pending_with_its_resolved_spec_and_its_plan(coordinator: Any, jobs: Any) -> None:
    job = await create(jobs, coordinator)
    assert job.state == Job.STATE_PENDING
    assert [stage.name for stage in job.stages] == ["preprocess", "train", "evaluate", "export", "deploy"]
    assert json.loads(job.spec_json)["training"]["learning_rate"] > 0
    assert job.HasField("create_time")
    assert not job.HasField("start_time")


async def test_one_request_id_makes_one_job(coordinator: Any, jobs: Any) -> None:
    first = await create(jobs, coordinator, "request-1")
    again = await create(jobs, coordinator, "request-1")
    assert again.job_id == first.job_id
    request = pb.CreateJobRequest(spec_json=json.dumps(SPEC | {"name": "other"}), request_id="request-1")
    code, details = await refusal(jobs.CreateJob(request, metadata=coordinator.metadata))
    assert code is grpc.StatusCode.ALREADY_EXISTS
    assert first.job_id in details


async def test_a_wrong_spec_is_refused_with_every_fault_and_nothing_is_created(coordinator: Any, jobs: Any) -> None:
    wrong = SPEC | {"trainig": {}, "base_model": 3}
    request = pb.CreateJobRequest(spec_json=json.dumps(wrong), request_id="request-1")
    code, details = await refusal(jobs.CreateJob(request, metadata=coordinator.metadata))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "trainig" in details
    assert "Did you mean 'training'?" in details
    assert "base_model" in details
    listed = await jobs.ListJobs(pb.ListJobsRequest(), metadata=coordinator.metadata)
    assert list(listed.jobs) == []


async def test_a_malformed_request_id_is_refused(coordinator: Any, jobs: Any) -> None:
    request = pb.CreateJobRequest(spec_json=json.dumps(SPEC), request_id="a b")
    code, _ = await refusal(jobs.CreateJob(request, metadata=coordinator.metadata))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_job_carries_the_trace_of_the_call_that_made_it(coordinator: Any, jobs: Any) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metadata = (*coordinator.metadata, ("traceparent", f"00-{trace_id}-b7ad6b7169203331-01"))
    reply = await jobs.CreateJob(pb.CreateJobRequest(spec_json=json.dumps(SPEC)), metadata=metadata)
    assert reply.job.trace_id == trace_id


async def test_get_finds_the_project_s_jobs_only(coordinator: Any, jobs: Any) -> None:
    job = await create(jobs, coordinator)
    found = await jobs.GetJob(pb.GetJobRequest(job_id=job.job_id), metadata=coordinator.metadata)
    assert found.job == job
    elsewhere = (coordinator.metadata[0], ("x-luthier-project", "other"))
    code, _ = await refusal(jobs.GetJob(pb.GetJobRequest(job_id=job.job_id), metadata=elsewhere))
    assert code is grpc.StatusCode.NOT_FOUND
    code, _ = await refusal(jobs.GetJob(pb.GetJobRequest(job_id="../x"), metadata=coordinator.metadata))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_jobs_are_listed_newest_first_in_pages(coordinator: Any, jobs: Any) -> None:
    made = [(await create(jobs, coordinator)).job_id for _ in range(5)]
    seen: list[str] = []
    token = ""
    while True:
        request = pb.ListJobsRequest(page_size=2, page_token=token)
        page = await jobs.ListJobs(request, metadata=coordinator.metadata)
        assert len(page.jobs) <= 2
        assert all(len(job.stages) == 5 for job in page.jobs)
        seen += [job.job_id for job in page.jobs]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(made, reverse=True)


@pytest.mark.parametrize(
    "request_",
    [pb.ListJobsRequest(page_size=-1), pb.ListJobsRequest(page_token="x"), pb.ListJobsRequest(page_token="WzFd")],
)
async def test_a_page_that_no_list_gave_out_is_refused(coordinator: Any, jobs: Any, request_: Any) -> None:
    code, _ = await refusal(jobs.ListJobs(request_, metadata=coordinator.metadata))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_cancelled_job_stays_cancelled(coordinator: Any, jobs: Any) -> None:
    job = await create(jobs, coordinator)
    for _ in range(2):
        reply = await jobs.CancelJob(pb.CancelJobRequest(job_id=job.job_id), metadata=coordinator.metadata)
        assert reply.job.state == Job.STATE_CANCELLED
        assert reply.job.HasField("end_time")
    code, _ = await refusal(jobs.CancelJob(pb.CancelJobRequest(job_id="job_none"), metadata=coordinator.metadata))
    assert code is grpc.StatusCode.NOT_FOUND


async def test_a_paused_job_waits_until_it_is_resumed(coordinator: Any, jobs: Any, worker: Any) -> None:
    job = await worker.create_job()
    for _ in range(2):
        paused = (await jobs.PauseJob(pb.PauseJobRequest(job_id=job.job_id), metadata=coordinator.metadata)).job
        assert paused.state == Job.STATE_PAUSED
        assert paused.stages[0].state == Stage.STATE_PAUSED
        assert all(stage.pause_requested for stage in paused.stages)
    assert not (await worker.claim(job.job_id, "preprocess")).HasField("assignment")
    for _ in range(2):
        resumed = (await jobs.ResumeJob(pb.ResumeJobRequest(job_id=job.job_id), metadata=coordinator.metadata)).job
        assert resumed.state == Job.STATE_PENDING
        assert not any(stage.pause_requested for stage in resumed.stages)
    assert (await worker.claim(job.job_id, "preprocess")).HasField("assignment")


async def test_a_job_that_runs_is_paused_when_its_try_has_ended(coordinator: Any, jobs: Any, worker: Any) -> None:
    job = await worker.create_job()
    stage = (await worker.claim(job.job_id, "preprocess")).assignment.stage
    pausing = (await jobs.PauseJob(pb.PauseJobRequest(job_id=job.job_id), metadata=coordinator.metadata)).job
    assert (pausing.state, pausing.stages[0].state) == (Job.STATE_RUNNING, Stage.STATE_RUNNING)
    await worker.fail(stage, FailureClass.FAILURE_CLASS_PREEMPTED)
    paused = await worker.get_job(job.job_id)
    assert (paused.state, paused.stages[0].state) == (Job.STATE_PAUSED, Stage.STATE_PAUSED)
    await jobs.ResumeJob(pb.ResumeJobRequest(job_id=job.job_id), metadata=coordinator.metadata)
    again = (await worker.claim(job.job_id, "preprocess", request_id="claim-2")).assignment.stage
    assert again.attempt == 2


async def test_a_success_while_pausing_counts_and_the_next_stage_is_held_back(
    coordinator: Any, jobs: Any, worker: Any
) -> None:
    job = await worker.create_job()
    stage = (await worker.claim(job.job_id, "preprocess")).assignment.stage
    await jobs.PauseJob(pb.PauseJobRequest(job_id=job.job_id), metadata=coordinator.metadata)
    await worker.complete(stage)
    paused = await worker.get_job(job.job_id)
    assert [one.state for one in paused.stages[:2]] == [Stage.STATE_SUCCEEDED, Stage.STATE_PAUSED]
    assert paused.state == Job.STATE_PAUSED
    cancelled = await jobs.CancelJob(pb.CancelJobRequest(job_id=job.job_id), metadata=coordinator.metadata)
    assert cancelled.job.state == Job.STATE_CANCELLED


async def test_pausing_is_told_in_order(coordinator: Any, jobs: Any) -> None:
    job = await create(jobs, coordinator)
    for call, request in (
        (jobs.PauseJob, pb.PauseJobRequest(job_id=job.job_id)),
        (jobs.PauseJob, pb.PauseJobRequest(job_id=job.job_id)),
        (jobs.ResumeJob, pb.ResumeJobRequest(job_id=job.job_id)),
        (jobs.CancelJob, pb.CancelJobRequest(job_id=job.job_id)),
    ):
        await call(request, metadata=coordinator.metadata)
    updates = jobs.WatchJob(pb.WatchJobRequest(job_id=job.job_id), metadata=coordinator.metadata)
    facts = [update.event.WhichOneof("fact") async for update in updates if update.HasField("event")]
    assert facts[:7] == [
        "job_created",
        "stage_queued",
        "job_pause_requested",
        "stage_paused",
        "job_paused",
        "job_resumed",
        "stage_queued",
    ]
    assert facts[-1] == "job_cancelled"


async def test_a_job_that_has_ended_is_neither_paused_nor_resumed(coordinator: Any, jobs: Any) -> None:
    job = await create(jobs, coordinator)
    await jobs.CancelJob(pb.CancelJobRequest(job_id=job.job_id), metadata=coordinator.metadata)
    for call, request_type in ((jobs.PauseJob, pb.PauseJobRequest), (jobs.ResumeJob, pb.ResumeJobRequest)):
        code, details = await refusal(call(request_type(job_id=job.job_id), metadata=coordinator.metadata))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "CANCELLED" in details
        code, _ = await refusal(call(request_type(job_id="job_none"), metadata=coordinator.metadata))
        assert code is grpc.StatusCode.NOT_FOUND
        elsewhere = (coordinator.metadata[0], ("x-luthier-project", "other"))
        code, _ = await refusal(call(request_type(job_id=job.job_id), metadata=elsewhere))
        assert code is grpc.StatusCode.NOT_FOUND


async def test_watch_begins_and_ends_with_a_snapshot_and_gives_every_event_in_order(
    coordinator: Any, jobs: Any
) -> None:
    job = await create(jobs, coordinator)
    updates = []
    async for update in jobs.WatchJob(pb.WatchJobRequest(job_id=job.job_id), metadata=coordinator.metadata):
        if not updates:
            await jobs.CancelJob(pb.CancelJobRequest(job_id=job.job_id), metadata=coordinator.metadata)
        updates.append(update)
    assert updates[0].job.state == Job.STATE_PENDING
    assert updates[-1].job.state == Job.STATE_CANCELLED
    events = [update.event for update in updates if update.HasField("event")]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[0].WhichOneof("fact") == "job_created"
    assert events[-1].WhichOneof("fact") == "job_cancelled"
    resumed = jobs.WatchJob(
        pb.WatchJobRequest(job_id=job.job_id, after_sequence=events[-2].sequence), metadata=coordinator.metadata
    )
    again = [update.event.sequence async for update in resumed if update.HasField("event")]
    assert again == [events[-1].sequence]


async def test_watch_shows_progress_that_no_event_tells_of(coordinator: Any, jobs: Any, worker: Any) -> None:
    job = await worker.create_job()
    stage = (await worker.claim(job.job_id, "preprocess")).assignment.stage
    steps = []
    async for update in jobs.WatchJob(pb.WatchJobRequest(job_id=job.job_id), metadata=coordinator.metadata):
        if not update.HasField("job"):
            continue
        steps.append(update.job.stages[0].progress.step)
        if steps[-1] == 3:
            break
        await worker.heartbeat(stage, step=steps[-1] + 1)
    assert steps == [0, 1, 2, 3]


async def test_watching_a_job_that_is_not_there_is_refused(coordinator: Any, jobs: Any) -> None:
    stream = jobs.WatchJob(pb.WatchJobRequest(job_id="job_none"), metadata=coordinator.metadata)
    code, _ = await refusal(stream.read())
    assert code is grpc.StatusCode.NOT_FOUND


async def test_metrics_of_a_job_that_is_not_there_are_refused(coordinator: Any, jobs: Any) -> None:
    code, _ = await refusal(
        jobs.ListJobMetrics(pb.ListJobMetricsRequest(job_id="job_none"), metadata=coordinator.metadata)
    )
    assert code is grpc.StatusCode.NOT_FOUND


async def test_a_job_that_is_larger_than_any_worker_is_warned_of_or_refused(coordinator: Any, jobs: Any) -> None:
    worker: Any = WorkerServiceStub(coordinator.channel)
    capabilities = WorkerCapabilities(worker_classes=["cpu"], memory_bytes=1 << 30)
    request = RegisterWorkerRequest(worker_id="small", capabilities=capabilities)
    await worker.RegisterWorker(request, metadata=coordinator.metadata)
    large = {"base_model": "smollm2-135m-instruct", "method": {"type": "full"}}
    job = await create(jobs, coordinator, **large)
    log: Any = EventServiceStub(coordinator.channel)
    found = await log.ListEvents(ListEventsRequest(job_id=job.job_id), metadata=coordinator.metadata)
    (warning,) = found.events[0].job_created.warnings
    assert "the largest cpu worker has 1.0" in warning
    status, details = await refusal(create(jobs, coordinator, resources={"when_too_large": "refuse"}, **large))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert "GiB" in details
