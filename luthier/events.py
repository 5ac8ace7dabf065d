"""One event on the bus: its subject and its CloudEvents headers, and the way back.

The payload is the serialized `Event`; its attributes ride in headers (binary content mode), so a consumer can route and
de-duplicate without reading protobuf. Source: CloudEvents 1.0, NATS protocol binding, section 3.1.
"""

from collections.abc import Mapping

from google.protobuf.message import DecodeError

from luthier.ids import check_id
from luthier.subjects import event_subject
from luthier.telemetry import TRACEPARENT
from luthier.v1.event_pb2 import Event

CONTENT_TYPE = "application/protobuf"
MESSAGE_ID = "Nats-Msg-Id"
_TYPE_PREFIX = "luthier"
_TYPE_VERSION = "v1"


def fact_of(event: Event) -> tuple[str, str]:
    """Entity and fact: `("stage", "queued")` for a StageQueued.

    Raises:
        ValueError: the event says nothing.
    """
    name = event.WhichOneof("fact")
    if name is None:
        raise ValueError(f"event {event.event_id!r} has no fact")
    entity, _, fact = name.partition("_")
    return entity, fact


def subject_of(event: Event) -> str:
    """Where the event is published: `luthier.event.<entity>.<fact>.<project>.<job>`."""
    entity, fact = fact_of(event)
    return event_subject(entity, fact, event.project_id, event.job_id)


def type_of(event: Event) -> str:
    """The CloudEvents type, e.g. `luthier.stage.queued.v1`."""
    return ".".join((_TYPE_PREFIX, *fact_of(event), _TYPE_VERSION))


def headers_of(event: Event) -> dict[str, str]:
    """Headers of the message: CloudEvents attributes, trace context, and the id by which the stream drops repeats."""
    headers = {
        MESSAGE_ID: check_id(event.event_id, "event id"),
        "ce-specversion": "1.0",
        "ce-id": event.event_id,
        "ce-source": f"/projects/{check_id(event.project_id, 'project id')}",
        "ce-type": type_of(event),
        "ce-time": event.time.ToJsonString(),
        "ce-sequence": str(event.sequence),
        "content-type": CONTENT_TYPE,
    }
    if event.job_id:
        headers["ce-subject"] = f"jobs/{check_id(event.job_id, 'job id')}"
    if event.traceparent:
        headers[TRACEPARENT] = event.traceparent
    return headers


def parse_event(payload: bytes, headers: Mapping[str, str]) -> Event:
    """The event in a message.

    Raises:
        ValueError: the payload is no Event, or another one than the headers announce.
    """
    try:
        event = Event.FromString(payload)
    except DecodeError as error:
        raise ValueError("the payload is not a luthier.v1.Event") from error
    for name, expected in (("ce-id", event.event_id), ("ce-type", type_of(event))):
        if headers.get(name) != expected:
            raise ValueError(f"header {name} is {headers.get(name)!r}, but the event says {expected!r}")
    return event
