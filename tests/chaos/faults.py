"""What can be broken, as one table: a new fault is one function and one row.

A fault does its damage, waits for as long as it lasts, and takes it back where an init system would not. It returns
how many processes it killed.
"""

import asyncio
import random
import shutil
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial

import nats
import psutil
from nats.js.errors import NotFoundError

from luthier.subjects import STAGES_STREAM
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.proxy import Mode
from tests.chaos.schedule import Breakable

# Everything that is compared with the database's clock.
_MOMENTS = {
    "stage": ("lease_until", "claimable_time", "wake_time", "progress_time"),
    "worker": ("heartbeat_time", "quarantined_until"),
    "outbox": ("create_time", "published_time"),
}
CLOCK_JUMPS_SECONDS = (-4.0, 4.0, 3600.0)
COPIES = 3


async def kill(cluster: Cluster, target: str, seconds: float, number: signal.Signals = signal.SIGKILL) -> int:
    """Ends a service, which is started again after `seconds`."""
    return int(cluster.services[target].end(number, pause=seconds))


async def kill_runner(cluster: Cluster, target: str, seconds: float) -> int:
    """Kills what a worker has started, not the worker."""
    return _kill_all(cluster.services[target].kin())


async def kill_with_runner(cluster: Cluster, target: str, seconds: float) -> int:
    """Kills a worker and what it has started, in one go."""
    kin = cluster.services[target].kin()
    return await kill(cluster, target, seconds) + _kill_all(kin)


async def freeze(cluster: Cluster, target: str, seconds: float) -> int:
    """Stops a service as a debugger or an overloaded machine would, and lets it go on."""
    service = cluster.services[target]
    frozen = [psutil.Process(service.pid)] if service.pid is not None else []
    # Its server processes are PostgreSQL; a worker's runner is not the worker.
    frozen += service.kin() if target == "postgres" else []
    for process in frozen:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    await asyncio.sleep(seconds)
    for process in frozen:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    return 0


async def wipe(cluster: Cluster, target: str, seconds: float) -> int:
    """NATS comes back with nothing: no streams, no consumers, no messages."""
    store = cluster.home.nats / "jetstream"
    forget = partial(shutil.rmtree, store, ignore_errors=True)
    return int(cluster.services[target].end(pause=seconds, while_down=forget))


async def delete_stream(cluster: Cluster, target: str, seconds: float) -> int:
    """An operator deletes a stream."""
    async with asyncio.timeout(10), await nats.connect(cluster.nats_url, allow_reconnect=False) as client:
        with suppress(NotFoundError):
            await client.jetstream().delete_stream(target.removeprefix("stream:"))
    return 0


async def delete_consumers(cluster: Cluster, target: str, seconds: float) -> int:
    """An operator deletes every consumer of a stream."""
    name = target.removeprefix("stream:")
    async with asyncio.timeout(10), await nats.connect(cluster.nats_url, allow_reconnect=False) as client:
        with suppress(NotFoundError):
            for consumer in await client.jetstream().consumers_info(name):
                await client.jetstream().delete_consumer(name, consumer.name)
    return 0


async def break_link(cluster: Cluster, target: str, seconds: float, mode: Mode) -> int:
    """Puts a connection into `mode`."""
    cluster.links[target].mode = mode
    await asyncio.sleep(seconds)
    cluster.links[target].mode = Mode.PASS
    return 0


async def fill_disk(cluster: Cluster, target: str, seconds: float) -> int:
    """Leaves no room, then all of it again."""
    disk = cluster.disks[target]
    await asyncio.to_thread(disk.fill)
    await asyncio.sleep(seconds)
    disk.free()
    return 0


async def repeat_wake_ups(cluster: Cluster, target: str, seconds: float) -> int:
    """Every wake-up that was ever sent comes three times more, in another order and without a message id."""
    database = await cluster.database()
    try:
        rows = await database.fetch("SELECT subject, payload FROM outbox WHERE sequence IS NULL")
    finally:
        await database.close()
    messages = [(row["subject"], row["payload"]) for row in rows] * COPIES
    random.shuffle(messages)
    async with asyncio.timeout(20), await nats.connect(cluster.nats_url, allow_reconnect=False) as client:
        for subject, payload in messages:
            await client.publish(subject, payload)
        await client.flush()
    return 0


async def jump_clock(cluster: Cluster, target: str, seconds: float) -> int:
    """The database's clock jumps, which to whoever reads it is the same as every stored time jumping the other way."""
    interval = f"'{random.choice(CLOCK_JUMPS_SECONDS)} seconds'"
    database = await cluster.database()
    try:
        async with database.transaction():
            for table, names in _MOMENTS.items():
                await database.execute(
                    f"UPDATE {table} SET " + ", ".join(f"{name} = {name} - interval {interval}" for name in names)
                )
    finally:
        await database.close()
    return 0


def _kill_all(processes: list[psutil.Process]) -> int:
    num_killed = 0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
            num_killed += 1
    return num_killed


@dataclass(frozen=True)
class Fault:
    """One row of the table."""

    strike: Callable[[Cluster, str, float], Awaitable[int]]
    targets: str
    """Pattern of names, see cluster.py."""
    weight: float
    seconds: tuple[float, float] = (0.0, 0.0)
    """Shortest and longest; negative numbers count in leases."""


_LINKS = "[cgw]*:*"
_DOWN = (0.0, 2.0)
_PAST_LEASE = (-1.2, -2.0)
_BROKEN = (0.5, -2.0)

FAULTS: dict[str, Fault] = {
    "kill a coordinator": Fault(kill, "coordinator-?", 6, _DOWN),
    "kill the gateway": Fault(kill, "gateway", 2, _DOWN),
    "kill a worker": Fault(kill, "worker-?", 8, _DOWN),
    "kill a runner": Fault(kill_runner, "worker-?", 8),
    "kill a worker with its runner": Fault(kill_with_runner, "worker-?", 6, _DOWN),
    "kill PostgreSQL": Fault(kill, "postgres", 2, _DOWN),
    "stop PostgreSQL at once": Fault(partial(kill, number=signal.SIGQUIT), "postgres", 2, _DOWN),
    "kill NATS": Fault(kill, "nats", 2, _DOWN),
    "wipe NATS": Fault(wipe, "nats", 1, _DOWN),
    "delete a stream": Fault(delete_stream, "stream:*", 1),
    "delete the consumers": Fault(delete_consumers, f"stream:{STAGES_STREAM}", 1),
    "freeze a worker": Fault(freeze, "worker-?", 3, _PAST_LEASE),
    "freeze a coordinator": Fault(freeze, "coordinator-?", 2, _PAST_LEASE),
    "freeze PostgreSQL": Fault(freeze, "postgres", 0.5, _PAST_LEASE),
    "freeze NATS": Fault(freeze, "nats", 0.5, _PAST_LEASE),
    "cut a link": Fault(partial(break_link, mode=Mode.CUT), _LINKS, 3, _BROKEN),
    "half-open a link": Fault(partial(break_link, mode=Mode.HALF_OPEN), _LINKS, 2, _BROKEN),
    "slow a link": Fault(partial(break_link, mode=Mode.SLOW), _LINKS, 2, _BROKEN),
    "fill a disk": Fault(fill_disk, "disk:*", 1, (0.5, 3.0)),
    "repeat the wake-ups": Fault(repeat_wake_ups, f"stream:{STAGES_STREAM}", 1),
    "jump the database's clock": Fault(jump_clock, "postgres", 1),
}


def breakables(shape: Shape) -> dict[str, Breakable]:
    """The table as the schedule needs it: names of targets, and times in seconds."""

    def seconds(value: float) -> float:
        return value if value >= 0 else -value * shape.lease_seconds

    return {
        name: Breakable(
            [target for target in shape.names if fnmatch(target, fault.targets)],
            fault.weight,
            (seconds(fault.seconds[0]), seconds(fault.seconds[1])),
        )
        for name, fault in FAULTS.items()
    }
