"""Events on the bus: subject, CloudEvents headers, and back."""

from datetime import UTC, datetime

import pytest

from luthier.events import fact_of, headers_of, parse_event, subject_of
from luthier.v1.event_pb2 import Event, StageQueued

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def event(**changes: object) -> Event:
    fields = {
        "event_id": "evt_1",
        "sequence": 7,
        "project_id": "default",
        "job_id": "job_1",
        "time": datetime(2026, 11, 21, tzinfo=UTC),
        "traceparent": TRACEPARENT,
        "stage_queued": StageQueued(stage_id="stage_1", stage_name="train"),
    }
    return Event(**fields | changes)  # type: ignore[arg-type]


def test_every_fact_has_a_subject_of_its_own() -> None:
    subjects = set()
    for field in Event.DESCRIPTOR.oneofs_by_name["fact"].fields:
        one = Event(project_id="p", job_id="j")
        getattr(one, field.name).SetInParent()
        entity, fact = fact_of(one)
        assert f"{entity}_{fact}" == field.name
        subjects.add(subject_of(one))
    assert len(subjects) == len(Event.DESCRIPTOR.oneofs_by_name["fact"].fields)
    assert "luthier.event.stage.queued.p.j" in subjects


def test_headers_are_cloudevents_with_trace_and_message_id() -> None:
    assert headers_of(event()) == {
        "Nats-Msg-Id": "evt_1",
        "ce-specversion": "1.0",
        "ce-id": "evt_1",
        "ce-source": "/projects/default",
        "ce-type": "luthier.stage.queued.v1",
        "ce-time": "2026-11-21T00:00:00Z",
        "ce-sequence": "7",
        "ce-subject": "jobs/job_1",
        "content-type": "application/protobuf",
        "traceparent": TRACEPARENT,
    }


def test_an_event_survives_the_way_over_the_bus() -> None:
    sent = event()
    assert parse_event(sent.SerializeToString(), headers_of(sent)) == sent


@pytest.mark.parametrize("payload", [b"\xff\xff", b"", event(event_id="evt_2").SerializeToString()])
def test_a_payload_that_is_not_the_announced_event_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a luthier|has no fact|but the event says"):
        parse_event(payload, headers_of(event()))


def test_an_id_with_a_line_break_reaches_no_header() -> None:
    with pytest.raises(ValueError, match="event id"):
        headers_of(event(event_id="evt\r\nPUB x"))
