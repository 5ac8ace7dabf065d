"""What goes wrong in a simulated world, how often, and until when."""

import random
from dataclasses import dataclass

from luthier.v1.failure_pb2 import FailureClass


class UnavailableError(Exception):
    """A call got no answer; it may have been carried out all the same."""


class CoordinatorDiedError(Exception):
    """The coordinator that carried out a call died at this point."""


@dataclass(frozen=True)
class Faults:
    """Probabilities, each drawn where it applies. All zero: the quiet phase."""

    crash_at_step: float = 0.004
    """A coordinator dies between two statements."""
    statement_is_slow: float = 0.02
    """Up to a second, with every lock held."""
    request_lost: float = 0.03
    reply_lost: float = 0.03
    in_flight: float = 0.05
    """The caller gives up and tries again while the first call is still on its way."""
    wake_up_lost: float = 0.05
    wake_up_doubled: float = 0.10
    mark_lost: float = 0.05
    """The relay dies between the bus's answer and its mark."""
    worker_dies: float = 0.06
    """In one step of an attempt; so are the next three."""
    worker_freezes: float = 0.05
    worker_leaves: float = 0.02
    """It is asked to drain."""
    runner_stalls: float = 0.02
    attempt_fails: float = 0.35
    """At the end of an attempt; else it succeeds."""
    self_fencing_fails: float = 0.5
    """A frozen worker goes on as if nothing had been, a zombie, instead of killing its runner."""
    clock_jumps: float = 0.3
    """In one minute."""
    person_interferes: float = 0.5
    """A job is paused, resumed or cancelled at some time."""


QUIET = Faults(**dict.fromkeys(Faults.__dataclass_fields__, 0.0))

# How attempts fail, and how often in relation to each other.
_CLASSES = {
    FailureClass.FAILURE_CLASS_UNSPECIFIED: 1,
    FailureClass.FAILURE_CLASS_DATA: 1,
    FailureClass.FAILURE_CLASS_DIVERGED: 1,
    FailureClass.FAILURE_CLASS_OUT_OF_MEMORY: 4,
    FailureClass.FAILURE_CLASS_STORAGE_FULL: 4,
    FailureClass.FAILURE_CLASS_LOST_WORKER: 3,
    FailureClass.FAILURE_CLASS_INTERNAL: 3,
    FailureClass.FAILURE_CLASS_UNAVAILABLE: 3,
    FailureClass.FAILURE_CLASS_PREEMPTED: 2,
}


def failure_class(generator: random.Random) -> FailureClass:
    """How one attempt fails."""
    return generator.choices([*_CLASSES], [*_CLASSES.values()])[0]
