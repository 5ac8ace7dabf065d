"""A worker in a gang: nothing runs before it has formed, the leader alone records, a member leaves."""

import asyncio
import socket
from pathlib import Path

import pytest

from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.worker_service_pb2 import GangPlace, StageVerdict
from workers.attempt import Attempts
from workers.capabilities import interface_of
from workers.delivery import Taken
from workers.drain import Drain
from workers.gang import keep_port, let_others_speak
from workers.lease import Heartbeats, LeaseEnd

LEADER, MEMBER = 0, 1


async def _nothing() -> None:
    pass


@pytest.fixture
def drain():
    return Drain()


@pytest.fixture
async def heartbeats(fake_coordinator):
    heartbeats = Heartbeats(fake_coordinator, "worker-1", lease=20, interval=0.05, on_forgotten=_nothing)
    beating = asyncio.create_task(heartbeats.run())
    yield heartbeats
    beating.cancel()


@pytest.fixture
def run(tmp_path: Path, fake_coordinator, drain, assign, runner_argv, runner_environment, heartbeats):
    """Runs the part of a worker in an attempt at a tiny stage, as a task."""
    attempts = Attempts(
        coordinator=fake_coordinator,
        worker_id="worker-1",
        heartbeats=heartbeats,
        drain=drain,
        runner_argv=runner_argv,
        environment=runner_environment,
        work_root=tmp_path / "work",
        drain_grace=0.5,
    )

    def run(kind: str, number: int) -> asyncio.Task[Taken | None]:
        assignment = assign(kind)
        assignment.gang.CopyFrom(GangPlace(number=number))
        return asyncio.create_task(attempts.run(Taken(assignment, asyncio.get_running_loop().time())))

    return run


def has_begun(tmp_path: Path) -> bool:
    return any((tmp_path / "work").glob("*"))


async def several_beats(fake) -> None:
    so_far = len(fake.heartbeats)
    await fake.until(lambda fake: len(fake.heartbeats) > so_far + 2)


async def test_the_leader_says_where_to_meet_and_waits_for_the_others(run, fake_coordinator, tmp_path: Path):
    task = run("echo", LEADER)
    await several_beats(fake_coordinator)
    host, _, port = fake_coordinator.heartbeats[-1].stages[0].address.rpartition(":")
    assert host == "127.0.0.1"
    with pytest.raises(OSError, match="in use"), socket.socket() as other:
        other.bind((host, int(port)))
    assert not has_begun(tmp_path)
    fake_coordinator.place = GangPlace(number=0, num_workers=2, address=f"{host}:{port}")
    await task
    assert len(fake_coordinator.completed) == 1
    assert fake_coordinator.left == []


async def test_a_member_leaves_when_its_part_is_done_and_records_nothing(run, fake_coordinator):
    fake_coordinator.place = GangPlace(number=1, num_workers=2, address="127.0.0.1:1")
    assert await run("echo", MEMBER) is None
    [left] = fake_coordinator.left
    assert (left.stage_id, left.fence, left.worker_id, left.HasField("failure")) == ("stage-1", 7, "worker-1", False)
    assert fake_coordinator.completed == fake_coordinator.failed == []
    assert {stage.address for beat in fake_coordinator.heartbeats for stage in beat.stages} == {""}


async def test_a_member_that_fails_says_why(run, fake_coordinator):
    fake_coordinator.place = GangPlace(number=1, num_workers=2, address="127.0.0.1:1")
    await run("config", MEMBER)
    assert fake_coordinator.left[0].failure.failure_class == FailureClass.FAILURE_CLASS_CONFIG
    assert fake_coordinator.failed == []


@pytest.mark.parametrize("number", [LEADER, MEMBER])
async def test_who_has_to_leave_while_the_gang_forms_gives_its_place_back(
    run, fake_coordinator, drain, number, tmp_path: Path
):
    task = run("echo", number)
    await several_beats(fake_coordinator)
    drain.signal()
    await task
    [given_back] = [*fake_coordinator.failed, *fake_coordinator.left]
    assert given_back.failure.failure_class == FailureClass.FAILURE_CLASS_PREEMPTED
    assert len(fake_coordinator.left) == number
    assert not has_begun(tmp_path)


async def test_a_gang_that_is_given_up_sets_its_workers_free(run, fake_coordinator):
    task = run("echo", MEMBER)
    await several_beats(fake_coordinator)
    fake_coordinator.verdict = StageVerdict.VERDICT_LOST_LEASE
    await task
    assert fake_coordinator.left == fake_coordinator.failed == []


async def test_who_only_misses_another_worker_lets_the_others_say_why(heartbeats, fake_coordinator, monkeypatch):
    lost = Failure(failure_class=FailureClass.FAILURE_CLASS_LOST_WORKER)
    with heartbeats.hold("stage-1", 7, asyncio.get_running_loop().time()) as lease:
        speaking = asyncio.create_task(let_others_speak(lost, lease, heartbeats))
        await several_beats(fake_coordinator)
        assert not speaking.done()
        fake_coordinator.verdict = StageVerdict.VERDICT_LOST_LEASE
        await speaking
        assert lease.ended is LeaseEnd.LOST
    fake_coordinator.verdict = StageVerdict.VERDICT_OK
    monkeypatch.setattr("workers.gang._WORD_SECONDS", 0.1)
    with heartbeats.hold("stage-1", 8, asyncio.get_running_loop().time()) as lease:
        await let_others_speak(lost, lease, heartbeats)
        assert lease.ended is None


async def test_who_knows_why_says_it_at_once(heartbeats, fake_coordinator, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workers.gang._WORD_SECONDS", 600.0)
    failure = Failure(failure_class=FailureClass.FAILURE_CLASS_OUT_OF_MEMORY)
    with heartbeats.hold("stage-1", 7, asyncio.get_running_loop().time()) as lease:
        async with asyncio.timeout(30):
            await let_others_speak(failure, lease, heartbeats)
        assert lease.ended is None


def test_a_port_is_kept_for_processes_that_share_it():
    with keep_port("127.0.0.1") as kept, socket.socket() as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ours.bind(kept.getsockname())
        ours.listen()
        assert ours.getsockname() == kept.getsockname()


def test_the_address_of_this_machine_has_an_interface():
    assert interface_of("127.0.0.1") == "lo"
    with pytest.raises(ValueError, match=r"LUTHIER_GANG_HOST is 192\.0\.2\.1"):
        interface_of("192.0.2.1")
