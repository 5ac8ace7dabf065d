"""Creating and cancelling jobs."""

import asyncio
import secrets

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from coordinator.apply import JobChange, change_job
from coordinator.planner import stage_rows
from coordinator.store.engine import Database, now
from coordinator.store.queries import find_job_of_request
from coordinator.store.render import job_message
from coordinator.store.tables import JobRow, ProjectRow
from luthier.errors import AlreadyExistsError, NotFoundError
from luthier.ids import new_id
from luthier.spec import canonical_json, parse_spec
from luthier.v1.event_pb2 import JobCreated
from luthier.v1.job_pb2 import Job


async def create_job(database: Database, project_id: str, spec_json: str, request_id: str, traceparent: str) -> Job:
    """Accepts a job and queues its first stages; the same `request_id` gives the job that it made before.

    Raises:
        InvalidSpecError: naming every fault; nothing was created.
        AlreadyExistsError: the request id made a job of another spec.
        NotFoundError: there is no such project.
    """
    spec = await asyncio.to_thread(parse_spec, spec_json)  # up to a second for a large file
    resolved = canonical_json(spec)
    async with database.transaction() as session:
        if await session.get(ProjectRow, project_id) is None:
            raise NotFoundError(f"there is no project {project_id}")
        job = JobRow(
            job_id=new_id("job"),
            project_id=project_id,
            name=spec.name,
            request_id=request_id or secrets.token_hex(16),
            spec_json=resolved,
            traceparent=traceparent,
            create_time=await now(session),
        )
        if not await _insert(session, job):
            found = await find_job_of_request(session, project_id, job.request_id)
            assert found is not None, "the unique key that we met belongs to a job"
            if found[0].spec_json != resolved:
                raise AlreadyExistsError(f"request {request_id} has made job {found[0].job_id} of another job file")
            return job_message(*found)
        session.add_all(stage_rows(job.job_id, spec))
        await session.flush()
        change = await JobChange.lock(session, job.job_id)
        assert change is not None, "we have just written it"
        change.emit(JobCreated(name=job.name, stage_names=[stage.name for stage in change.stages]))
        await change.finish()
        return job_message(change.job, change.stages)


async def cancel_job(database: Database, project_id: str, job_id: str) -> Job:
    """Cancels a job with everything that has not ended; a repeat is a no-op.

    Raises:
        NotFoundError: the project has no such job.
        ConflictError: it has ended otherwise.
    """
    async with change_job(database, job_id) as change:
        if change.job.project_id != project_id:
            raise NotFoundError(f"there is no job {job_id}")
        change.cancel()
    return job_message(change.job, change.stages)


async def _insert(session: AsyncSession, job: JobRow) -> bool:
    """False when the request id is taken; waits for a transaction that is just taking it."""
    query = insert(JobRow).values(job.model_dump(exclude_none=True))
    query = query.on_conflict_do_nothing(index_elements=["project_id", "request_id"])
    return (await session.exec(query.returning(col(JobRow.job_id)))).first() is not None
