"""Who acts in a simulated world besides the workers: coordinators' loops, the relay, people, the clock."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

from coordinator.commands.jobs import accept_job, cancel_job, pause_job, resume_job
from coordinator.graph import JOB_TERMINAL
from coordinator.job_store import JobStore
from coordinator.reconcile import Reconciler
from luthier.errors import ConflictError
from luthier.spec import parse_spec
from luthier.v1.job_pb2 import Job
from tests.simulation.faults import CoordinatorDiedError
from tests.simulation.memory_store import PROJECT
from tests.simulation.scheduler import FOREVER, sleep
from tests.simulation.world import LATEST_CALL_SECONDS, MAX_SKEW_SECONDS, TERMS, World

_SPEC = {"name": "tickets", "base_model": "tiny", "data": {"path": "/d.jsonl"}}
SPECS = [
    parse_spec(json.dumps(_SPEC | changes))
    for changes in (
        {"resources": {"progress_timeout_seconds": 60}},
        {"resources": {"progress_timeout_seconds": 60, "max_attempts": 2}, "deploy": {}},
        {"resources": {"progress_timeout_seconds": 600, "max_attempts": 8}, "deploy": {}},
    )
]
# Of several workers each. No job asks for more than there are: it would wait for ever.
SHARED_SPECS = {
    num_workers: parse_spec(json.dumps(_SPEC | {"resources": {"progress_timeout_seconds": 60, **gang}}))
    for num_workers, gang in {
        1: {"num_workers": 3, "min_workers": 1, "max_attempts": 8},
        2: {"num_workers": 2, "max_attempts": 8},
        3: {"num_workers": 4, "min_workers": 3, "max_attempts": 8},
    }.items()
}
RECONCILE_SECONDS = 3.0
# Nothing is urgent in the quiet phase, and it may last until a clock that was an hour ahead is caught up with.
QUIET_RECONCILE_SECONDS = 40.0
ACTIVE_SECONDS = 120.0

Command = Callable[[JobStore, str, str], Awaitable[Job]]


async def reconcile(world: World) -> None:
    """The reconciler of one coordinator; it is started again when it dies."""
    reconciler = Reconciler(world.store, TERMS, timedelta(seconds=RECONCILE_SECONDS))
    while True:
        try:
            await reconciler.step()
        except CoordinatorDiedError:
            await sleep(world.random.uniform(0.5, 5.0))
        await sleep(QUIET_RECONCILE_SECONDS if world.is_quiet else RECONCILE_SECONDS)


async def relay(world: World) -> None:
    """Takes the outbox to the bus; a row whose mark is lost goes out again."""
    while True:
        rows, world.unpublished = world.unpublished, []
        for row in rows:
            if row.sequence is None:
                world.bus.publish(row)
            await sleep(0.001)
            if world.chance(world.faults.mark_lost):
                world.unpublished.append(row)
            else:
                row.published_time = world.clock()
        await sleep(1.0 if world.unpublished else FOREVER)


async def jump(world: World) -> None:
    """Sets the database's clock wrong, forwards and back."""
    while not world.is_quiet:
        await sleep(20.0)
        if world.chance(world.faults.clock_jumps / 3):
            world.skew = timedelta(seconds=world.random.uniform(-MAX_SKEW_SECONDS, MAX_SKEW_SECONDS))
            world.note("clock", f"skew {world.skew}")


async def person(world: World, number: int) -> None:
    """Submits one job, perhaps meddles with it, and leaves it running."""
    who = f"person {number}"
    await sleep(world.random.uniform(0.0, ACTIVE_SECONDS / 2))
    fitting = [spec for fewest, spec in SHARED_SPECS.items() if fewest <= world.num_workers]
    spec = world.random.choice([*SPECS, *fitting])

    async def submit() -> Job:
        return await accept_job(world.store, PROJECT, spec, f"request-{number}", "")

    job = await world.call_until_answered(who, submit)
    world.accepted.add(job.job_id)
    if world.chance(0.2):
        assert (await world.call_until_answered(who, submit)).job_id == job.job_id
    if world.chance(world.faults.person_interferes):
        for _ in range(world.random.randint(1, 4)):
            await sleep(world.random.uniform(0.0, ACTIVE_SECONDS / 4))
            if not world.is_quiet:
                await _command(
                    world, who, job.job_id, world.random.choices([pause_job, resume_job, cancel_job], [5, 3, 1])[0]
                )
    await sleep(max(0.0, ACTIVE_SECONDS - world.scheduler.now) + LATEST_CALL_SECONDS + 1.0)
    await _command(world, who, job.job_id, resume_job)


async def _command(world: World, who: str, job_id: str, command: Command) -> None:
    try:
        job = await world.call_until_answered(who, lambda: command(world.store, PROJECT, job_id))
        world.note(who, f"{command.__name__} {job_id}: {job.state}")
    except ConflictError:
        state = world.store.tables.job[job_id].state
        if state not in JOB_TERMINAL:
            raise
        world.note(who, f"{command.__name__} {job_id}: refused, it is {state}")
