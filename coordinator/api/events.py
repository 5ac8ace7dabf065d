"""EventService."""

from collections.abc import AsyncIterator

from coordinator.api.requests import Context, id_of, page_size_of, project_of
from coordinator.api.watch import subscribe_events
from coordinator.store.engine import Database
from coordinator.store.notifications import Notifications
from coordinator.store.queries import list_event_payloads
from luthier.v1 import event_service_pb2 as pb
from luthier.v1.event_pb2 import Event
from luthier.v1.event_service_pb2_grpc import EventServiceServicer


class EventService(EventServiceServicer):
    """The event log of the caller's project."""

    def __init__(self, database: Database, notifications: Notifications) -> None:
        self._database = database
        self._notifications = notifications

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        """Oldest first."""
        size = page_size_of(request.page_size, default=100, most=1000)
        job_id = id_of(request.job_id, "job_id") if request.job_id else ""
        async with self._database.transaction() as session:
            found = await list_event_payloads(session, project_of(context), job_id, request.after_sequence, size + 1)
        events = [Event.FromString(payload) for payload in found[:size]]
        return pb.ListEventsResponse(events=events, is_last_page=len(found) <= size)

    async def SubscribeEvents(
        self, request: pb.SubscribeEventsRequest, context: Context
    ) -> AsyncIterator[pb.SubscribeEventsResponse]:
        """Never ends by itself."""
        project_id = project_of(context)
        job_id = id_of(request.job_id, "job_id") if request.job_id else ""
        events = subscribe_events(self._database, self._notifications, project_id, job_id, request.after_sequence)
        # A project can be silent for hours; whoever waits should know that somebody listens.
        yield pb.SubscribeEventsResponse()
        async for event in events:
            yield pb.SubscribeEventsResponse(event=event)
