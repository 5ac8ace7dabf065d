"""The way from a commit to JetStream: dense, repeated without harm, refilled when a stream vanishes."""

import asyncio
from datetime import timedelta
from typing import Any

from sqlmodel import col, func, select, update

from coordinator import outbox
from coordinator.commands.jobs import cancel_job
from coordinator.store.engine import Database
from coordinator.store.queries import list_event_payloads
from coordinator.store.tables import OutboxRow
from luthier.events import parse_event
from luthier.subjects import EVENTS_STREAM, EVENTS_WILDCARD, STAGES_STREAM, stage_consumer, stage_filter
from luthier.v1.event_pb2 import Event, StageReady


async def drain(relay: Any) -> None:
    while await relay.step():
        pass


async def num_messages(jetstream: Any, stream: str) -> int:
    return int((await jetstream.stream_info(stream)).state.messages)


async def test_the_sequence_is_dense_at_every_moment_under_concurrent_writers(play: Any, postgres_url: str) -> None:
    other = Database(postgres_url)
    is_done = asyncio.Event()

    async def live(one: Any) -> None:
        job = await one.create_job()
        await cancel_job(one.store, "default", job.job_id)

    async def read() -> list[int]:
        seen: list[int] = []
        while True:
            last_round = is_done.is_set()
            async with other.transaction() as session:
                payloads = await list_event_payloads(session, "default", "", seen[-1] if seen else 0, 1000)
            seen += [Event.FromString(payload).sequence for payload in payloads]
            assert seen == list(range(1, len(seen) + 1))
            if last_round:
                return seen
            await asyncio.sleep(0)

    reader = asyncio.create_task(read())
    writers = [play, type(play)(other)]
    await asyncio.gather(*(live(writers[i % 2]) for i in range(20)))
    is_done.set()
    seen = await reader
    await other.close()
    assert len(seen) == 20 * len(["created", "queued", *["cancelled"] * 4, "job cancelled"])


async def test_events_and_wake_ups_reach_their_streams_with_headers(
    play: Any, connect_relay: Any, jetstream: Any
) -> None:
    job = await play.create_job()
    await drain(await connect_relay())
    events = await jetstream.pull_subscribe(EVENTS_WILDCARD, stream=EVENTS_STREAM)
    messages = await events.fetch(2, timeout=5)
    assert [parse_event(message.data, message.headers) for message in messages] == await play.events()
    kind = ("preprocess", "cpu")
    stages = await jetstream.pull_subscribe(stage_filter(*kind), durable=stage_consumer(*kind), stream=STAGES_STREAM)
    (message,) = await stages.fetch(1, timeout=5)
    ready = StageReady.FromString(message.data)
    assert (ready.stage_id, ready.job_id, ready.project_id) == (job.stages[0].stage_id, job.job_id, "default")


async def test_what_is_published_twice_is_kept_once(play: Any, connect_relay: Any, jetstream: Any) -> None:
    relay = await connect_relay()
    await play.create_job()
    await drain(relay)
    before = await num_messages(jetstream, EVENTS_STREAM)
    async with play.database.transaction() as session:
        await session.exec(update(OutboxRow).values(published_time=None))
    await drain(relay)
    assert await num_messages(jetstream, EVENTS_STREAM) == before == 2
    assert await num_messages(jetstream, STAGES_STREAM) == 1


async def test_relays_side_by_side_share_the_rows(play: Any, connect_relay: Any, jetstream: Any) -> None:
    relays = [await connect_relay() for _ in range(3)]
    await asyncio.gather(*(play.create_job() for _ in range(20)))
    await asyncio.gather(*(drain(relay) for relay in relays))
    assert await num_messages(jetstream, EVENTS_STREAM) == 40
    async with play.database.transaction() as session:
        query = select(func.count()).select_from(OutboxRow).where(col(OutboxRow.published_time).is_(None))
        assert (await session.exec(query)).one() == 0


async def test_streams_that_vanish_are_made_again_and_refilled(
    play: Any, connect_relay: Any, jetstream: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(outbox, "STREAM_CHECK_SECONDS", 0.0)
    relay = await connect_relay()
    job = await play.create_job()
    await drain(relay)
    for name in (EVENTS_STREAM, STAGES_STREAM):
        await jetstream.delete_stream(name)
    await drain(relay)
    assert await num_messages(jetstream, EVENTS_STREAM) == 2
    assert await num_messages(jetstream, STAGES_STREAM) == 0
    await play.reconciler.step()
    await drain(relay)
    assert await num_messages(jetstream, STAGES_STREAM) == 1
    assert await play.claim(job.stages[0].stage_id) is not None


async def test_events_that_went_to_a_lost_stream_are_in_the_next_one_though_they_are_marked_after_its_making(
    play: Any, connect_relay: Any, jetstream: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(outbox, "STREAM_CHECK_SECONDS", 0.0)
    slow, other = await connect_relay(), await connect_relay()
    await drain(slow)
    await play.create_job()
    has_published, may_mark = asyncio.Event(), asyncio.Event()
    publish = outbox._publish

    async def publish_and_wait(*arguments: Any) -> Any:
        outcome = await publish(*arguments)
        has_published.set()
        await may_mark.wait()
        return outcome

    monkeypatch.setattr(outbox, "_publish", publish_and_wait)
    slow_step = asyncio.create_task(slow.step())
    await has_published.wait()
    monkeypatch.setattr(outbox, "_publish", publish)
    await jetstream.delete_stream(EVENTS_STREAM)
    other_step = asyncio.create_task(other.step())
    await asyncio.wait([other_step], timeout=0.5)
    may_mark.set()
    await asyncio.gather(slow_step, other_step)
    await drain(other)
    assert await num_messages(jetstream, EVENTS_STREAM) == 2


async def test_old_wake_ups_are_pruned_and_events_are_kept(play: Any, connect_relay: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(outbox, "STREAM_CHECK_SECONDS", 0.0)
    relay = await connect_relay()
    await play.create_job()
    await drain(relay)
    async with play.database.transaction() as session:
        old = func.clock_timestamp() - timedelta(hours=2)
        await session.exec(update(OutboxRow).values(published_time=old))
    await relay.step()
    assert await play.wake_ups() == 0
    assert await play.facts() == ["job_created", "stage_queued"]
