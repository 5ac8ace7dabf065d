"""LISTEN/NOTIFY: wakes what waits in this process when any coordinator commits a change.

A hint and nothing more: every waiter polls anyway, so a lost notification costs a second, not a result.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import asyncpg
from sqlmodel.ext.asyncio.session import AsyncSession

from coordinator.store.engine import DATABASE_DOWN, OUR_FAULTS, Database, notify

# A change that wrote wake-ups, and mostly events with them; one that wrote events; one that only moved the progress of
# a stage.
WAKE_UPS_CHANNEL = "luthier_wake_ups"
EVENTS_CHANNEL = "luthier_events"
PROGRESS_CHANNEL = "luthier_progress"

# What the relay's lanes subscribe to.
WAKE_UPS_TOPIC = "wake-ups"
EVENTS_TOPIC = "events"
PING_SECONDS = 10.0
RECONNECT_SECONDS = 1.0

log = logging.getLogger(__name__)


def job_topic(job_id: str) -> str:
    """What a watcher of one job subscribes to."""
    return f"job {job_id}"


def project_topic(project_id: str) -> str:
    """What a reader of one project's events subscribes to."""
    return f"project {project_id}"


async def announce(session: AsyncSession, channel: str, project_id: str, job_id: str) -> None:
    """Notifies every coordinator when the transaction commits."""
    await notify(session, channel, payload_of(project_id, job_id))


def payload_of(project_id: str, *job_ids: str) -> str:
    """What a notification says: some jobs of one project. PostgreSQL takes 8000 bytes, that is 120 jobs."""
    return " ".join((project_id, *job_ids))


class Signal:
    """Set by a notification, cleared by whoever waited for it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wakes the waiter, now or at its next wait."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Returns at the next notification, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()


class Notifications:
    """One listening connection, and the signals of this process by topic."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._signals: defaultdict[str, set[Signal]] = defaultdict(set)
        self.is_closed = False

    @contextmanager
    def subscribe(self, *topics: str) -> Iterator[Signal]:
        """A signal for any of `topics`. Subscribe first, then read: nothing falls in between."""
        signal = Signal()
        for topic in topics:
            self._signals[topic].add(signal)
        try:
            yield signal
        finally:
            for topic in topics:
                self._signals[topic].discard(signal)
                if not self._signals[topic]:
                    del self._signals[topic]

    def close(self) -> None:
        """Wakes every waiter; they see `is_closed` and end."""
        self.is_closed = True
        self._wake_all()

    async def run(self) -> None:
        """Listens for ever; connects again when the connection is lost."""
        while True:
            try:
                await self._listen()
            except OUR_FAULTS:
                raise
            except DATABASE_DOWN as error:
                log.warning("notifications are off until PostgreSQL answers: %r", error)
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        connection = await self._database.connect()
        try:
            for channel in (WAKE_UPS_CHANNEL, EVENTS_CHANNEL, PROGRESS_CHANNEL):
                await connection.add_listener(channel, self._on_notification)
            self._wake_all()  # what was missed while nobody listened
            while True:
                await asyncio.sleep(PING_SECONDS)
                await connection.execute("SELECT 1")
        finally:
            connection.terminate()

    def _on_notification(self, _: asyncpg.Connection, __: int, channel: str, payload: str) -> None:
        project_id, *job_ids = payload.split(" ")
        topics = [job_topic(job_id) for job_id in job_ids]
        if channel != PROGRESS_CHANNEL:
            topics += [EVENTS_TOPIC, project_topic(project_id)]
        if channel == WAKE_UPS_CHANNEL:
            topics.append(WAKE_UPS_TOPIC)
        for topic in topics:
            for signal in self._signals.get(topic, ()):
                signal.set()

    def _wake_all(self) -> None:
        for signals in self._signals.values():
            for signal in signals:
                signal.set()
