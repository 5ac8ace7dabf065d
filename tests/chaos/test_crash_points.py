"""A process dies at a named moment, beside others that go on: no job is lost, none runs twice, no hand is needed.

All points share one platform with jobs under way all the time; the last test waits for all of them and looks at what
is left. One point alone: `pytest tests/chaos/test_crash_points.py -k "relay.after_publish or every_promise"`.
"""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import cycle

import pytest
import pytest_asyncio

from luthier.client.aio import AsyncClient
from tests.chaos.cluster import COORDINATORS, Cluster, Shape, running
from tests.chaos.crash_points import POINTS
from tests.chaos.faults import delete_stream
from tests.chaos.invariants import violations, wait_until_quiet
from tests.chaos.load import Users
from tests.chaos.proxy import Mode
from tests.chaos.services import until

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SHAPE = Shape(num_workers=2, lease_seconds=2.0)
NUM_OPEN = 2
TRY_SECONDS = 3.0
PATIENCE_SECONDS = 120.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def users() -> AsyncIterator[Users]:
    """People with jobs on a platform of their own."""
    async with running(SHAPE) as cluster:
        users = Users(cluster, random.Random(0))
        users.start(num_open=NUM_OPEN)
        yield users
        await users.stop()


# These die as others do; `make soak` has them die as well.
ALIKE = frozenset({"cancel", "pause", "resume", "register", "fail", "report"})
ALIKE_POINTS = frozenset(
    {"worker.before_report", "worker.after_report", "worker.before_fail", "worker.after_fail"}
    | {"heartbeat.before_commit", "heartbeat.after_commit", "relay.before_mark", "refill.after_put_stream"}
)


def _victims() -> list[object]:
    """Every point with the process that is to die there: the one dies while the other comes back."""
    take = {"coordinator": cycle(COORDINATORS), "workers": cycle(SHAPE.workers)}
    return [
        pytest.param(name, next(take[point.program]), marks=[pytest.mark.soak] if _is_alike(name) else [])
        for name, point in POINTS.items()
    ]


def _is_alike(name: str) -> bool:
    return name.partition(".")[0] in ALIKE or name in ALIKE_POINTS


@pytest.mark.parametrize(("point", "victim"), _victims())
async def test_a_process_dies_there_and_comes_back(point: str, victim: str, users: Users) -> None:
    service = users.cluster.services[victim]
    await users.cluster.restart_armed(victim, point)
    num_exits = len(service.exits)

    async def has_died() -> bool:
        return len(service.exits) > num_exits

    async def is_there() -> bool:
        return await has_died() or victim not in COORDINATORS or await service.spec.answers()

    async with asyncio.timeout(PATIENCE_SECONDS), users.cluster.client() as client:
        await until(is_there, None)
        with _everybody_calls(victim, users.cluster):
            while not await has_died():
                await PROVOCATIONS.get(point.partition(".")[0], _nothing)(users, client)
                with suppress(TimeoutError):
                    await until(has_died, TRY_SECONDS)
    assert service.exits[num_exits] == -signal.SIGKILL


async def test_every_promise_holds_after_all_of_that(users: Users) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await users.submit_no_more()
        await wait_until_quiet(users.cluster)
    assert await users.follower.misses() == []
    assert await violations(users.cluster, users.accepted) == []


@contextmanager
def _everybody_calls(victim: str, cluster: Cluster) -> Iterator[None]:
    """Cuts the ways to the other coordinator; nothing when the victim is a worker."""
    peers = [name for name in COORDINATORS if victim in COORDINATORS and name != victim]
    cut = [cluster.links[f"{name}:{peer}"] for name in ("gateway", *SHAPE.workers) for peer in peers]
    for link in cut:
        link.mode = Mode.CUT
    yield
    for link in cut:
        link.mode = Mode.PASS


async def _nothing(users: Users, client: AsyncClient) -> None:
    """The jobs that are under way will do."""


async def _cancel(users: Users, client: AsyncClient) -> None:
    await users.cancel(client, await users.submit(client, "noop"))


async def _hold(users: Users, client: AsyncClient) -> None:
    await users.hold(client, await users.submit(client, "noop"))


async def _submit(users: Users, client: AsyncClient) -> None:
    await users.submit(client, "flaky")


async def _lose_the_stream(users: Users, client: AsyncClient) -> None:
    await delete_stream(users.cluster, "stream:EVENTS", 0)


async def _restart_a_worker(users: Users, client: AsyncClient) -> None:
    for name in SHAPE.workers:
        users.cluster.services[name].end()


# What has to happen for a point to be reached; the part before the dot names them.
PROVOCATIONS: dict[str, Callable[[Users, AsyncClient], Awaitable[None]]] = {
    "cancel": _cancel,
    "create": _submit,
    "fail": _submit,
    "pause": _hold,
    "resume": _hold,
    "claim": _submit,
    "reconcile": _submit,
    "worker": _submit,
    "refill": _lose_the_stream,
    "register": _restart_a_worker,
}
