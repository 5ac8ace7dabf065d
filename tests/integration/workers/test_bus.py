import asyncio

import nats
import pytest
from nats.js.api import StreamConfig

from luthier.subjects import STAGES_STREAM, STREAMS, event_subject, stage_consumer, stage_subject
from luthier.v1.event_pb2 import StageReady
from workers.bus import StageQueue

TRACEPARENT = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"


@pytest.fixture
async def jetstream(nats_url):
    client = await nats.connect(nats_url)
    yield client.jetstream()
    await client.close()


@pytest.fixture
async def stream(jetstream):
    await jetstream.add_stream(StreamConfig(name=STAGES_STREAM, **STREAMS[STAGES_STREAM]))


@pytest.fixture
async def start(nats_url):
    """Starts a queue for train and evaluate on `cpu`."""
    running = []

    async def start() -> StageQueue:
        queue = StageQueue(nats_url, ["train", "evaluate"], ["cpu"], pull_seconds=0.5)
        running.append((queue, asyncio.create_task(queue.run())))
        return queue

    yield start
    for queue, task in running:
        queue.stop()
        async with asyncio.timeout(10):
            await task


async def publish(jetstream, stage_id: str, kind: str = "train", worker_class: str = "cpu") -> None:
    ready = StageReady(stage_id=stage_id, job_id="job-1", project_id="project-1")
    subject = stage_subject(kind, worker_class, "job-1")
    await jetstream.publish(subject, ready.SerializeToString(), headers={"traceparent": TRACEPARENT})


async def take(queue: StageQueue, seconds: float = 10):
    async with asyncio.timeout(seconds):
        return await queue.next()


async def num_left(jetstream) -> int:
    return (await jetstream.stream_info(STAGES_STREAM)).state.messages


async def nothing_is_left(jetstream) -> None:
    """Returns once the server has seen every acknowledgement; the worker does not wait for that."""
    async with asyncio.timeout(10):
        while await num_left(jetstream):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)


async def test_a_wake_up_arrives_with_its_trace_and_is_gone_once_settled(jetstream, stream, start):
    queue = await start()
    await publish(jetstream, "stage-1")
    wake_up = await take(queue)
    assert (wake_up.ready.stage_id, wake_up.ready.job_id, wake_up.traceparent) == ("stage-1", "job-1", TRACEPARENT)
    await wake_up.settle()
    await nothing_is_left(jetstream)


async def test_only_the_kinds_and_classes_that_were_asked_for_arrive(jetstream, stream, start):
    await publish(jetstream, "not-ours", kind="deploy")
    await publish(jetstream, "not-ours-either", worker_class="gpu")
    await publish(jetstream, "ours", kind="evaluate")
    assert (await take(await start())).ready.stage_id == "ours"
    assert await num_left(jetstream) == 3


async def test_a_wake_up_handed_back_comes_again(jetstream, stream, start):
    queue = await start()
    await publish(jetstream, "stage-1")
    await (await take(queue)).hand_back(0.2)
    assert (await take(queue)).ready.stage_id == "stage-1"


async def test_a_busy_worker_leaves_wake_ups_to_others(jetstream, stream, start):
    busy = await start()
    await publish(jetstream, "stage-1")
    await publish(jetstream, "stage-2", kind="evaluate")
    first = await take(busy)
    other = await start()
    second = await take(other)
    assert {first.ready.stage_id, second.ready.stage_id} == {"stage-1", "stage-2"}


async def test_a_deleted_consumer_is_made_again(jetstream, stream, start):
    queue = await start()
    await publish(jetstream, "stage-1")
    await (await take(queue)).settle()
    await nothing_is_left(jetstream)
    waiting = asyncio.create_task(take(queue, 30))
    await jetstream.delete_consumer(STAGES_STREAM, stage_consumer("train", "cpu"))
    await publish(jetstream, "stage-2")
    assert (await waiting).ready.stage_id == "stage-2"


async def test_a_stream_that_is_made_later_or_wiped_is_found(jetstream, start):
    queue = await start()
    waiting = asyncio.create_task(take(queue, 30))
    config = StreamConfig(name=STAGES_STREAM, **STREAMS[STAGES_STREAM])
    await jetstream.add_stream(config)
    await publish(jetstream, "stage-1")
    await (await waiting).settle()
    await nothing_is_left(jetstream)
    waiting = asyncio.create_task(take(queue, 30))
    await jetstream.delete_stream(STAGES_STREAM)
    await jetstream.add_stream(config)
    await publish(jetstream, "stage-2")
    assert (await waiting).ready.stage_id == "stage-2"


async def test_a_message_that_is_no_wake_up_is_handed_on_and_stays_until_settled(jetstream, stream, start):
    subject = stage_subject("train", "cpu", "job-1")
    await jetstream.publish(subject, b"\xff\xff nonsense", headers={"traceparent": TRACEPARENT})
    wake_up = await take(await start())
    assert wake_up.ready is None
    assert (wake_up.message.subject, wake_up.message.data) == (subject, b"\xff\xff nonsense")
    assert wake_up.headers == {"traceparent": TRACEPARENT}
    assert await num_left(jetstream) == 1
    await wake_up.settle()
    await nothing_is_left(jetstream)


async def test_events_of_the_job_at_hand_arrive_as_hints_and_no_others(jetstream, stream, start, nats_url):
    queue = await start()
    await publish(jetstream, "stage-1")
    await take(queue)
    hints = asyncio.Queue()
    client = await nats.connect(nats_url)
    async with queue.job_events("project-1", "job-1", lambda: hints.put_nowait("hint")):
        await client.flush()
        await client.publish(event_subject("job", "cancelled", "project-1", "job-2"))
        await client.publish(event_subject("stage", "started", "project-1", "job-1"))
        await client.publish(event_subject("job", "cancelled", "project-1", "job-1"))
        async with asyncio.timeout(10):
            await hints.get()
    await client.publish(event_subject("job", "resumed", "project-1", "job-1"))
    await client.close()
    assert hints.empty()


async def test_a_stopped_queue_has_nothing_more(jetstream, stream, start):
    queue = await start()
    waiting = asyncio.create_task(take(queue))
    await asyncio.sleep(0)
    queue.stop()
    assert await waiting is None
    assert await queue.next() is None
