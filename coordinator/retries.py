"""What follows a failure, by its class: one table, no I/O.

Back-off doubles with every counted try. There is no jitter: attempts of one stage never run at the same time.
"""

from dataclasses import dataclass

from luthier.v1.failure_pb2 import FailureClass

MAX_DELAY_SECONDS = 120.0


@dataclass(frozen=True)
class RetryRule:
    """What the coordinator does after a failure of one class."""

    is_retried: bool
    """False: the stage has failed for good."""
    is_counted: bool = True
    """Whether the attempt uses up one of `resources.max_attempts`."""
    base_delay_seconds: float = 0.0
    """Pause before the second try; doubles from there. 0: at once."""

    def delay_seconds(self, num_counted: int) -> float:
        """Pause after `num_counted` counted tries, this one included."""
        return min(MAX_DELAY_SECONDS, self.base_delay_seconds * 2.0 ** max(0, num_counted - 1))


_FINAL = RetryRule(is_retried=False)
_BACKED_OFF = RetryRule(is_retried=True, base_delay_seconds=1.0)

# One row per class of proto/luthier/v1/failure.proto; a failure without a class is our own fault.
RETRY_RULES: dict[FailureClass, RetryRule] = {
    FailureClass.FAILURE_CLASS_UNSPECIFIED: _BACKED_OFF,
    FailureClass.FAILURE_CLASS_CONFIG: _FINAL,
    FailureClass.FAILURE_CLASS_DATA: _FINAL,
    FailureClass.FAILURE_CLASS_OUT_OF_MEMORY: _BACKED_OFF,
    FailureClass.FAILURE_CLASS_DIVERGED: _FINAL,
    FailureClass.FAILURE_CLASS_STORAGE_FULL: RetryRule(is_retried=True, base_delay_seconds=10.0),
    FailureClass.FAILURE_CLASS_PREEMPTED: RetryRule(is_retried=True, is_counted=False),
    FailureClass.FAILURE_CLASS_LOST_WORKER: RetryRule(is_retried=True),
    FailureClass.FAILURE_CLASS_INTERNAL: _BACKED_OFF,
    FailureClass.FAILURE_CLASS_CANCELLED: _FINAL,
    FailureClass.FAILURE_CLASS_GATE_REFUSED: _FINAL,
    FailureClass.FAILURE_CLASS_UNAVAILABLE: RetryRule(is_retried=True, base_delay_seconds=2.0),
}


def rule_of(failure_class: FailureClass) -> RetryRule:
    """The rule of a class; one that a newer worker knows and we do not is treated as INTERNAL."""
    return RETRY_RULES.get(failure_class, _BACKED_OFF)
