"""The harness itself: what it draws, what it reads out of a log, and what its links do to bytes."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from luthier.v1 import event_pb2 as events
from luthier.v1.event_pb2 import Event
from tests.chaos.cluster import Shape
from tests.chaos.faults import FAULTS, breakables
from tests.chaos.history import recoveries, replay
from tests.chaos.proxy import Mode, Proxy
from tests.chaos.schedule import make_schedule

# A connection that is over, with or without a word.
ENDED = (ConnectionResetError, asyncio.IncompleteReadError)


def test_the_same_seed_breaks_the_same_things() -> None:
    rows = breakables(Shape())
    first = make_schedule(7, 600.0, rows, mean_gap_seconds=1.0)
    assert first == make_schedule(7, 600.0, rows, mean_gap_seconds=1.0)
    assert first != make_schedule(8, 600.0, rows, mean_gap_seconds=1.0)
    assert first == sorted(first, key=lambda strike: strike.at)
    assert 400 < len(first) < 800


def test_a_long_schedule_draws_every_fault_that_is_possible_here() -> None:
    rows = breakables(Shape())
    drawn = {strike.fault for strike in make_schedule(7, 3600.0, rows, mean_gap_seconds=1.0)}
    assert drawn == {name for name, row in rows.items() if row.targets}
    assert {name for name in FAULTS if not rows[name].targets} <= {"fill a disk"}


def test_a_replayed_log_tells_states_fences_and_ends() -> None:
    told = replay(_log())
    assert told.jobs["j"].state == "SUCCEEDED"
    assert (told.jobs["j"].num_ends, told.stages["s"].num_successes) == (1, 1)
    assert (told.stages["s"].attempt, told.stages["s"].fences) == (2, [5, 9])


def test_recovery_is_the_time_from_the_kill_to_the_next_start_of_that_stage() -> None:
    assert recoveries(_log(), [(12.0, "w1")]) == [8.0]
    assert recoveries(_log(), [(12.0, "w2"), (16.0, "w1"), (22.0, "w2")]) == []


def _log() -> list[Event]:
    """One stage that was started at 10 s, lost at 15 s, started elsewhere at 20 s and done at 25 s."""
    facts = [
        (0, {"job_created": events.JobCreated(name="job", stage_names=["only"])}),
        (1, {"stage_queued": events.StageQueued(stage_id="s")}),
        (10, {"stage_started": events.StageStarted(stage_id="s", worker_id="w1", attempt=1, fence=5)}),
        (10, {"job_started": events.JobStarted()}),
        (15, {"stage_retried": events.StageRetried(stage_id="s", attempt=1)}),
        (20, {"stage_started": events.StageStarted(stage_id="s", worker_id="w2", attempt=2, fence=9)}),
        (25, {"stage_succeeded": events.StageSucceeded(stage_id="s", attempt=2)}),
        (25, {"job_succeeded": events.JobSucceeded()}),
    ]
    made = [Event(sequence=number, job_id="j", **fact) for number, (_, fact) in enumerate(facts, 1)]
    for event, (seconds, _) in zip(made, facts, strict=True):
        event.time.FromSeconds(seconds)
    return made


@pytest.fixture
async def link(free_port: Callable[[], int]) -> AsyncIterator[tuple[Proxy, int]]:
    """A proxy before a server that echoes, and its port."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = free_port()
    proxy = Proxy(server.sockets[0].getsockname()[1], port)
    await proxy.start()
    yield proxy, port
    await proxy.close()
    server.close()


async def test_a_link_passes_bytes_on(link: tuple[Proxy, int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", link[1])
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()


async def test_a_link_that_is_cut_ends_its_connections_and_takes_no_new_ones(link: tuple[Proxy, int]) -> None:
    proxy, port = link
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    await reader.readexactly(5)
    proxy.mode = Mode.CUT
    with pytest.raises(ENDED):
        await reader.readexactly(1)
    with pytest.raises(ENDED):
        await (await asyncio.open_connection("127.0.0.1", port))[0].readexactly(1)


async def test_a_half_open_link_swallows_and_is_closed_once_it_works_again(link: tuple[Proxy, int]) -> None:
    proxy, port = link
    proxy.mode = Mode.HALF_OPEN
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.readexactly(1)
    proxy.mode = Mode.PASS
    with pytest.raises(ENDED):
        await reader.readexactly(1)
