"""The relay: takes rows of the outbox to JetStream, and keeps the streams there. One lane per stream.

A row is claimed by `FOR UPDATE SKIP LOCKED`, published with its id as the message id, and marked after the stream's
acknowledgement; a crash in between publishes it again, and the stream drops the repeat. There is no cursor: sequences
commit out of order. NATS is a hint, so nothing here is fatal: while it is down, rows wait. A row that no bus can ever
take is held back with a dead letter, and the others go on; an event held back is missing in the stream EVENTS, not in
EventService, which reads the table.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from nats import errors as nats_errors
from nats.js import JetStreamContext
from sqlalchemy import bindparam
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Text, any_, col, delete, func, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from coordinator.bus import Bus, find_stream, put_stream
from coordinator.commands.dead_letters import record_dead_letter
from coordinator.lifecycle import StageState
from coordinator.poison import is_never, why_never
from coordinator.store.engine import DATABASE_DOWN, OUR_FAULTS, Database
from coordinator.store.notifications import EVENTS_TOPIC, WAKE_UPS_TOPIC, Notifications
from coordinator.store.statements import Shape, Statement
from coordinator.store.tables import DeadLetterSource, OutboxRow, StageRow
from luthier.subjects import EVENTS_STREAM, STAGES_STREAM, STREAMS

BATCH_SIZE = 100
POLL_SECONDS = 1.0
PUBLISH_TIMEOUT_SECONDS = 5.0
STREAM_CHECK_SECONDS = 5.0
# Events of the changes that follow each other at once travel together; a wake-up travels at once.
GATHER_SECONDS = {EVENTS_STREAM: 0.03, STAGES_STREAM: 0.0}
# Long enough to see in the table what workers were told; events are never pruned.
WAKE_UPS_KEPT = timedelta(hours=1)
EVENTS_REPLAYED = timedelta(seconds=STREAMS[EVENTS_STREAM]["max_age"])

# What a publication may meet while the bus is away.
BUS_DOWN = (nats_errors.Error, OSError, TimeoutError)

_OUTBOX = Shape(OutboxRow)
_columns = _OUTBOX.table.c
_TOPICS = {EVENTS_STREAM: EVENTS_TOPIC, STAGES_STREAM: WAKE_UPS_TOPIC}
# An event has a number in the project's sequence, a wake-up has none. Those never wait behind these.
_LANES = {EVENTS_STREAM: _columns.sequence.is_not(None), STAGES_STREAM: _columns.sequence.is_(None)}
_WAITING = {
    stream: Statement(
        _OUTBOX.table.select()
        .where(_columns.published_time.is_(None), ~_columns.held, belongs)
        .order_by(_columns.position)
        .limit(BATCH_SIZE)
        .with_for_update(skip_locked=True)
    )
    for stream, belongs in _LANES.items()
}
_MARK = Statement(
    _OUTBOX.table.update()
    .where(_columns.message_id == any_(bindparam("message_ids", type_=ARRAY(Text))))
    .values(published_time=func.clock_timestamp())
)

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What became of a batch of rows."""

    published: list[str] = field(default_factory=list)
    """Ids of the rows that the stream has acknowledged."""
    poisoned: list[tuple[OutboxRow, str]] = field(default_factory=list)
    """Rows that no bus can ever take, and why."""
    obstacle: Exception | None = None
    """What the first of the others met."""


class Relay:
    """One loop per coordinator and stream; any number run side by side."""

    def __init__(self, database: Database, bus: Bus, notifications: Notifications) -> None:
        self._database = database
        self._bus = bus
        self._notifications = notifications
        self._checked_at = dict.fromkeys(STREAMS, float("-inf"))

    async def run_events(self) -> None:
        """Publishes events for ever."""
        await self._run(EVENTS_STREAM)

    async def run_wake_ups(self) -> None:
        """Publishes wake-ups for ever."""
        await self._run(STAGES_STREAM)

    async def step(self) -> int:
        """Publishes one batch for every stream; returns how many rows were dealt with."""
        return sum([await self._step(stream) for stream in STREAMS])

    async def _run(self, stream: str) -> None:
        is_waiting = True  # says once that something is away; not at the start, when NATS is still being connected
        with self._notifications.subscribe(_TOPICS[stream]) as signal:
            while True:
                try:
                    num_published = await self._step(stream)
                    is_waiting = False
                    if num_published == BATCH_SIZE:
                        continue
                except OUR_FAULTS:
                    raise
                except (nats_errors.Error, *DATABASE_DOWN) as error:
                    self._checked_at[stream] = float("-inf")
                    level = logging.DEBUG if is_waiting else logging.WARNING
                    log.log(level, "the outbox waits for %s: %r", stream, error)
                    is_waiting = True
                await signal.wait(POLL_SECONDS)
                await asyncio.sleep(GATHER_SECONDS[stream])

    async def _step(self, stream: str) -> int:
        jetstream = self._bus.jetstream()
        clock = asyncio.get_running_loop().time()
        if clock - self._checked_at[stream] > STREAM_CHECK_SECONDS:
            await _ensure_stream(self._database, jetstream, stream)
            await _prune(self._database)
            self._checked_at[stream] = clock
        async with self._database.begin() as (session, connection):
            rows = [_OUTBOX.row(record) for record in await _WAITING[stream].fetch(connection)]
            outcome = await _publish(jetstream, rows, self._bus.max_payload)
            if outcome.published:
                await _MARK.fetch(connection, message_ids=outcome.published)
            for row, reason in outcome.poisoned:
                await _hold(session, row, reason)
        if outcome.obstacle is not None:
            raise outcome.obstacle
        return len(outcome.published) + len(outcome.poisoned)


async def _ensure_stream(database: Database, jetstream: JetStreamContext, name: str) -> None:
    """Makes a stream that is missing, and has what belongs into it published again."""
    present = await find_stream(jetstream, name)
    if present is None:
        log.warning("there is no stream %s; it is made, and filled again", name)
        await _REFILL[name](database)  # first: a crash before the next line repeats both
    await put_stream(jetstream, name, present)


async def _refill_events(database: Database) -> None:
    """Marks every event as unpublished.

    Those that are unpublished too: another relay may have taken them to the lost stream and be about to mark them. The
    update waits for its locks, and so comes after its mark. They are locked in one order: relays that refill at the
    same time wait for each other.
    """
    replayed = (
        select(col(OutboxRow.message_id))
        .where(
            col(OutboxRow.sequence).is_not(None),
            col(OutboxRow.create_time) > func.clock_timestamp() - EVENTS_REPLAYED,
        )
        .order_by(col(OutboxRow.position))
        .with_for_update()
    )
    query = update(OutboxRow).where(col(OutboxRow.message_id).in_(replayed))
    async with database.transaction() as session:
        await session.exec(query.values(published_time=None))


async def _refill_stages(database: Database) -> None:
    """Lets the reconciler write new wake-ups for everything that may be claimed. Locks stages as every change does."""
    claimable = (
        select(col(StageRow.stage_id))
        .where(col(StageRow.state) == StageState.QUEUED)
        .order_by(col(StageRow.job_id), col(StageRow.position))
        .with_for_update()
    )
    query = update(StageRow).where(col(StageRow.stage_id).in_(claimable))
    due = func.greatest(col(StageRow.claimable_time), func.clock_timestamp())
    async with database.transaction() as session:
        await session.exec(query.values(wake_time=due))


_REFILL: dict[str, Callable[[Database], Awaitable[None]]] = {
    EVENTS_STREAM: _refill_events,
    STAGES_STREAM: _refill_stages,
}


async def _prune(database: Database) -> None:
    query = delete(OutboxRow).where(
        col(OutboxRow.sequence).is_(None), col(OutboxRow.published_time) < func.clock_timestamp() - WAKE_UPS_KEPT
    )
    async with database.transaction() as session:
        await session.exec(query)


async def _publish(stream: JetStreamContext, rows: Sequence[OutboxRow], max_payload: int) -> Outcome:
    outcome = Outcome()
    sound: list[OutboxRow] = []
    for row in rows:
        if reason := why_never(row, max_payload):
            outcome.poisoned.append((row, reason))
        else:
            sound.append(row)
    results = await asyncio.gather(
        *(
            stream.publish(row.subject, row.payload, timeout=PUBLISH_TIMEOUT_SECONDS, headers=row.headers)
            for row in sound
        ),
        return_exceptions=True,
    )
    for row, result in zip(sound, results, strict=True):
        if not isinstance(result, BaseException):
            outcome.published.append(row.message_id)
        elif not isinstance(result, BUS_DOWN):
            raise result
        elif is_never(result):
            outcome.poisoned.append((row, f"{type(result).__name__}: {result}"))
        else:
            outcome.obstacle = outcome.obstacle or result
    return outcome


async def _hold(session: AsyncSession, row: OutboxRow, reason: str) -> None:
    """Takes a row out of the way of the others, and keeps why."""
    log.error("message %s can never be published; see luthier dead-letters list: %s", row.message_id, reason)
    hold = update(OutboxRow).where(col(OutboxRow.message_id) == row.message_id)
    await session.exec(hold.values(held=True))
    await record_dead_letter(
        session,
        DeadLetterSource.RELAY,
        reason,
        subject=row.subject,
        headers=row.headers,
        payload=row.payload,
        message_id=row.message_id,
        project_id=row.project_id,
        job_id=row.job_id,
        stage_id=row.stage_id,
    )
