"""What commands decide, on plain rows: who may have a stage, what a heartbeat is told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coordinator.commands.claims import (
    AVOIDED_FOR,
    can_take_over,
    check_can_run,
    is_avoided,
    is_repeat,
    is_rested,
    may_win,
)
from coordinator.commands.workers import renew, verdict_on
from coordinator.lifecycle import StageState
from coordinator.store.tables import StageRow, WorkerRow
from luthier.errors import InvalidRequestError
from luthier.v1.stage_pb2 import Progress
from luthier.v1.worker_pb2 import WorkerCapabilities
from luthier.v1.worker_service_pb2 import StageHeartbeat, StageVerdict

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LEASE = timedelta(seconds=15)


def stage(state: str = "QUEUED", **changes: Any) -> StageRow:
    """A train stage for CPUs."""
    fields: dict[str, Any] = {
        "stage_id": "s", "job_id": "j", "position": 0, "name": "train", "kind": "train", "worker_class": "cpu",
        "needs": [], "max_attempts": 4, "progress_timeout_seconds": 60.0, "state": StageState(state),
        "queued_time": MOMENT,
    }  # fmt: skip
    return StageRow(**fields | changes)


def worker(worker_id: str = "w", kinds: tuple[str, ...] = ("train",), **changes: Any) -> WorkerRow:
    """A worker with CPUs."""
    capabilities = WorkerCapabilities(worker_classes=["cpu"], kinds=kinds)
    times = {"register_time": MOMENT, "heartbeat_time": MOMENT}
    return WorkerRow(worker_id=worker_id, display_name="here", capabilities=capabilities, **times, **changes)


def test_a_stage_is_to_be_had_when_it_waits() -> None:
    assert may_win(stage(), "w", "r")
    for state in set(StageState) - {StageState.QUEUED}:
        assert not may_win(stage(state), "w", "r")


def test_a_stage_rests_until_its_back_off_is_over() -> None:
    assert is_rested(stage(), MOMENT)
    assert not is_rested(stage(claimable_time=MOMENT + SECOND), MOMENT)
    assert is_rested(stage(claimable_time=MOMENT), MOMENT)


def test_a_late_repeat_of_a_claim_whose_attempt_has_ended_gets_nothing() -> None:
    row = stage(worker_id="w", claim_request_id="r")
    assert not may_win(row, "w", "r")
    assert may_win(row, "w", "r2")
    assert may_win(row, "w2", "r")


def test_only_the_same_request_of_the_same_worker_is_a_repeat() -> None:
    row = stage("RUNNING", worker_id="w", claim_request_id="r")
    assert is_repeat(row, "w", "r")
    assert may_win(row, "w", "r")
    assert not is_repeat(row, "w2", "r")
    assert not is_repeat(row, "w", "r2")
    assert not is_repeat(stage(worker_id="w", claim_request_id="r"), "w", "r")


def test_the_worker_of_the_failed_try_lets_others_go_first_for_a_while() -> None:
    row = stage(avoid_worker_id="w")
    assert is_avoided(row, "w", MOMENT)
    assert not is_avoided(row, "w2", MOMENT)
    assert not is_avoided(row, "w", MOMENT + AVOIDED_FOR)
    rested = stage(avoid_worker_id="w", claimable_time=MOMENT + 20 * SECOND)
    assert is_avoided(rested, "w", MOMENT + 25 * SECOND)
    assert not is_avoided(rested, "w", MOMENT + 20 * SECOND + AVOIDED_FOR)


def test_another_worker_takes_over_when_it_can_run_it_and_is_trusted() -> None:
    assert can_take_over(worker("w2"), stage(), "w")
    assert not can_take_over(worker("w"), stage(), "w")
    assert not can_take_over(worker("w2", ("deploy",)), stage(), "w")
    assert not can_take_over(worker("w2", quarantined_until=MOMENT), stage(), "w")


def test_a_worker_is_told_what_it_takes_when_it_asks_for_something_else() -> None:
    with pytest.raises(InvalidRequestError, match="takes train on cpu, not deploy on cpu"):
        check_can_run(worker(), stage(kind="deploy"))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (None, "LOST_LEASE"),
        (stage("RUNNING", fence=2, worker_id="w"), "LOST_LEASE"),
        (stage("RUNNING", fence=1, worker_id="w2"), "LOST_LEASE"),
        (stage("QUEUED", fence=1, worker_id="w"), "LOST_LEASE"),
        (stage("PAUSED", fence=1, worker_id="w"), "LOST_LEASE"),
        (stage("CANCELLED", fence=1, worker_id="w"), "CANCEL"),
        (stage("RUNNING", fence=1, worker_id="w"), "OK"),
        (stage("RUNNING", fence=1, worker_id="w", pause_requested=True), "PAUSE"),
    ],
)
def test_a_heartbeat_is_told_what_to_do(row: StageRow | None, expected: str) -> None:
    assert verdict_on(row, "w", 1) == StageVerdict.Verdict.Value(f"VERDICT_{expected}")


def test_liveness_is_not_progress() -> None:
    row = stage("RUNNING", progress_time=MOMENT)
    pulse = StageHeartbeat(stage_id="s", progress=Progress(step=1, message="tokenize"))
    assert renew(row, pulse, MOMENT + SECOND, LEASE)
    assert (row.lease_until, row.progress_time) == (MOMENT + SECOND + LEASE, MOMENT + SECOND)
    estimated = StageHeartbeat(stage_id="s", progress=Progress(step=1, message="tokenize"))
    estimated.progress.eta.FromTimedelta(SECOND)
    assert renew(row, estimated, MOMENT + 2 * SECOND, LEASE)
    assert (row.lease_until, row.progress_time) == (MOMENT + 2 * SECOND + LEASE, MOMENT + SECOND)
    assert not renew(row, estimated, MOMENT + 3 * SECOND, LEASE)
