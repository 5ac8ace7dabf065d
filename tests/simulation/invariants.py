"""What must be true after the quiet phase, whatever went wrong before: of the rows, and of the event log alone.

One thing must be true during it as well: nothing runs without a lease.
"""

from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise

from coordinator.change import stage_of
from coordinator.graph import JOB_TERMINAL, JobState, job_state
from coordinator.lifecycle import TERMINAL, StageState
from coordinator.quarantine import MAX_FAILURES_IN_ROW
from coordinator.retries import MAX_WAITS
from coordinator.store.tables import DeploymentState, StageRow
from luthier.v1.event_pb2 import Event
from tests.simulation.memory_store import Tables

LONGEST_LAPSE = timedelta(seconds=60)

# What an event makes of its stage, and of its job.
STAGE_STATES = {
    "stage_queued": StageState.QUEUED,
    "stage_started": StageState.RUNNING,
    "stage_succeeded": StageState.SUCCEEDED,
    "stage_failed": StageState.FAILED,
    "stage_skipped": StageState.SKIPPED,
    "stage_cancelled": StageState.CANCELLED,
    "stage_retried": StageState.QUEUED,
    "stage_paused": StageState.PAUSED,
}
# What a stage must have been before. A try that ends while the job is being paused is told as retried, then as paused.
_READY = {StageState.PENDING, StageState.QUEUED, StageState.RUNNING}
STAGE_ORIGINS = {
    "stage_queued": {StageState.PENDING, StageState.PAUSED},
    "stage_started": {StageState.QUEUED},
    "stage_succeeded": {StageState.RUNNING},
    "stage_failed": {StageState.RUNNING},
    "stage_skipped": {StageState.PENDING},
    "stage_cancelled": _READY | {StageState.PAUSED},
    "stage_retried": {StageState.RUNNING},
    "stage_paused": _READY,
}
JOB_STATES = {
    "job_created": JobState.PENDING,
    "job_started": JobState.RUNNING,
    "job_paused": JobState.PAUSED,
    "job_succeeded": JobState.SUCCEEDED,
    "job_failed": JobState.FAILED,
    "job_cancelled": JobState.CANCELLED,
}


def check(tables: Tables, accepted: set[str]) -> None:
    """Every invariant.

    Raises:
        AssertionError: naming the one that does not hold.
    """
    events = [Event.FromString(row.payload) for row in tables.outbox.values() if row.sequence is not None]
    _check_jobs(tables, accepted)
    _check_stages(tables)
    _check_log(tables, events)
    _check_replay(tables, events)
    assert all(row.published_time for row in tables.outbox.values()), "the outbox is not empty"
    assert not tables.poisoned, f"not reconciled: {tables.poisoned}"
    for worker in tables.worker.values():
        is_away = worker.quarantined_until is not None
        assert is_away is (worker.num_failures_in_row >= MAX_FAILURES_IN_ROW), f"{worker.worker_id}: quarantine"


def check_leases(tables: Tables, moment: datetime) -> None:
    """While nothing goes wrong, an attempt whose lease is over is soon ended by a reconciler.

    Raises:
        AssertionError: naming an attempt that goes on without a lease.
    """
    for stage_id, row in tables.stage.items():
        if row.state is StageState.RUNNING:
            assert row.lease_until is not None, f"{stage_id} runs without a lease"
            late = moment - row.lease_until
            assert late < LONGEST_LAPSE, f"{stage_id} runs, and its lease has been over for {late}"
            _check_gang(stage_id, row, moment)


def _check_gang(stage_id: str, row: StageRow, moment: datetime) -> None:
    if row.gang is None:
        assert row.num_workers == 1, f"{stage_id} is of several workers, and has no gang"
        return
    seated = [seat.worker_id for seat in row.gang.seats]
    assert len({row.worker_id, *seated}) == 1 + len(seated) <= row.num_workers, f"{stage_id}: its gang is {seated}"
    assert not row.gang.is_formed or 1 + len(seated) >= row.min_workers, f"{stage_id}: too few work on it"
    assert row.gang_time is None or moment - row.gang_time < LONGEST_LAPSE, f"{stage_id}: its gang is overlooked"


def _check_jobs(tables: Tables, accepted: set[str]) -> None:
    assert accepted <= set(tables.job), "an accepted job is not on record"
    for job_id, job in tables.job.items():
        stages = [tables.stage[stage_id] for stage_id in tables.stages_of[job_id]]
        assert job.state in JOB_TERMINAL, f"{job_id} has not ended: {job.state} {[row.state for row in stages]}"
        assert job.state is job_state([stage_of(row) for row in stages]), f"{job_id} is not what its stages say"
        assert job.end_time is not None, f"{job_id} has no end"
        for row in stages:
            if row.state is not StageState.SUCCEEDED or row.kind not in ("export", "deploy"):
                continue
            models = [model for model in tables.model.values() if model.job_id == job_id]
            assert [model.model_id for model in models] == [job.model_id], f"{job_id}: one export, one model"
            if row.kind == "deploy":
                assert tables.deployment[job.deployment_id or ""].state is DeploymentState.ACTIVE, (
                    f"{job_id}: not active"
                )
    for deployment in tables.deployment.values():
        assert deployment.state is not DeploymentState.PENDING, f"{deployment.deployment_id} is left open"


def _check_stages(tables: Tables) -> None:
    for stage_id, row in tables.stage.items():
        assert row.state in TERMINAL, f"{stage_id} is {row.state}"
        assert row.lease_until is None, f"{stage_id} has ended and holds a lease"
        assert (row.gang, row.gang_time) == (None, None), f"{stage_id} has ended and has a gang"
        assert not row.pause_requested, f"{stage_id} has ended and is to pause"
        assert row.num_counted <= row.max_attempts, f"{stage_id} was tried too often"
        assert row.num_waits <= MAX_WAITS + 1, f"{stage_id} waited too often"
        if row.state is StageState.SUCCEEDED:
            assert row.outputs is not None, f"{stage_id} succeeded without outputs"
            assert row.outputs.metrics["fence"] == row.fence, f"{stage_id} has the outputs of another attempt"


def _check_log(tables: Tables, events: list[Event]) -> None:
    sequences = [event.sequence for event in events]
    assert sequences == list(range(1, len(events) + 1)), "the sequence is not dense and in order of commits"
    assert tables.last_sequence == len(events), "the counter is not the last sequence"
    starts = [event.stage_started for event in events if event.HasField("stage_started")]
    assert len({start.fence for start in starts}) == len(starts), "a fence was given twice"
    for stage_id, row in tables.stage.items():
        fences = [start.fence for start in starts if start.stage_id == stage_id]
        assert all(before < after for before, after in pairwise(fences)), f"{stage_id}: fences do not rise"
        assert row.attempt == len(fences), f"{stage_id}: attempts on record are not those that started"
        assert row.fence == (fences[-1] if fences else 0), f"{stage_id}: the fence is not the last one"
    for event in events:
        checkpoint = event.checkpoint_committed.checkpoint
        whose = f"/{checkpoint.attempt}-{checkpoint.fence}/"
        assert not checkpoint.uri or whose in checkpoint.uri, f"{checkpoint.uri} is put down to {whose}"
    successes = Counter(event.stage_succeeded.stage_id for event in events if event.HasField("stage_succeeded"))
    assert all(count == 1 for count in successes.values()), "a stage succeeded twice"


def _check_replay(tables: Tables, events: list[Event]) -> None:
    """The event log alone leads to the states on record, and nothing in it is out of turn."""
    stages: dict[str, StageState] = {}
    jobs: dict[str, JobState] = {}
    refits: dict[str, int] = {}
    held_back: set[str] = set()
    for event in events:
        name = event.WhichOneof("fact") or ""
        assert jobs.get(event.job_id) not in JOB_TERMINAL, f"{name} after the end of {event.job_id}"
        if name in ("job_pause_requested", "job_resumed"):
            (held_back.add if name == "job_pause_requested" else held_back.discard)(event.job_id)
        if name in JOB_STATES:
            jobs[event.job_id] = JOB_STATES[name]
        elif name in STAGE_STATES:
            fact = getattr(event, name)
            before = stages.get(fact.stage_id, StageState.PENDING)
            assert before in STAGE_ORIGINS[name], f"{fact.stage_id}: {name} while {before}"
            assert event.job_id not in held_back or name not in ("stage_queued", "stage_started"), (
                f"{name} while paused"
            )
            stages[fact.stage_id] = STAGE_STATES[name]
            if name == "stage_retried":
                refits[fact.stage_id] = fact.refit
    for job_id, job in tables.job.items():
        assert jobs[job_id] is job.state, f"{job_id}: the log says {jobs[job_id]}, the row {job.state}"
    for stage_id, row in tables.stage.items():
        assert stages[stage_id] is row.state, f"{stage_id}: the log says {stages[stage_id]}, the row {row.state}"
        if row.state is StageState.SUCCEEDED:
            assert refits.get(stage_id, 0) == row.refit, f"{stage_id}: the log does not tell of every refit"
