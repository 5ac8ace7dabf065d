"""One run of chaos: load and faults at once, then quiet, then every invariant."""

import asyncio
import random
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from nats.errors import Error as NatsError

from tests.chaos.cluster import Cluster, Shape, running
from tests.chaos.faults import FAULTS, breakables
from tests.chaos.history import TERMINAL, recoveries, replay
from tests.chaos.invariants import read_events, violations, wait_until_quiet
from tests.chaos.load import Users
from tests.chaos.report import Report
from tests.chaos.schedule import Strike, make_schedule

# A fault that needs PostgreSQL or NATS may find them broken by another one.
NOT_NOW = (OSError, TimeoutError, NatsError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass(frozen=True)
class Plan:
    """How much of what."""

    seed: int
    seconds: float
    """Of faults."""
    num_open: int = 6
    mean_gap_seconds: float = 3.0
    real_every: int = 10
    quiet_seconds: float = 300.0
    """Longest time that everything may take to end after the last fault."""
    logs: Path | None = None
    """Where the processes' logs are kept when a promise was broken."""
    shape: Shape = field(default_factory=Shape)

    @property
    def schedule(self) -> list[Strike]:
        """What is broken when."""
        return make_schedule(self.seed, self.seconds, breakables(self.shape), mean_gap_seconds=self.mean_gap_seconds)

    def explain(self) -> str:
        """What was broken when, and the command that breaks it again."""
        command = (
            f"make chaos SEED={self.seed} SECONDS={self.seconds:g} GAP={self.mean_gap_seconds:g} OPEN={self.num_open}"
        )
        return "\n".join([f"replay it: {command}", *map(str, self.schedule)])


class Striker:
    """Carries a schedule out, and remembers what it hit."""

    def __init__(self, cluster: Cluster) -> None:
        self.num_kills = 0
        self.strikes: Counter[str] = Counter()
        self.worker_kills: list[tuple[float, str]] = []
        """Unix time and worker."""
        self._cluster = cluster

    async def run(self, schedule: Sequence[Strike]) -> None:
        """Returns when the last fault is over."""
        started = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for strike in schedule:
                await asyncio.sleep(max(0.0, started + strike.at - time.monotonic()))
                tasks.create_task(self._strike(strike))

    async def _strike(self, strike: Strike) -> None:
        moment = time.time()
        with suppress(*NOT_NOW):
            num_killed = await FAULTS[strike.fault].strike(self._cluster, strike.target, strike.seconds)
            self.num_kills += num_killed
            self.strikes[strike.fault] += 1
            if num_killed and strike.target in self._cluster.shape.workers:
                self.worker_kills.append((moment, strike.target))


async def run(plan: Plan, model: Path | None) -> Report:
    """Breaks a platform of its own; `model` is a base model for jobs of real stages."""
    async with running(plan.shape) as cluster:
        striker = Striker(cluster)
        users = Users(cluster, random.Random(plan.seed), model)
        users.start(num_open=plan.num_open, real_every=plan.real_every)
        try:
            await striker.run(plan.schedule)
            quiet_from = time.monotonic()
            found = await _settle(users, plan.quiet_seconds)
            quiet_seconds = time.monotonic() - quiet_from
        finally:
            await users.stop()
        found += await violations(cluster, users.accepted)
        if found and plan.logs is not None:
            shutil.copytree(cluster.home.logs, plan.logs, dirs_exist_ok=True)
        return await _report(plan, striker, users, found, quiet_seconds)


async def _settle(users: Users, seconds: float) -> list[str]:
    try:
        async with asyncio.timeout(seconds):
            await users.submit_no_more()
            await wait_until_quiet(users.cluster)
    except TimeoutError:
        return [f"not everything has ended {seconds:.0f} s after the last fault"]
    return await users.follower.misses()


async def _report(plan: Plan, striker: Striker, users: Users, found: list[str], quiet_seconds: float) -> Report:
    database = await users.cluster.database()
    try:
        events = await read_events(database)
    finally:
        await database.close()
    told = replay(events)
    present = [told.jobs[job_id].state for job_id in users.accepted if job_id in told.jobs]
    return Report(
        seed=plan.seed,
        seconds=plan.seconds,
        quiet_seconds=quiet_seconds,
        num_jobs=len(users.accepted),
        num_attempts=sum(len(story.fences) for story in told.stages.values()),
        num_stages_succeeded=sum(story.state == "SUCCEEDED" for story in told.stages.values()),
        num_kills=striker.num_kills,
        strikes=dict(striker.strikes),
        num_lost=len(users.accepted) - sum(state in TERMINAL for state in present),
        num_doubled=sum(story.num_successes > 1 for story in told.stages.values()),
        recovery_seconds=recoveries(events, striker.worker_kills),
        num_events=len(users.follower.seen),
        num_resumed=users.follower.num_resumed,
        left_out=[name for name, row in breakables(plan.shape).items() if not row.targets],
        violations=found,
    )
