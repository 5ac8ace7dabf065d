"""A gang: the workers that share one attempt, as a value. Pure: no row, no clock.

The worker that claimed the stage leads: the attempt, its fence and its lease are the leader's. The others are members;
each holds a seat, with a lease of its own. A gang forms once: when all seats are taken, or when it has waited and
enough are there. Before that a seat that is given up is free again; after it, the loss of a member ends the attempt.
`coordinator/seating.py` puts gangs into rows.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from coordinator.facts import Failed
from luthier.v1.failure_pb2 import Failure, FailureClass


@dataclass(frozen=True)
class Seat:
    """The place of one member."""

    worker_id: str
    request_id: str
    """Of the claim that got it."""
    lease_until: datetime
    is_done: bool = False
    """Its part is done: it needs no lease any more."""


@dataclass(frozen=True)
class Gang:
    """Of one attempt; it ends with it."""

    num_workers: int
    """How many are wanted, the leader included."""
    min_workers: int
    """How many are enough once it has waited."""
    form_until: datetime
    """How long it waits for all of them."""
    wake_time: datetime
    """When to tell the workers again while seats are free."""
    seats: tuple[Seat, ...] = ()
    """Those that are taken; once it has formed, in the order of the members' numbers, from 1 on."""
    address: str = ""
    """`host:port` where the leader waits for the members; empty until the leader has said it."""
    is_formed: bool = False
    is_leaving: bool = False
    """A member has to leave: the leader is asked to stop at a checkpoint."""

    @property
    def num_free(self) -> int:
        """Seats that somebody may take."""
        return 0 if self.is_formed else self.num_workers - 1 - len(self.seats)

    @property
    def has_enough(self) -> bool:
        """Whether it may begin without the rest."""
        return 1 + len(self.seats) >= self.min_workers

    @property
    def due_time(self) -> datetime | None:
        """When time alone changes something."""
        times = [seat.lease_until for seat in self.seats if not seat.is_done]
        if not self.is_formed:
            times += [self.form_until, self.wake_time]
        return min(times, default=None)

    def seat_of(self, worker_id: str) -> Seat | None:
        """The seat of a member."""
        return next((seat for seat in self.seats if seat.worker_id == worker_id), None)

    def number_of(self, worker_id: str) -> int:
        """Of a worker in the gang: 0 for the leader, from 1 on for members."""
        return next((n for n, seat in enumerate(self.seats, start=1) if seat.worker_id == worker_id), 0)

    def with_seat(self, seat: Seat) -> "Gang":
        """A worker sits down, or its seat changes. The last one makes the gang form."""
        if self.seat_of(seat.worker_id) is None:
            assert self.num_free > 0, "somebody has looked before"
            seated = replace(self, seats=(*self.seats, seat))
            return replace(seated, is_formed=seated.num_free == 0)
        others = (seat if one.worker_id == seat.worker_id else one for one in self.seats)
        return replace(self, seats=tuple(others))

    def without(self, worker_id: str) -> "Gang":
        """A member gives its seat up before the gang has formed."""
        assert not self.is_formed, "a seat in a gang that has formed is never free again"
        return replace(self, seats=tuple(seat for seat in self.seats if seat.worker_id != worker_id))

    def tended(self, moment: datetime) -> "Gang":
        """Who fell silent loses the seat, and when the wait is over those who are there begin, if they are enough."""
        if self.is_formed:
            return self
        present = replace(self, seats=tuple(seat for seat in self.seats if seat.lease_until >= moment))
        return replace(present, is_formed=present.has_enough and self.form_until <= moment)

    def end(self, fence: int, moment: datetime) -> Failed | None:
        """Why the attempt of `fence` cannot go on: a member is lost, or too few have come. None: it can."""
        lost = [seat.worker_id for seat in self.seats if not seat.is_done and seat.lease_until < moment]
        if self.is_formed and lost:
            message = f"worker {lost[0]}, a member of the gang, sent no heartbeat for a whole lease"
            return Failed(
                fence, Failure(failure_class=FailureClass.FAILURE_CLASS_LOST_WORKER, message=message), lost[0]
            )
        tended = self.tended(moment)
        if tended.is_formed or moment < self.form_until:
            return None
        message = (
            f"only {1 + len(tended.seats)} of the {self.min_workers} workers that it needs at least were free; "
            f"they are set free, and the stage asks again"
        )
        failure = Failure(failure_class=FailureClass.FAILURE_CLASS_GANG_INCOMPLETE, message=message)
        return Failed(fence, failure, worker_id="")


def gather(num_workers: int, min_workers: int, moment: datetime, wait: timedelta, call_again: timedelta) -> Gang | None:
    """A gang that waits for its members from `moment` on; None for a stage of one worker."""
    if num_workers == 1:
        return None
    return Gang(num_workers, min_workers, moment + wait, moment + call_again)
