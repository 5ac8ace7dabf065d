"""What follows a failure, by its class: one table, no I/O.

Back-off doubles with every try that used up the same budget. There is no jitter, because attempts of one stage never
run at the same time; but for stages that compete for workers, which would come back all together.
"""

import zlib
from dataclasses import dataclass
from enum import StrEnum

from luthier.v1.failure_pb2 import FailureClass

MAX_DELAY_SECONDS = 120.0
MAX_WAITS = 100
"""How often a stage waits for what only a person can mend, such as a full disk, before it has failed."""


class Budget(StrEnum):
    """What an ended try uses up."""

    ATTEMPTS = "attempts"
    """One of `resources.max_attempts`."""
    WAITS = "waits"
    """One of `MAX_WAITS`."""
    NONE = "none"


@dataclass(frozen=True)
class RetryRule:
    """What the coordinator does after a failure of one class."""

    is_retried: bool
    """False: the stage has failed for good."""
    budget: Budget = Budget.ATTEMPTS
    base_delay_seconds: float = 0.0
    """Pause before the second try; doubles from there. 0: at once."""
    max_delay_seconds: float = MAX_DELAY_SECONDS
    """Where the doubling ends."""
    is_first_at_once: bool = False
    """Whether the second try has no pause, and the third begins with the base."""
    is_refitted: bool = False
    """Whether the next try halves its forward passes once more."""
    is_tried_elsewhere: bool = True
    """Whether another worker should have the next try."""
    is_blamed: bool = False
    """Whether it counts against the worker."""
    is_spread: bool = False
    """Whether the pause is another one for every try of every stage, from a quarter of the delay to all of it."""

    def delay_seconds(self, num_ended: int, name: str = "") -> float:
        """Pause after `num_ended` tries that used up this budget, the last one included; `name` is the last try's."""
        share = 0.25 + 0.75 * zlib.crc32(name.encode()) / 2**32 if self.is_spread else 1.0
        return share * self._longest_delay(num_ended)

    def _longest_delay(self, num_ended: int) -> float:
        num_doublings = num_ended - 1 - int(self.is_first_at_once)
        if num_doublings < 0 and self.is_first_at_once:
            return 0.0
        return min(self.max_delay_seconds, self.base_delay_seconds * 2.0 ** max(0, num_doublings))


_FINAL = RetryRule(is_retried=False)
_FAULTY = RetryRule(is_retried=True, base_delay_seconds=1.0, is_blamed=True)

# One row per class of proto/luthier/v1/failure.proto; a failure without a class is our own fault.
RETRY_RULES: dict[FailureClass, RetryRule] = {
    FailureClass.FAILURE_CLASS_UNSPECIFIED: _FAULTY,
    FailureClass.FAILURE_CLASS_CONFIG: _FINAL,
    FailureClass.FAILURE_CLASS_DATA: _FINAL,
    FailureClass.FAILURE_CLASS_OUT_OF_MEMORY: RetryRule(
        is_retried=True, base_delay_seconds=1.0, is_refitted=True, is_blamed=True
    ),
    FailureClass.FAILURE_CLASS_DIVERGED: _FINAL,
    FailureClass.FAILURE_CLASS_STORAGE_FULL: RetryRule(is_retried=True, budget=Budget.WAITS, base_delay_seconds=10.0),
    FailureClass.FAILURE_CLASS_PREEMPTED: RetryRule(is_retried=True, budget=Budget.NONE, is_tried_elsewhere=False),
    FailureClass.FAILURE_CLASS_LOST_WORKER: RetryRule(
        # That a worker died says little of the stage, and another one has the next try: it need not rest for long.
        is_retried=True,
        base_delay_seconds=1.0,
        max_delay_seconds=15.0,
        is_first_at_once=True,
        is_blamed=True,
    ),
    FailureClass.FAILURE_CLASS_INTERNAL: _FAULTY,
    FailureClass.FAILURE_CLASS_CANCELLED: _FINAL,
    FailureClass.FAILURE_CLASS_GATE_REFUSED: _FINAL,
    FailureClass.FAILURE_CLASS_UNAVAILABLE: RetryRule(is_retried=True, base_delay_seconds=2.0),
    FailureClass.FAILURE_CLASS_GANG_INCOMPLETE: RetryRule(
        is_retried=True,
        budget=Budget.NONE,
        base_delay_seconds=10.0,
        max_delay_seconds=10.0,
        is_tried_elsewhere=False,
        is_spread=True,
    ),
}


def rule_of(failure_class: FailureClass) -> RetryRule:
    """The rule of a class; one that a newer worker knows and we do not is treated as INTERNAL."""
    return RETRY_RULES.get(failure_class, _FAULTY)
