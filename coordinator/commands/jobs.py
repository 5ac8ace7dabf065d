"""Creating, pausing, resuming and cancelling jobs."""

import asyncio
import secrets
from collections.abc import Callable, Sequence

from coordinator.apply import change_job
from coordinator.change import JobChange
from coordinator.job_store import JobStore
from coordinator.planner import stage_rows
from coordinator.size_check import warnings_of
from coordinator.store.render import job_message
from coordinator.store.tables import JobRow
from luthier.errors import AlreadyExistsError, NotFoundError
from luthier.spec import JobSpec, canonical_json, parse_spec
from luthier.spec.idle import idle_fields
from luthier.v1.event_pb2 import JobCreated
from luthier.v1.job_pb2 import Job


async def create_job(store: JobStore, project_id: str, spec_json: str, request_id: str, traceparent: str) -> Job:
    """Checks a job file, and whether it fits the workers, then does what `accept_job` does.

    Raises:
        InvalidSpecError: naming every fault; nothing was created.
        InvalidRequestError: it is larger than any worker, and asks to be refused then.
        AlreadyExistsError: the request id made a job of another spec.
        NotFoundError: there is no such project.
    """
    spec = await asyncio.to_thread(parse_spec, spec_json)  # up to a second for a large file
    warnings = [*idle_fields(spec), *await warnings_of(store, spec)]
    return await accept_job(store, project_id, spec, request_id or secrets.token_hex(16), traceparent, warnings)


async def accept_job(
    store: JobStore, project_id: str, spec: JobSpec, request_id: str, traceparent: str, warnings: Sequence[str] = ()
) -> Job:
    """Creates a job and queues its first stages; the same `request_id` gives the job that it made before.

    Raises:
        AlreadyExistsError: the request id made a job of another spec.
        NotFoundError: there is no such project.
    """
    async with store.transaction() as transaction:
        if not await transaction.has_project(project_id):
            raise NotFoundError(f"there is no project {project_id}")
        job = JobRow(
            job_id=transaction.make_id("job"),
            project_id=project_id,
            name=spec.name,
            request_id=request_id,
            spec_json=canonical_json(spec),
            traceparent=traceparent,
            create_time=await transaction.now(),
        )
        stages = stage_rows(job.job_id, spec, transaction.make_id)
        # Nobody else sees it yet, so there is nothing to lock.
        change = JobChange(job, stages, job.create_time, transaction.make_id)
        change.emit(JobCreated(name=job.name, stage_names=[stage.name for stage in stages], warnings=warnings))
        change.settle()
        if not await transaction.insert_job(job, stages):
            found = await transaction.find_job_of_request(project_id, request_id)
            assert found is not None, "the unique key that we met belongs to a job"
            if found[0].spec_json != job.spec_json:
                raise AlreadyExistsError(f"request {request_id} has made job {found[0].job_id} of another job file")
            return job_message(*found)
        await transaction.save([change])
    return job_message(job, stages)


async def cancel_job(store: JobStore, project_id: str, job_id: str) -> Job:
    """Cancels a job with everything that has not ended; a repeat is a no-op.

    Raises:
        NotFoundError: the project has no such job.
        ConflictError: it has ended otherwise.
    """
    return await _change(store, project_id, job_id, JobChange.cancel)


async def pause_job(store: JobStore, project_id: str, job_id: str) -> Job:
    """Holds a job back; what runs stops at its next checkpoint. A repeat is a no-op.

    Raises:
        NotFoundError: the project has no such job.
        ConflictError: it has ended.
    """
    return await _change(store, project_id, job_id, JobChange.pause)


async def resume_job(store: JobStore, project_id: str, job_id: str) -> Job:
    """Lets a job go on; a no-op when nothing of it is paused.

    Raises:
        NotFoundError: the project has no such job.
        ConflictError: it has ended.
    """
    return await _change(store, project_id, job_id, JobChange.resume)


async def _change(store: JobStore, project_id: str, job_id: str, do: Callable[[JobChange], None]) -> Job:
    async with change_job(store, job_id) as change:
        if change.job.project_id != project_id:
            raise NotFoundError(f"there is no job {job_id}")
        do(change)
    return job_message(change.job, change.stages)
