"""Rows of the outbox: an event of the project's log, or the wake-up of a stage. The only makers of such rows."""

from dataclasses import dataclass
from datetime import datetime

from google.protobuf.message import Message

from coordinator.store.tables import DeadLetterRow, JobRow, OutboxRow, StageRow
from luthier.events import CONTENT_TYPE, MESSAGE_ID, headers_of, subject_of
from luthier.ids import new_id
from luthier.subjects import stage_subject
from luthier.telemetry import TRACEPARENT
from luthier.v1.event_pb2 import Event, StageReady

# `StageQueued` is said in the field `stage_queued`.
_FIELDS = {
    field.message_type.name: field.name
    for field in Event.DESCRIPTOR.oneofs_by_name["fact"].fields
    if field.message_type is not None
}


@dataclass
class OutboxMessage:
    """A row of the outbox that is about to be written, with the names of `OutboxRow`. No session ever knows it."""

    message_id: str
    project_id: str
    job_id: str
    subject: str
    headers: dict[str, str]
    payload: bytes
    create_time: datetime
    sequence: int | None = None
    """Of an event; a wake-up has none."""
    stage_id: str = ""
    """Of a wake-up."""
    published_time: datetime | None = None
    held: bool = False


def event_message(job: JobRow, fact: Message, sequence: int, moment: datetime, event_id: str) -> OutboxMessage:
    """The event that says `fact` (one of the messages in the event's oneof) of `job`."""
    event = Event(
        event_id=event_id,
        sequence=sequence,
        project_id=job.project_id,
        job_id=job.job_id,
        time=moment,
        traceparent=job.traceparent,
    )
    getattr(event, _FIELDS[fact.DESCRIPTOR.name]).CopyFrom(fact)
    return OutboxMessage(
        message_id=event.event_id,
        project_id=job.project_id,
        sequence=sequence,
        job_id=job.job_id,
        subject=subject_of(event),
        headers=headers_of(event),
        payload=event.SerializeToString(),
        create_time=moment,
    )


def stage_ready_message(job: JobRow, stage: StageRow, moment: datetime, message_id: str) -> OutboxMessage:
    """The wake-up of a stage that may be claimed."""
    ready = StageReady(stage_id=stage.stage_id, job_id=job.job_id, project_id=job.project_id)
    headers = {MESSAGE_ID: message_id, "content-type": CONTENT_TYPE}
    if job.traceparent:
        headers[TRACEPARENT] = job.traceparent
    return OutboxMessage(
        message_id=message_id,
        project_id=job.project_id,
        job_id=job.job_id,
        stage_id=stage.stage_id,
        subject=stage_subject(stage.kind, stage.worker_class, job.job_id),
        headers=headers,
        payload=ready.SerializeToString(),
        create_time=moment,
    )


def repeated_message(letter: DeadLetterRow, moment: datetime) -> OutboxRow:
    """The message of a dead letter once more, under a new id, so that the stream does not drop it as a repeat."""
    message_id = new_id("wake")
    return OutboxRow(
        message_id=message_id,
        project_id=letter.project_id,
        job_id=letter.job_id,
        stage_id=letter.stage_id,
        subject=letter.subject,
        headers=letter.headers | {MESSAGE_ID: message_id},
        payload=letter.payload,
        create_time=moment,
    )
