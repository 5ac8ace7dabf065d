import asyncio

import pytest

from luthier.errors import ConflictError, NotFoundError, UnavailableError
from luthier.v1.stage_pb2 import Progress
from luthier.v1.worker_service_pb2 import StageVerdict
from workers.lease import Heartbeats, LeaseEnd

LEASE = 1.2
"""Seconds; long enough that a busy machine does not end it."""


async def _nothing() -> None:
    pass


@pytest.fixture
async def heartbeats(fake_coordinator):
    """Heartbeats every 50 ms, running."""
    heartbeats = Heartbeats(fake_coordinator, "worker-1", lease=LEASE, interval=0.05, on_forgotten=_nothing)
    task = asyncio.create_task(heartbeats.run())
    yield heartbeats
    task.cancel()


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_an_idle_worker_beats_too(heartbeats, fake_coordinator):
    await fake_coordinator.until(lambda fake: len(fake.heartbeats) >= 3)
    assert fake_coordinator.heartbeats[0].worker_id == "worker-1"
    assert not fake_coordinator.heartbeats[0].stages


async def test_a_renewed_lease_outlives_its_patience_and_carries_progress(heartbeats, fake_coordinator):
    with heartbeats.hold("stage-1", 7, now()) as lease:
        lease.progress = Progress(step=5)
        await asyncio.sleep(1.5 * LEASE)
        assert lease.ended is None
    [stage] = fake_coordinator.heartbeats[-1].stages
    assert (stage.stage_id, stage.fence, stage.progress.step) == ("stage-1", 7, 5)


@pytest.mark.parametrize(
    ("verdict", "why"),
    [
        (StageVerdict.VERDICT_CANCEL, LeaseEnd.CANCELLED),
        (StageVerdict.VERDICT_LOST_LEASE, LeaseEnd.LOST),
        (StageVerdict.VERDICT_UNSPECIFIED, LeaseEnd.EXPIRED),
        (UnavailableError("down"), LeaseEnd.EXPIRED),
    ],
)
async def test_the_verdict_or_its_absence_ends_a_lease(heartbeats, fake_coordinator, verdict, why):
    fake_coordinator.verdict = verdict
    with heartbeats.hold("stage-1", 7, now()) as lease:
        async with asyncio.timeout(30):
            await lease.wait_ended()
        assert lease.ended is why


async def test_a_pause_renews_the_lease_and_asks_to_stop(heartbeats, fake_coordinator):
    fake_coordinator.verdict = StageVerdict.VERDICT_PAUSE
    with heartbeats.hold("stage-1", 7, now()) as lease:
        async with asyncio.timeout(30):
            await lease.pause_asked.wait()
        started = now()
        await fake_coordinator.until(lambda fake: now() > started + 1.5 * LEASE)
        assert lease.ended is None


async def test_hints_bring_the_next_heartbeat_forward_but_never_a_storm(fake_coordinator):
    heartbeats = Heartbeats(fake_coordinator, "worker-1", lease=300, interval=100, on_forgotten=_nothing)
    task = asyncio.create_task(heartbeats.run())
    await fake_coordinator.until(lambda fake: len(fake.heartbeats) == 1)
    started = now()
    async with asyncio.timeout(30):
        while len(fake_coordinator.heartbeats) < 4:
            heartbeats.hurry()
            await asyncio.sleep(0)
    assert now() - started > 0.5, "three more, none within a quarter of a second of the one before"
    task.cancel()


async def test_patience_is_three_quarters_of_the_lease(heartbeats, fake_coordinator):
    fake_coordinator.verdict = UnavailableError("down")
    started = now()
    with heartbeats.hold("stage-1", 7, started) as lease:
        async with asyncio.timeout(30):
            await lease.wait_ended()
    assert now() - started >= 0.75 * LEASE
    assert lease.ended is LeaseEnd.EXPIRED


async def test_patience_runs_from_the_claim_not_from_its_reply(heartbeats, fake_coordinator):
    fake_coordinator.verdict = UnavailableError("down")
    with heartbeats.hold("stage-1", 7, now() - 10) as lease:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert lease.ended is LeaseEnd.EXPIRED


async def test_an_ok_that_was_asked_for_before_a_long_sleep_renews_nothing(heartbeats, fake_coordinator):
    fake_coordinator.verdict = UnavailableError("down")
    with heartbeats.hold("stage-1", 7, now()) as lease:
        lease.renew(now() - 10)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert lease.ended is LeaseEnd.EXPIRED


async def test_a_verdict_on_a_released_lease_ends_nothing(heartbeats, fake_coordinator):
    with heartbeats.hold("stage-1", 7, now()) as lease:
        pass
    fake_coordinator.verdict = StageVerdict.VERDICT_LOST_LEASE
    num_seen = len(fake_coordinator.heartbeats)
    await fake_coordinator.until(lambda fake: len(fake.heartbeats) > num_seen + 1)
    assert lease.ended is None


async def test_draining_is_announced_at_once(fake_coordinator):
    heartbeats = Heartbeats(fake_coordinator, "worker-1", lease=300, interval=100, on_forgotten=_nothing)
    task = asyncio.create_task(heartbeats.run())
    await fake_coordinator.until(lambda fake: len(fake.heartbeats) == 1)
    heartbeats.drain()
    await fake_coordinator.until(lambda fake: len(fake.heartbeats) == 2)
    assert [beat.is_draining for beat in fake_coordinator.heartbeats] == [False, True]
    task.cancel()


async def test_a_coordinator_that_forgot_the_worker_is_told_again(fake_coordinator):
    introduced = asyncio.Event()

    async def introduce() -> None:
        introduced.set()

    heartbeats = Heartbeats(fake_coordinator, "worker-1", lease=0.4, interval=0.05, on_forgotten=introduce)
    fake_coordinator.verdict = NotFoundError("who?")
    await heartbeats.beat()
    assert introduced.is_set()


async def test_a_refusal_of_the_worker_itself_is_not_swallowed(fake_coordinator):
    heartbeats = Heartbeats(fake_coordinator, "worker-1", lease=0.4, interval=0.05, on_forgotten=_nothing)
    fake_coordinator.verdict = ConflictError("another worker has this id")
    with pytest.raises(ConflictError):
        await heartbeats.beat()
