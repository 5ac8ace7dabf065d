"""The table of failure classes: complete, and as the .proto promises."""

import pytest

from coordinator.retries import MAX_DELAY_SECONDS, RETRY_RULES, Budget, rule_of
from luthier.v1.failure_pb2 import FailureClass

FINAL = {"CONFIG", "DATA", "DIVERGED", "CANCELLED", "GATE_REFUSED"}
AT_ONCE = {"PREEMPTED", "LOST_WORKER"}
BUDGETS = {"GANG_INCOMPLETE": Budget.NONE, "PREEMPTED": Budget.NONE, "STORAGE_FULL": Budget.WAITS}


def test_every_class_of_the_proto_has_a_rule() -> None:
    assert set(RETRY_RULES) == set(FailureClass.values())


@pytest.mark.parametrize("name", FailureClass.keys())
def test_a_class_is_final_or_retried_at_once_or_backed_off(name: str) -> None:
    rule = RETRY_RULES[FailureClass.Value(name)]
    short = name.removeprefix("FAILURE_CLASS_")
    assert rule.is_retried is (short not in FINAL)
    if rule.is_retried:
        assert (rule.delay_seconds(1) == 0) is (short in AT_ONCE)
        assert rule.budget is BUDGETS.get(short, Budget.ATTEMPTS)
    assert rule.is_refitted is (short == "OUT_OF_MEMORY")


def test_back_off_doubles_up_to_a_limit() -> None:
    rule = RETRY_RULES[FailureClass.FAILURE_CLASS_UNAVAILABLE]
    assert [rule.delay_seconds(n) for n in (1, 2, 3)] == [2.0, 4.0, 8.0]
    assert rule.delay_seconds(100) == MAX_DELAY_SECONDS
    lost = RETRY_RULES[FailureClass.FAILURE_CLASS_LOST_WORKER]
    assert [lost.delay_seconds(n) for n in (1, 2, 3, 100)] == [0.0, 1.0, 2.0, 15.0]


def test_a_class_of_a_newer_worker_is_retried_as_internal() -> None:
    assert rule_of(999) == RETRY_RULES[FailureClass.FAILURE_CLASS_INTERNAL]  # type: ignore[arg-type]
