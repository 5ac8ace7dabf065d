"""When a worker is trusted no more, and how it comes back."""

from datetime import UTC, datetime, timedelta

from coordinator import quarantine
from coordinator.store.tables import WorkerRow, WorkerState
from luthier.v1.worker_pb2 import WorkerCapabilities

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def worker(num_failures: int = 0, state: WorkerState = WorkerState.READY) -> WorkerRow:
    """A worker with failures on record."""
    row = WorkerRow(
        worker_id="w",
        display_name="here",
        capabilities=WorkerCapabilities(),
        state=state,
        register_time=MOMENT,
        heartbeat_time=MOMENT,
    )
    for _ in range(num_failures):
        quarantine.blame(row, MOMENT, MINUTE)
    return row


def test_the_third_failure_in_a_row_sends_it_away() -> None:
    for num_failures in (1, 2):
        assert worker(num_failures).state is WorkerState.READY
        assert not quarantine.is_turned_away(worker(num_failures), MOMENT)
    away = worker(3)
    assert (away.state, away.quarantined_until) == (WorkerState.QUARANTINED, MOMENT + MINUTE)
    assert quarantine.is_turned_away(away, MOMENT)
    assert not quarantine.is_turned_away(away, MOMENT + MINUTE)


def test_each_further_failure_doubles_the_time_up_to_an_hour() -> None:
    lengths = [worker(n).quarantined_until for n in (3, 4, 5, 8, 9, 10, 1000)]
    minutes = [(until - MOMENT) / MINUTE for until in lengths if until is not None]
    assert minutes == [1, 2, 4, 32, 60, 60, 60]


def test_a_success_or_a_person_brings_it_back() -> None:
    away = worker(5)
    quarantine.clear(away)
    assert (away.state, away.num_failures_in_row, away.quarantined_until) == (WorkerState.READY, 0, None)
    quarantine.blame(away, MOMENT, MINUTE)
    assert away.state is WorkerState.READY


def test_one_probe_is_let_through_and_the_next_one_waits_as_long_again() -> None:
    away = worker(4)
    later = MOMENT + 2 * MINUTE
    assert not quarantine.is_turned_away(away, later)
    quarantine.begin_probe(away, later, MINUTE)
    assert quarantine.is_turned_away(away, later + MINUTE)
    assert not quarantine.is_turned_away(away, later + 2 * MINUTE)


def test_a_quarantine_outlives_silence_and_draining() -> None:
    lost = worker(3, WorkerState.LOST)
    assert lost.state is WorkerState.LOST
    assert quarantine.present_state(lost) is WorkerState.QUARANTINED
    assert quarantine.present_state(lost, is_draining=True) is WorkerState.DRAINING
    assert quarantine.present_state(worker()) is WorkerState.READY
