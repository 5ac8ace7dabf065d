"""Gangs in the rows of stages: who may sit down, who is still there, what follows when a member leaves. Pure.

Every function changes a stage of a job that the caller has locked; only a lease is renewed under the lock of the stage
alone. Gangs are replaced, never changed in place: a store compares rows.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from coordinator.change import OVERLOOKED_AFTER, JobChange
from coordinator.facts import Failed
from coordinator.gang import Gang, Seat, gather
from coordinator.lifecycle import StageState
from coordinator.store.tables import StageRow
from coordinator.terms import Terms
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.worker_service_pb2 import GangPlace

# A runner that misses another one does not know which worker is gone.
_NOBODYS_FAULT = frozenset({FailureClass.FAILURE_CLASS_LOST_WORKER})


def open_gang(change: JobChange, row: StageRow, terms: Terms) -> None:
    """Opens the seats of an attempt that has just begun and calls workers; nothing for a stage of one worker."""
    gang = gather(row.num_workers, row.min_workers, change.moment, terms.gang_wait, OVERLOOKED_AFTER)
    if gang is not None:
        put_gang(row, gang, change.moment)
        change.call_members(row, gang.num_free)


def members_of(row: StageRow) -> Sequence[str]:
    """Workers that share the present attempt with the one that claimed it."""
    return [seat.worker_id for seat in row.gang.seats] if row.gang is not None else []


def may_sit(row: StageRow, worker_id: str) -> bool:
    """Whether a worker that is free now can join the attempt that runs.

    One that has a seat already may have it anew, before the gang has formed: the answer to its claim was lost.
    """
    if row.state is not StageState.RUNNING or row.gang is None or row.worker_id == worker_id:
        return False
    return row.gang.num_free > 0 or (not row.gang.is_formed and row.gang.seat_of(worker_id) is not None)


def has_seat(row: StageRow, worker_id: str, request_id: str) -> bool:
    """Whether this very claim has got a seat before."""
    seat = row.gang.seat_of(worker_id) if row.gang is not None else None
    return seat is not None and seat.request_id == request_id


def sit(change: JobChange, row: StageRow, worker_id: str, request_id: str, terms: Terms) -> None:
    """Gives a worker a seat; the caller has asked `may_sit`."""
    assert row.gang is not None, "somebody has looked before"
    seat = Seat(worker_id, request_id, change.moment + terms.lease)
    put_gang(row, row.gang.with_seat(seat), change.moment)


def renew_seat(row: StageRow, worker_id: str, moment: datetime, lease: timedelta) -> None:
    """Lets a seat live for another lease."""
    assert row.gang is not None, "somebody has looked before"
    seat = row.gang.seat_of(worker_id)
    assert seat is not None, "somebody has looked before"
    put_gang(row, row.gang.with_seat(replace(seat, lease_until=moment + lease)), moment)


def meet_at(row: StageRow, address: str, moment: datetime) -> None:
    """The leader says where it waits for the members."""
    if row.gang is not None and address and row.gang.address != address:
        put_gang(row, replace(row.gang, address=address), moment)


def leave(change: JobChange, row: StageRow, worker_id: str, failure: Failure | None) -> None:
    """A member has done its part, or gives its seat up because of `failure`.

    Before the gang has formed the seat is free again. Afterwards a failure ends the attempt, but for PREEMPTED: then
    the leader is asked to stop at a checkpoint and to give the stage back itself.
    """
    gang = row.gang
    assert gang is not None, "somebody has looked before"
    seat = gang.seat_of(worker_id)
    assert seat is not None, "somebody has looked before"
    if not gang.is_formed:
        put_gang(row, gang.without(worker_id), change.moment)
        change.call_members(row, 1)
    elif failure is None or failure.failure_class == FailureClass.FAILURE_CLASS_PREEMPTED:
        left = gang.with_seat(replace(seat, is_done=True))
        put_gang(row, replace(left, is_leaving=gang.is_leaving or failure is not None), change.moment)
    else:
        change.advance(row, Failed(row.fence, failure, culprit(row, worker_id, failure)))


def culprit(row: StageRow, worker_id: str, failure: Failure) -> str:
    """Whom a failure that `worker_id` reports counts against; empty: nobody."""
    return "" if row.gang is not None and failure.failure_class in _NOBODYS_FAULT else worker_id


def tend(change: JobChange, row: StageRow) -> None:
    """What time alone has made true of a gang that waits: seats that are free again, a gang that begins with fewer."""
    if row.gang is None or row.gang.is_formed:
        return
    gang = row.gang.tended(change.moment)
    if gang.num_free and gang.wake_time <= change.moment:
        change.call_members(row, gang.num_free)
        gang = replace(gang, wake_time=change.moment + OVERLOOKED_AFTER)
    elif gang.num_free > row.gang.num_free:
        change.call_members(row, gang.num_free - row.gang.num_free)
    if gang != row.gang:
        put_gang(row, gang, change.moment)


def place_of(row: StageRow, worker_id: str) -> GangPlace | None:
    """The place of a worker that takes part; None where there is no gang. Without a number of workers until all is said
    that they need to find each other."""
    gang = row.gang
    if gang is None:
        return None
    if not gang.is_formed or not gang.address:
        return GangPlace(number=gang.number_of(worker_id))
    return GangPlace(number=gang.number_of(worker_id), num_workers=1 + len(gang.seats), address=gang.address)


def put_gang(row: StageRow, gang: Gang, moment: datetime) -> None:
    """Writes a gang. One that has just formed begins to work now, and its progress is watched from now on."""
    if gang.is_formed and (row.gang is None or not row.gang.is_formed):
        row.progress_time = moment
    row.gang, row.gang_time = gang, gang.due_time
