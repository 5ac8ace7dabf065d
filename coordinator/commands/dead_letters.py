"""Dead letters: what could not be handled, kept with its payload until somebody has it handled again.

Who gives up records one in the transaction in which it gives up; the same message twice makes one letter. Sizes are
bounded: of a payload the first MiB is kept, which is all of any message that a bus with its default limit can carry.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, func, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from coordinator.messages import repeated_message
from coordinator.store.engine import Database, now
from coordinator.store.notifications import WAKE_UPS_CHANNEL, announce
from coordinator.store.render import dead_letter_message
from coordinator.store.tables import DeadLetterRow, DeadLetterSource, JobRow, OutboxRow, StageRow
from luthier.errors import ConflictError, NotFoundError
from luthier.ids import is_id
from luthier.subjects import job_of_subject
from luthier.v1.dead_letter_pb2 import DeadLetter

MAX_PAYLOAD_BYTES = 1 << 20
MAX_REASON_CHARACTERS = 4096
MAX_SUBJECT_CHARACTERS = 1024
MAX_HEADERS_CHARACTERS = 8192


async def record_dead_letter(
    session: AsyncSession,
    source: DeadLetterSource,
    reason: str,
    *,
    subject: str = "",
    headers: Mapping[str, str] | None = None,
    payload: bytes = b"",
    message_id: str = "",
    project_id: str = "",
    job_id: str = "",
    stage_id: str = "",
) -> None:
    """Keeps what `source` gave up; a no-op while an equal letter is open.

    Args:
        session: the transaction in which it is given up.
        source: who gives up.
        reason: why, for a person.
        subject: of the message; empty for a job.
        headers: of the message.
        payload: of the message.
        message_id: row of the outbox that it stands for.
        project_id: empty when not known; so are the next two.
        job_id: that it belongs to.
        stage_id: that it belongs to.
    """
    subject, kept = _text(subject, MAX_SUBJECT_CHARACTERS), _bounded(headers or {})
    identity = json.dumps([source, message_id, job_id, stage_id, subject, sorted(kept.items())]).encode()
    name = "dead_" + hashlib.sha256(identity + payload).hexdigest()[:32]
    # Equal letters that were retried before: what fails again is a new letter.
    retried = select(func.count()).where(
        col(DeadLetterRow.dead_letter_id).startswith(f"{name}-", autoescape=True),
        col(DeadLetterRow.retry_time).is_not(None),
    )
    number = (await session.exec(retried)).one() + 1
    row = DeadLetterRow(
        dead_letter_id=f"{name}-{number}",
        source=source,
        message_id=message_id,
        subject=subject,
        headers=kept,
        payload=payload[:MAX_PAYLOAD_BYTES],
        reason=_text(reason, MAX_REASON_CHARACTERS),
        project_id=project_id,
        job_id=job_id,
        stage_id=stage_id,
        create_time=await now(session),
    )
    query = insert(DeadLetterRow).values(row.model_dump())
    await session.exec(query.on_conflict_do_nothing(index_elements=["dead_letter_id"]))


async def record_message_of_worker(
    database: Database, reason: str, subject: str, headers: Mapping[str, str], payload: bytes, stage_id: str
) -> None:
    """Keeps a message that a worker can do nothing with, with the job that it belongs to as far as that is known."""
    async with database.transaction() as session:
        stage = await session.get(StageRow, stage_id) if is_id(stage_id) else None
        job_id = stage.job_id if stage else job_of_subject(subject)
        job = await session.get(JobRow, job_id) if is_id(job_id) else None
        await record_dead_letter(
            session,
            DeadLetterSource.WORKER,
            reason,
            subject=subject,
            headers=headers,
            payload=payload,
            project_id=job.project_id if job else "",
            job_id=job.job_id if job else "",
            stage_id=stage.stage_id if stage else "",
        )


async def retry_dead_letter(database: Database, dead_letter_id: str) -> DeadLetter:
    """Has it handled again; a repeat is a no-op.

    Raises:
        NotFoundError: there is no such dead letter.
        ConflictError: nothing is left that could be handled again.
    """
    async with database.transaction() as session:
        letter = await session.get(DeadLetterRow, dead_letter_id, with_for_update=True)
        if letter is None:
            raise NotFoundError(f"there is no dead letter {dead_letter_id}")
        if letter.retry_time is None:
            await _RETRIES[letter.source](session, letter)
            letter.retry_time = await now(session)
            await announce(session, WAKE_UPS_CHANNEL, letter.project_id, letter.job_id)  # wakes the relay
        return dead_letter_message(letter)


async def _publish_row(session: AsyncSession, letter: DeadLetterRow) -> None:
    query = update(OutboxRow).where(col(OutboxRow.message_id) == letter.message_id).values(held=False)
    if (await session.exec(query.returning(col(OutboxRow.message_id)))).first() is None:
        raise ConflictError(f"the message of {letter.dead_letter_id} is not in the outbox any more")


async def _publish_copy(session: AsyncSession, letter: DeadLetterRow) -> None:
    if not letter.project_id:
        raise ConflictError(f"{letter.dead_letter_id} belongs to no job of this installation; nobody waits for it")
    if len(letter.payload) >= MAX_PAYLOAD_BYTES:
        raise ConflictError(f"only the first {MAX_PAYLOAD_BYTES} bytes of {letter.dead_letter_id} are kept")
    session.add(repeated_message(letter, await now(session)))


async def _look_again(_: AsyncSession, __: DeadLetterRow) -> None:
    """The reconciler passes over jobs with an open letter, and over no others."""


_RETRIES: dict[DeadLetterSource, Callable[[AsyncSession, DeadLetterRow], Awaitable[None]]] = {
    DeadLetterSource.RELAY: _publish_row,
    DeadLetterSource.WORKER: _publish_copy,
    DeadLetterSource.RECONCILER: _look_again,
}


def _text(given: str, num_characters: int) -> str:
    """What PostgreSQL takes as text: no NUL, and not without an end."""
    return given.replace("\0", "")[:num_characters]


def _bounded(headers: Mapping[str, str]) -> dict[str, str]:
    """The first headers by name, as long as there is room for them."""
    kept: dict[str, str] = {}
    room = MAX_HEADERS_CHARACTERS
    for name, value in sorted(headers.items()):
        room -= len(name) + len(value)
        if room < 0:
            break
        kept[_text(name, MAX_HEADERS_CHARACTERS)] = _text(value, MAX_HEADERS_CHARACTERS)
    return kept
