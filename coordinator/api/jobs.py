"""JobService."""

from collections.abc import AsyncIterator

from coordinator.api.requests import Context, id_of, page_key, page_size_of, page_token, project_of
from coordinator.api.watch import watch_job
from coordinator.commands.jobs import cancel_job, create_job, pause_job, resume_job
from coordinator.job_store import JobStore
from coordinator.store.engine import Database
from coordinator.store.notifications import Notifications
from coordinator.store.queries import find_job, list_jobs, list_metrics
from coordinator.store.render import job_message, metric_message
from luthier.errors import NotFoundError
from luthier.telemetry import current_traceparent
from luthier.v1 import job_service_pb2 as pb
from luthier.v1.job_service_pb2_grpc import JobServiceServicer


class JobService(JobServiceServicer):
    """Submits, follows, pauses and cancels jobs of the caller's project."""

    def __init__(self, database: Database, store: JobStore, notifications: Notifications) -> None:
        self._database = database
        self._store = store
        self._notifications = notifications

    async def CreateJob(self, request: pb.CreateJobRequest, context: Context) -> pb.CreateJobResponse:
        """Checks the spec again and accepts the job; its trace is the one of this call."""
        project_id = project_of(context)
        request_id = id_of(request.request_id, "request_id") if request.request_id else ""
        traceparent = current_traceparent()
        return pb.CreateJobResponse(
            job=await create_job(self._store, project_id, request.spec_json, request_id, traceparent)
        )

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        """One job."""
        async with self._database.transaction() as session:
            found = await find_job(session, project_of(context), id_of(request.job_id, "job_id"))
        if found is None:
            raise NotFoundError(f"there is no job {request.job_id}")
        return pb.GetJobResponse(job=job_message(*found))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        """Newest first."""
        size = page_size_of(request.page_size, default=50, most=1000)
        (before_id,) = page_key(request.page_token, str) or ("",)
        async with self._database.transaction() as session:
            found = await list_jobs(session, project_of(context), before_id, size + 1)
        page = found[:size]
        more = page_token(page[-1][0].job_id) if len(found) > size else ""
        return pb.ListJobsResponse(jobs=[job_message(*row) for row in page], next_page_token=more)

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:
        """A repeat is a no-op."""
        job_id = id_of(request.job_id, "job_id")
        return pb.CancelJobResponse(job=await cancel_job(self._store, project_of(context), job_id))

    async def PauseJob(self, request: pb.PauseJobRequest, context: Context) -> pb.PauseJobResponse:
        """A repeat is a no-op."""
        job_id = id_of(request.job_id, "job_id")
        return pb.PauseJobResponse(job=await pause_job(self._store, project_of(context), job_id))

    async def ResumeJob(self, request: pb.ResumeJobRequest, context: Context) -> pb.ResumeJobResponse:
        """A no-op when nothing is paused."""
        job_id = id_of(request.job_id, "job_id")
        return pb.ResumeJobResponse(job=await resume_job(self._store, project_of(context), job_id))

    async def WatchJob(self, request: pb.WatchJobRequest, context: Context) -> AsyncIterator[pb.WatchJobResponse]:
        """Until the job has ended."""
        project_id, job_id = project_of(context), id_of(request.job_id, "job_id")
        updates = watch_job(self._database, self._notifications, project_id, job_id, request.after_sequence)
        async for update in updates:
            yield update

    async def ListJobMetrics(self, request: pb.ListJobMetricsRequest, context: Context) -> pb.ListJobMetricsResponse:
        """Oldest first."""
        size = page_size_of(request.page_size, default=1000, most=10_000)
        key = page_key(request.page_token, int, int, int)
        async with self._database.transaction() as session:
            job = await find_job(session, project_of(context), id_of(request.job_id, "job_id"))
            if job is None:
                raise NotFoundError(f"there is no job {request.job_id}")
            found = await list_metrics(session, request.job_id, request.stage_name, key, size + 1)
        page = found[:size]
        more = ""
        if len(found) > size:
            stage, last = page[-1]
            more = page_token(stage.position, last.attempt, last.step)
        metrics = [metric_message(stage.name, row) for stage, row in page]
        return pb.ListJobMetricsResponse(metrics=metrics, next_page_token=more)
