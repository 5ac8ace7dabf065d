"""AdminService: the workers of the installation, and its dead letters. Not bound to the caller's project."""

from coordinator.api.requests import Context, id_of, moment_key, moment_token, page_size_of
from coordinator.commands.dead_letters import retry_dead_letter
from coordinator.commands.workers import release_worker
from coordinator.job_store import JobStore
from coordinator.store.engine import Database
from coordinator.store.queries import list_dead_letters, list_workers
from coordinator.store.render import dead_letter_message, worker_message
from luthier.transport import MAX_MESSAGE_BYTES
from luthier.v1 import admin_service_pb2 as pb
from luthier.v1.admin_service_pb2_grpc import AdminServiceServicer

# A page of large payloads ends early, so that it fits into one message.
PAGE_BYTES = MAX_MESSAGE_BYTES // 2


class AdminService(AdminServiceServicer):
    """What only the keeper of an installation may see."""

    def __init__(self, database: Database, store: JobStore) -> None:
        self._database = database
        self._store = store

    async def ListWorkers(self, request: pb.ListWorkersRequest, context: Context) -> pb.ListWorkersResponse:
        """Those heard of last first; one that is heard of between two pages moves to the first."""
        size = page_size_of(request.page_size, default=50, most=1000)
        before = moment_key(request.page_token)
        async with self._database.transaction() as session:
            found = await list_workers(session, before, size + 1)
        page = found[:size]
        more = moment_token(page[-1].heartbeat_time, page[-1].worker_id) if len(found) > size else ""
        return pb.ListWorkersResponse(workers=[worker_message(row) for row in page], next_page_token=more)

    async def ReleaseWorker(self, request: pb.ReleaseWorkerRequest, context: Context) -> pb.ReleaseWorkerResponse:
        """A repeat is a no-op."""
        worker = await release_worker(self._store, id_of(request.worker_id, "worker_id"))
        return pb.ReleaseWorkerResponse(worker=worker)

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        """Newest first; a page has fewer than were asked for when their payloads are large."""
        size = page_size_of(request.page_size, default=50, most=1000)
        before = moment_key(request.page_token)
        async with self._database.transaction() as session:
            page, is_more = await list_dead_letters(
                session, before, size, PAGE_BYTES, include_retried=request.include_retried
            )
        more = moment_token(page[-1].create_time, page[-1].dead_letter_id) if is_more else ""
        letters = [dead_letter_message(row) for row in page]
        return pb.ListDeadLettersResponse(dead_letters=letters, next_page_token=more)

    async def RetryDeadLetter(self, request: pb.RetryDeadLetterRequest, context: Context) -> pb.RetryDeadLetterResponse:
        """A repeat is a no-op."""
        letter = await retry_dead_letter(self._database, id_of(request.dead_letter_id, "dead_letter_id"))
        return pb.RetryDeadLetterResponse(dead_letter=letter)
