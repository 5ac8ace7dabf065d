"""How far a worker is trusted: failures in a row send it into quarantine, one success brings it back. Pure.

Each function changes a row that the caller has locked. Nothing here looks at a clock: a quarantine that is over ends
with the next claim, which is let through as a probe.
"""

from datetime import datetime, timedelta

from coordinator.store.tables import WorkerRow, WorkerState

MAX_FAILURES_IN_ROW = 3
"""So many failures without a success in between are the worker's own doing."""
LONGEST = timedelta(hours=1)


def blame(worker: WorkerRow, moment: datetime, shortest: timedelta) -> None:
    """Counts a failure; from the third in a row on, the worker gets nothing for `shortest`, doubling each time."""
    worker.num_failures_in_row += 1
    if worker.num_failures_in_row >= MAX_FAILURES_IN_ROW:
        worker.quarantined_until = moment + _length(worker, shortest)
        worker.state = present_state(worker) if worker.state is WorkerState.READY else worker.state


def clear(worker: WorkerRow) -> None:
    """Forgets its failures: it has succeeded, or a person vouches for it."""
    worker.num_failures_in_row = 0
    worker.quarantined_until = None
    if worker.state is WorkerState.QUARANTINED:
        worker.state = WorkerState.READY


def is_turned_away(worker: WorkerRow, moment: datetime) -> bool:
    """Whether it gets nothing now."""
    return worker.quarantined_until is not None and moment < worker.quarantined_until


def begin_probe(worker: WorkerRow, moment: datetime, shortest: timedelta) -> None:
    """Lets one claim through; if that neither succeeds nor fails, another one follows after the same time."""
    worker.quarantined_until = moment + _length(worker, shortest)


def present_state(worker: WorkerRow, *, is_draining: bool = False) -> WorkerState:
    """Where a worker stands that is heard of now."""
    if is_draining:
        return WorkerState.DRAINING
    return WorkerState.READY if worker.quarantined_until is None else WorkerState.QUARANTINED


def _length(worker: WorkerRow, shortest: timedelta) -> timedelta:
    num_doublings = min(worker.num_failures_in_row - MAX_FAILURES_IN_ROW, 20)  # far past an hour, and no overflow
    return min(LONGEST, shortest * (1 << num_doublings))
