"""Gangs on plain rows: who sits down, when a gang forms, what the loss of a member means and whom it counts against."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql

from coordinator.change import OVERLOOKED_AFTER, JobChange
from coordinator.commands.claims import is_repeat, may_win, take
from coordinator.commands.workers import verdict_on
from coordinator.facts import Failed
from coordinator.gang import Gang, Seat
from coordinator.lifecycle import StageState
from coordinator.planner import stage_rows
from coordinator.reconcile import overdue_fact
from coordinator.seating import culprit, leave, may_sit, meet_at, members_of, place_of, renew_seat, sit, tend
from coordinator.store.tables import JobRow, StageRow
from coordinator.store.types import DataclassJson
from coordinator.terms import Terms
from luthier.spec import JobSpec
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.worker_service_pb2 import GangPlace, StageVerdict

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TERMS = Terms(lease=15 * SECOND, quarantine=60 * SECOND, artifacts="/a", gang_wait=20 * SECOND)
LOST = FailureClass.FAILURE_CLASS_LOST_WORKER


class Play:
    """A train stage that a leader has just claimed, and a clock."""

    def __init__(self, num_workers: int = 3, min_workers: int = 2) -> None:
        self.row = StageRow(
            stage_id="s", job_id="j", position=0, name="train", kind="train", worker_class="cpu", needs=[],
            max_attempts=4, progress_timeout_seconds=60.0, state=StageState.QUEUED, queued_time=MOMENT,
            num_workers=num_workers, min_workers=min_workers,
        )  # fmt: skip
        self.at(0)
        take(self.change, self.row, "leader", "claim", 7, TERMS)

    def at(self, seconds: float) -> "Play":
        """Another transaction, so many seconds later."""
        job = JobRow(job_id="j", project_id="p", name="job", request_id="r", spec_json="{}", create_time=MOMENT)
        self.change = JobChange(job, [self.row], MOMENT + seconds * SECOND, lambda prefix: f"{prefix}_1")
        return self

    def sit(self, *worker_ids: str) -> "Play":
        for worker_id in worker_ids:
            assert may_sit(self.row, worker_id)
            sit(self.change, self.row, worker_id, f"claim of {worker_id}", TERMS)
        return self

    def leave(self, worker_id: str, failure_class: FailureClass | None = None) -> None:
        failure = None if failure_class is None else Failure(failure_class=failure_class, message="broken")
        leave(self.change, self.row, worker_id, failure)

    def fact(self) -> Any:
        return overdue_fact(self.row, self.change.moment)

    @property
    def gang(self) -> Gang:
        assert self.row.gang is not None
        return self.row.gang

    @property
    def num_calls(self) -> int:
        return len(self.change.wanted())


def test_a_stage_of_one_worker_has_no_gang() -> None:
    play = Play(num_workers=1, min_workers=1)
    assert (play.row.gang, play.row.gang_time, play.num_calls) == (None, None, 0)
    assert not may_sit(play.row, "other")
    assert place_of(play.row, "leader") is None


def test_the_claim_of_a_stage_of_several_calls_the_others_in_the_same_change() -> None:
    play = Play(num_workers=3)
    assert play.num_calls == 2
    assert play.row.worker_id == "leader"
    assert not may_sit(play.row, "leader"), "who leads has no seat"
    assert may_win(play.row, "other", "claim of other")


def test_with_the_last_seat_the_gang_forms_and_nobody_else_gets_in() -> None:
    play = Play(num_workers=3).at(1).sit("b", "c")
    assert play.gang.is_formed
    assert members_of(play.row) == ["b", "c"]
    assert not may_sit(play.row, "d")
    assert is_repeat(play.row, "b", "claim of b")
    assert not is_repeat(play.row, "b", "another claim")
    assert play.row.progress_time == MOMENT + SECOND, "its progress is watched from now on"


def test_nobody_begins_before_the_leader_has_said_where_they_meet() -> None:
    play = Play(num_workers=2).at(1).sit("b")
    assert place_of(play.row, "b") == GangPlace(number=1)
    meet_at(play.row, "127.0.0.1:1234", play.change.moment)
    assert place_of(play.row, "b") == GangPlace(number=1, num_workers=2, address="127.0.0.1:1234")
    assert place_of(play.row, "leader") == GangPlace(number=0, num_workers=2, address="127.0.0.1:1234")


def test_a_worker_whose_answer_was_lost_gets_its_seat_anew_until_the_gang_has_formed() -> None:
    play = Play(num_workers=3).sit("b")
    assert may_sit(play.row, "b")
    sit(play.change, play.row, "b", "its second claim", TERMS)
    assert members_of(play.row) == ["b"]
    play.sit("c")
    assert not may_sit(play.row, "b")


def test_a_seat_that_is_given_up_before_is_free_again_and_somebody_is_called() -> None:
    play = Play(num_workers=3).sit("b").at(1)
    play.leave("b", FailureClass.FAILURE_CLASS_PREEMPTED)
    assert (play.gang.num_free, play.num_calls) == (2, 1)
    assert verdict_on(play.row, "b", 7) == StageVerdict.VERDICT_LOST_LEASE


def test_who_falls_silent_before_loses_the_seat() -> None:
    play = Play(num_workers=3).sit("b")
    play.row.lease_until = MOMENT + 60 * SECOND
    assert play.at(16).fact() is None
    tend(play.change, play.row)
    assert (members_of(play.row), play.num_calls) == ([], 1)


def test_when_the_wait_is_over_enough_workers_begin() -> None:
    play = Play(num_workers=3, min_workers=2).sit("b")
    play.row.lease_until = MOMENT + 60 * SECOND
    renew_seat(play.row, "b", MOMENT + 10 * SECOND, TERMS.lease)
    assert play.at(19).fact() is None
    tend(play.change, play.row)
    assert not play.gang.is_formed
    assert play.row.gang_time == MOMENT + 20 * SECOND
    assert play.at(20).fact() is None
    tend(play.change, play.row)
    assert play.gang.is_formed
    meet_at(play.row, "h:1", play.change.moment)
    assert place_of(play.row, "b") == GangPlace(number=1, num_workers=2, address="h:1")


def test_a_leader_may_go_on_alone_if_that_is_enough() -> None:
    play = Play(num_workers=2, min_workers=1)
    play.row.lease_until = MOMENT + 60 * SECOND
    tend(play.at(20).change, play.row)
    meet_at(play.row, "h:1", play.change.moment)
    assert place_of(play.row, "leader") == GangPlace(number=0, num_workers=1, address="h:1")


def test_too_few_are_set_free_and_nobody_is_blamed() -> None:
    play = Play(num_workers=3, min_workers=3).sit("b")
    play.row.lease_until = MOMENT + 60 * SECOND
    renew_seat(play.row, "b", MOMENT + 19 * SECOND, TERMS.lease)
    fact = play.at(20).fact()
    assert fact.failure.failure_class == FailureClass.FAILURE_CLASS_GANG_INCOMPLETE
    assert "only 2 of the 3 workers" in fact.failure.message
    play.change.advance(play.row, fact)
    assert (play.row.state, play.row.gang, play.row.gang_time) == (StageState.QUEUED, None, None)
    assert (play.row.num_counted, play.row.num_waits, play.row.avoid_worker_id) == (0, 0, "")
    assert play.row.claimable_time is not None
    assert play.change.judgements == []


def test_stages_that_compete_come_back_at_different_times() -> None:
    pauses = set()
    for stage_id in "abcdefgh":
        play = Play(num_workers=2)
        play.row.stage_id = stage_id
        play.at(0)
        fact = Failed(7, Failure(failure_class=FailureClass.FAILURE_CLASS_GANG_INCOMPLETE), worker_id="")
        play.change.advance(play.row, fact)
        assert play.row.claimable_time is not None
        pauses.add((play.row.claimable_time - MOMENT).total_seconds())
    assert len(pauses) == 8
    assert 2.5 <= min(pauses) < max(pauses) <= 10.0


def test_while_it_waits_the_workers_are_told_again_and_progress_is_not_watched() -> None:
    play = Play(num_workers=3)
    play.row.gang = replace(play.gang, form_until=MOMENT + 1000 * SECOND)
    play.row.lease_until = MOMENT + 2000 * SECOND
    play.at(OVERLOOKED_AFTER.total_seconds())
    assert play.fact() is None
    tend(play.change, play.row)
    assert play.num_calls == 2
    tend(play.change, play.row)
    assert play.num_calls == 2, "told once"
    assert play.at(900).fact() is None


def test_a_member_that_falls_silent_ends_the_attempt_and_is_blamed() -> None:
    play = Play(num_workers=2).sit("b")
    play.row.lease_until = MOMENT + 60 * SECOND
    assert play.at(15).fact() is None
    fact = play.at(16).fact()
    assert (fact.failure.failure_class, fact.worker_id) == (LOST, "b")
    play.change.advance(play.row, fact)
    assert play.row.state is StageState.QUEUED
    assert play.row.avoid_worker_id == "b"
    assert play.change.judgements == [("b", False)]
    assert verdict_on(play.row, "b", 7) == StageVerdict.VERDICT_LOST_LEASE
    assert verdict_on(play.row, "leader", 7) == StageVerdict.VERDICT_LOST_LEASE


def test_a_member_that_has_done_its_part_may_fall_silent() -> None:
    play = Play(num_workers=3).sit("b", "c").at(1)
    play.leave("b")
    play.leave("c")
    assert play.row.gang_time is None
    play.row.lease_until = MOMENT + 60 * SECOND
    assert play.at(30).fact() is None


def test_a_failure_of_a_member_ends_the_attempt_and_counts_against_it() -> None:
    play = Play(num_workers=2).sit("b").at(1)
    play.leave("b", FailureClass.FAILURE_CLASS_OUT_OF_MEMORY)
    assert (play.row.state, play.row.refit, play.row.avoid_worker_id) == (StageState.QUEUED, 1, "b")
    assert play.change.judgements == [("b", False)]


def test_a_runner_that_only_misses_another_one_blames_nobody() -> None:
    play = Play(num_workers=2).sit("b").at(1)
    assert culprit(play.row, "leader", Failure(failure_class=LOST)) == ""
    play.leave("b", LOST)
    assert (play.row.state, play.row.num_counted, play.row.avoid_worker_id) == (StageState.QUEUED, 1, "")
    assert play.change.judgements == []


def test_without_a_gang_a_lost_runner_counts_against_its_worker() -> None:
    play = Play(num_workers=1, min_workers=1)
    assert culprit(play.row, "leader", Failure(failure_class=LOST)) == "leader"


def test_a_member_that_has_to_leave_asks_the_leader_to_stop_at_a_checkpoint() -> None:
    play = Play(num_workers=3).sit("b", "c").at(1)
    assert verdict_on(play.row, "leader", 7) == StageVerdict.VERDICT_OK
    play.leave("b", FailureClass.FAILURE_CLASS_PREEMPTED)
    assert play.row.state is StageState.RUNNING
    assert {verdict_on(play.row, one, 7) for one in ("leader", "c")} == {StageVerdict.VERDICT_PAUSE}


@pytest.mark.parametrize("state", [state for state in StageState if state is not StageState.RUNNING])
def test_only_a_running_stage_has_seats(state: StageState) -> None:
    play = Play(num_workers=3)
    play.row.state = state
    assert not may_sit(play.row, "b")


def test_a_gang_is_kept_as_json() -> None:
    gang = Gang(2, 1, MOMENT, MOMENT + SECOND, (Seat("b", "r", MOMENT, is_done=True),), "h:1", is_formed=True)
    column, dialect = DataclassJson(Gang), postgresql.dialect()  # type: ignore[no-untyped-call]
    written = column.process_bind_param(gang, dialect)
    assert written["seats"][0]["worker_id"] == "b"
    assert column.process_result_value(written | {"new": 1}, dialect) == gang
    assert column.process_bind_param(None, dialect) is None


def test_only_the_training_is_shared() -> None:
    plain = {"name": "job", "base_model": "tiny", "data": {"path": "/data.jsonl"}}
    spec = JobSpec.model_validate(plain | {"resources": {"num_workers": 4, "min_workers": 2}})
    rows = stage_rows("job", spec, lambda prefix: f"{prefix}_1")
    shared = {row.name: (row.num_workers, row.min_workers) for row in rows}
    assert shared.pop("train") == (4, 2)
    assert set(shared.values()) == {(1, 1)}
