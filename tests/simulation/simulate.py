"""One run of a simulated world: faults for a while, then quiet, then the invariants.

python -m tests.simulation --seeds 1000          # from 0 on; prints seeds per second
python -m tests.simulation --first 17 --trace    # one seed, every line of its trace
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from coordinator.graph import JOB_TERMINAL
from luthier.spec.plan import NEEDS
from tests.simulation import invariants
from tests.simulation.actors import ACTIVE_SECONDS, jump, person, reconcile, relay
from tests.simulation.faults import QUIET, Faults
from tests.simulation.workers import Worker
from tests.simulation.world import NUM_COORDINATORS, World

KINDS = frozenset(NEEDS)
# Whatever waits, waits for a clock that is at most two hours behind, or for a quarantine of one hour.
PATIENCE_SECONDS = 4 * 3600.0
ROUND_SECONDS = 60.0


class SeedFailedError(AssertionError):
    """An invariant does not hold; says how to see it again."""


def simulate(seed: int, faults: Faults | None = None, log: list[str] | None = None) -> str:
    """Runs one world to its end and returns the hash of its trace.

    Raises:
        SeedFailedError: an invariant does not hold.
    """
    world = World(seed, faults or Faults())
    world.log = log
    try:
        with _silent_coordinator():
            _run(world)
        invariants.check(world.store.tables, world.accepted)
    except Exception as error:  # whatever a seed meets is told together with the seed
        replay = f"python -m tests.simulation --first {seed} --trace"
        raise SeedFailedError(f"seed {seed}: {type(error).__name__}: {error}; see it again: {replay}") from error
    finally:
        world.scheduler.close()
    return world.trace.hexdigest()


def simulate_all(seeds: Iterable[int]) -> int:
    """Runs many worlds; how many there were."""
    return sum(1 for seed in seeds if simulate(seed))


def _run(world: World) -> None:
    scheduler = world.scheduler
    for number in range(NUM_COORDINATORS):
        scheduler.spawn(reconcile(world), f"reconciler {number}", 0.7 * number)
    world.relay = scheduler.spawn(relay(world), "relay")
    scheduler.spawn(jump(world), "clock")
    world.num_workers = world.random.randint(1, 4)
    for number in range(world.num_workers):
        worker = Worker(world, f"worker-{number}", KINDS - {"deploy", "export"} if number == 1 else KINDS)
        worker.task = scheduler.spawn(worker.run(), worker.worker_id)
    people = [scheduler.spawn(person(world, n), f"person {n}") for n in range(world.random.randint(1, 3))]
    scheduler.run(ACTIVE_SECONDS)
    world.faults = QUIET
    while not (all(one.is_done for one in people) and _is_settled(world)):
        assert scheduler.now < ACTIVE_SECONDS + PATIENCE_SECONDS, f"something waits for ever: {_open_stages(world)}"
        scheduler.run(scheduler.now + ROUND_SECONDS)
        invariants.check_leases(world.store.tables, world.clock())


def _is_settled(world: World) -> bool:
    return not world.unpublished and all(job.state in JOB_TERMINAL for job in world.store.tables.job.values())


def _open_stages(world: World) -> list[str]:
    return [f"{row.stage_id} {row.state}" for row in world.store.tables.stage.values() if row.finished_time is None]


@contextmanager
def _silent_coordinator() -> Iterator[None]:
    """Its warnings are the point here, and not worth a line each."""
    log = logging.getLogger("coordinator")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
