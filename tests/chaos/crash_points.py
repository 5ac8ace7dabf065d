"""Named moments at which a process of ours dies by SIGKILL. Wrapped around the real code: nothing there knows of them.

`before` a command: everything is written and nothing is committed. `after` it: committed, and nobody has been told.
"""

import importlib
import os
import signal
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any

from asyncpg.transaction import Transaction

Reached = Callable[[], None]
Call = Callable[..., Awaitable[Any]]

HAS_WRITTEN = "SELECT pg_current_xact_id_if_assigned() IS NOT NULL"


def arm(name: str, count: int) -> None:
    """Has this process die when it comes to the point `name` for the `count`th time."""
    num_left = count

    def reached() -> None:
        nonlocal num_left
        num_left -= 1
        if num_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    POINTS[name].arm(reached)


def _before_commit(reached: Reached, owner: str, name: str) -> None:
    """Dies when a transaction that has written something is about to commit, inside the function `owner.name`."""
    is_inside = ContextVar("is_inside", default=False)

    def dying(commit: Call) -> Call:
        @wraps(commit)
        async def watched(self: Transaction) -> None:
            if is_inside.get() and await self._connection.fetchval(HAS_WRITTEN):
                reached()
            await commit(self)

        return watched

    def inside(function: Call) -> Call:
        @wraps(function)
        async def marked(*args: Any, **kwargs: Any) -> Any:
            token = is_inside.set(True)
            try:
                return await function(*args, **kwargs)
            finally:
                is_inside.reset(token)

        return marked

    _wrap("asyncpg.transaction:Transaction", "commit", dying)
    _wrap(owner, name, inside)


def _before(reached: Reached, owner: str, name: str, when: Callable[..., bool] = lambda *args: True) -> None:
    """Dies before `owner.name` is called with arguments that `when` is true of."""

    def dying(function: Call) -> Call:
        @wraps(function)
        async def watched(*args: Any, **kwargs: Any) -> Any:
            if when(*args):
                reached()
            return await function(*args, **kwargs)

        return watched

    _wrap(owner, name, dying)


def _after(reached: Reached, owner: str, name: str, when: Callable[[Any], bool] = lambda result: True) -> None:
    """Dies when `owner.name` has returned something that `when` is true of."""

    def dying(function: Call) -> Call:
        @wraps(function)
        async def watched(*args: Any, **kwargs: Any) -> Any:
            result = await function(*args, **kwargs)
            if when(result):
                reached()
            return result

        return watched

    _wrap(owner, name, dying)


def _after_ack(reached: Reached) -> None:
    """Dies when the wake-up of a stage that this worker has got is settled."""
    has_claimed = False

    def remember(response: Any) -> bool:
        nonlocal has_claimed
        has_claimed = response.HasField("assignment")
        return False

    _after(reached, LINK, "claim_stage", remember)
    _after(reached, "workers.bus:WakeUp", "settle", lambda _: has_claimed)


def _wrap(owner: str, name: str, wrapper: Callable[[Call], Call]) -> None:
    """Replaces the function `name` of a module, or of a class `module:class`."""
    module, _, class_name = owner.partition(":")
    place = importlib.import_module(module)
    place = getattr(place, class_name) if class_name else place
    setattr(place, name, wrapper(getattr(place, name)))


@dataclass(frozen=True)
class Point:
    """One row of the table."""

    program: str
    arm: Callable[[Reached], None]


JOBS, WORKERS = "coordinator.api.jobs", "coordinator.api.workers"
RELAY, RECONCILER = "coordinator.outbox:Relay", "coordinator.reconcile:Reconciler"
BUS, LINK = "nats.js:JetStreamContext", "workers.coordinator_link:GrpcCoordinator"

# Commands of the coordinator: where the server calls them, and by which name.
_COMMANDS = {
    "create": (JOBS, "create_job"),
    "cancel": (JOBS, "cancel_job"),
    "pause": (JOBS, "pause_job"),
    "resume": (JOBS, "resume_job"),
    "register": (WORKERS, "register_worker"),
    "claim": (WORKERS, "claim_stage"),
    "heartbeat": (WORKERS, "heartbeat"),
    "report": (WORKERS, "report_stage"),
    "complete": (WORKERS, "complete_stage"),
    "fail": (WORKERS, "fail_stage"),
}


def _coordinator(arm: Callable[..., None], *where: Any) -> Point:
    return Point("coordinator", lambda reached: arm(reached, *where))


def _worker(arm: Callable[..., None], *where: Any) -> Point:
    return Point("workers", lambda reached: arm(reached, *where))


def _something(result: Any) -> bool:
    return bool(result)


def _is_new(stream: Any, name: str, present: Any) -> bool:
    return present is None


def _has_assignment(response: Any) -> bool:
    return bool(response.HasField("assignment"))


POINTS: dict[str, Point] = {
    **{f"{name}.before_commit": _coordinator(_before_commit, *where) for name, where in _COMMANDS.items()},
    **{f"{name}.after_commit": _coordinator(_after, *where) for name, where in _COMMANDS.items() if name != "claim"},
    "claim.after_commit": _coordinator(_after, WORKERS, "claim_stage", _something),
    "reconcile.before_commit": _coordinator(_before_commit, RECONCILER, "step"),
    "reconcile.after_commit": _coordinator(_after, RECONCILER, "step", _something),
    "relay.before_publish": _coordinator(_before, BUS, "publish"),
    "relay.after_publish": _coordinator(_after, BUS, "publish"),
    "relay.before_mark": _coordinator(_before_commit, RELAY, "_step"),
    "relay.after_mark": _coordinator(_after, RELAY, "_step", _something),
    "refill.before_put_stream": _coordinator(_before, "coordinator.outbox", "put_stream", _is_new),
    "refill.after_put_stream": _coordinator(_after, BUS, "add_stream"),
    "worker.before_claim": _worker(_before, LINK, "claim_stage"),
    "worker.after_claim": _worker(_after, LINK, "claim_stage", _has_assignment),
    "worker.after_ack": _worker(_after_ack),
    "worker.before_report": _worker(_before, LINK, "report_stage"),
    "worker.after_report": _worker(_after, LINK, "report_stage"),
    "worker.before_complete": _worker(_before, LINK, "complete_stage"),
    "worker.after_complete": _worker(_after, LINK, "complete_stage"),
    "worker.before_fail": _worker(_before, LINK, "fail_stage"),
    "worker.after_fail": _worker(_after, LINK, "fail_stage"),
}
