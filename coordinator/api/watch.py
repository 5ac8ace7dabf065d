"""The two streams that callers follow. Both read PostgreSQL; a notification only wakes them, so nothing is missed."""

import asyncio
from collections.abc import AsyncIterator

from coordinator.graph import JOB_TERMINAL
from coordinator.store.engine import Database
from coordinator.store.notifications import Notifications, job_topic, project_topic
from coordinator.store.queries import find_job, list_event_payloads
from coordinator.store.render import job_message
from luthier.errors import NotFoundError, UnavailableError
from luthier.v1.event_pb2 import Event
from luthier.v1.job_pb2 import Job
from luthier.v1.job_service_pb2 import WatchJobResponse

POLL_SECONDS = 1.0
PAGE_SIZE = 200
# At most two snapshots a second when only the progress of a stage moves.
SNAPSHOT_SECONDS = 0.5


async def watch_job(
    database: Database, notifications: Notifications, project_id: str, job_id: str, after_sequence: int
) -> AsyncIterator[WatchJobResponse]:
    """A snapshot, then events and snapshots as they come; the last message is the snapshot of the ended job.

    Raises:
        NotFoundError: the project has no such job.
        UnavailableError: this coordinator stops; watch again with the last sequence seen.
    """
    clock = asyncio.get_running_loop().time
    sent: Job | None = None
    sent_at = 0.0
    with notifications.subscribe(job_topic(job_id)) as signal:
        while True:
            job, is_ended = await _snapshot(database, project_id, job_id)
            # Read after the snapshot: when that has ended, these are all the events that are left.
            events = await _events(database, project_id, job_id, after_sequence)
            if sent is None:
                yield WatchJobResponse(job=job)
                sent, sent_at = job, clock()
            for event in events:
                yield WatchJobResponse(event=event)
                after_sequence = event.sequence
            if len(events) == PAGE_SIZE:
                continue
            if is_ended:
                if events or job != sent:
                    yield WatchJobResponse(job=job)
                return
            wait = sent_at + SNAPSHOT_SECONDS - clock()
            if job != sent and (events or wait <= 0):
                yield WatchJobResponse(job=job)
                sent, sent_at = job, clock()
            _check_open(notifications)
            await signal.wait(wait if job != sent and wait > 0 else POLL_SECONDS)


async def subscribe_events(
    database: Database, notifications: Notifications, project_id: str, job_id: str, after_sequence: int
) -> AsyncIterator[Event]:
    """Every event after a sequence, then every new one, for ever.

    Raises:
        UnavailableError: this coordinator stops; subscribe again with the last sequence seen.
    """
    with notifications.subscribe(project_topic(project_id)) as signal:
        while True:
            events = await _events(database, project_id, job_id, after_sequence)
            for event in events:
                yield event
                after_sequence = event.sequence
            _check_open(notifications)
            if len(events) < PAGE_SIZE:
                await signal.wait(POLL_SECONDS)


async def _snapshot(database: Database, project_id: str, job_id: str) -> tuple[Job, bool]:
    async with database.transaction() as session:
        found = await find_job(session, project_id, job_id)
    if found is None:
        raise NotFoundError(f"there is no job {job_id}")
    return job_message(*found), found[0].state in JOB_TERMINAL


async def _events(database: Database, project_id: str, job_id: str, after_sequence: int) -> list[Event]:
    async with database.transaction() as session:
        payloads = await list_event_payloads(session, project_id, job_id, after_sequence, PAGE_SIZE)
    return [Event.FromString(payload) for payload in payloads]


def _check_open(notifications: Notifications) -> None:
    if notifications.is_closed:
        raise UnavailableError("this coordinator stops; go on from the last sequence that you saw")
