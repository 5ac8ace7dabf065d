"""EventService through a real coordinator: the log is dense, can be resumed, and can be followed."""

from typing import Any

import grpc
import pytest

from luthier.v1 import event_service_pb2 as pb
from luthier.v1.event_service_pb2_grpc import EventServiceStub
from luthier.v1.job_service_pb2 import CancelJobRequest


async def list_events(coordinator: Any, **fields: Any) -> pb.ListEventsResponse:
    stub: Any = EventServiceStub(coordinator.channel)
    return await stub.ListEvents(pb.ListEventsRequest(**fields), metadata=coordinator.metadata)


async def test_a_whole_job_tells_its_story_in_order(coordinator: Any, worker: Any) -> None:
    job = await worker.finish_job((await worker.create_job()).job_id)
    reply = await list_events(coordinator, job_id=job.job_id)
    facts = [event.WhichOneof("fact") for event in reply.events]
    assert facts[:4] == ["job_created", "stage_queued", "stage_started", "job_started"]
    assert facts[-4:] == ["stage_started", "stage_succeeded", "deployment_activated", "job_succeeded"]
    assert facts.count("stage_succeeded") == 5
    assert "model_registered" in facts
    assert [event.sequence for event in reply.events] == list(range(1, len(facts) + 1))
    assert {event.project_id for event in reply.events} == {"default"}
    assert reply.is_last_page


async def test_pages_resume_from_a_sequence(coordinator: Any, worker: Any) -> None:
    first, second = await worker.create_job(), await worker.create_job()
    page = await list_events(coordinator, page_size=3)
    assert [event.sequence for event in page.events] == [1, 2, 3]
    assert not page.is_last_page
    rest = await list_events(coordinator, after_sequence=3)
    assert [event.sequence for event in rest.events] == [4]
    assert rest.is_last_page
    of_second = await list_events(coordinator, job_id=second.job_id)
    assert {event.job_id for event in of_second.events} == {second.job_id} != {first.job_id}


async def test_a_subscriber_gets_what_was_and_then_what_comes(coordinator: Any, worker: Any) -> None:
    job = await worker.create_job()
    stub: Any = EventServiceStub(coordinator.channel)
    stream = stub.SubscribeEvents(pb.SubscribeEventsRequest(after_sequence=1), metadata=coordinator.metadata)
    facts = []
    replies = aiter(stream)
    opening = await anext(replies)
    assert not opening.HasField("event"), "the subscription is confirmed before there is anything to say"
    async for reply in replies:
        facts.append(reply.event.WhichOneof("fact"))
        if facts == ["stage_queued"]:
            await worker.jobs.CancelJob(CancelJobRequest(job_id=job.job_id), metadata=worker.metadata)
        if facts[-1] == "job_cancelled":
            break
    stream.cancel()
    assert facts == ["stage_queued", *["stage_cancelled"] * 5, "job_cancelled"]


async def test_another_project_s_log_is_its_own(coordinator: Any, worker: Any) -> None:
    await worker.create_job()
    stub: Any = EventServiceStub(coordinator.channel)
    elsewhere = (coordinator.metadata[0], ("x-luthier-project", "other"))
    reply = await stub.ListEvents(pb.ListEventsRequest(), metadata=elsewhere)
    assert list(reply.events) == []


async def test_a_negative_page_is_refused(coordinator: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await list_events(coordinator, page_size=-1)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
