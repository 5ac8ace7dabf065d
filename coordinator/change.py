"""A change of one job: what the lifecycle and the graph decide, as rows. Pure: no session, no clock, no await.

Owns the present rows of a job, the moment, and what is to be written besides: new rows, events, wake-ups, what the
change says of its workers. `coordinator/apply.py` locks the job before and writes all of it afterwards.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from datetime import datetime, timedelta

from google.protobuf.message import Message

from coordinator import graph
from coordinator.effects import carry_out
from coordinator.facts import Fact
from coordinator.lifecycle import TERMINAL, Stage, StageState, advance
from coordinator.messages import OutboxMessage, event_message, stage_ready_message
from coordinator.store.tables import DeploymentRow, JobRow, ModelRow, StageRow
from luthier.v1.event_pb2 import JobPauseRequested, JobResumed

# A wake-up that nobody followed is repeated after this.
OVERLOOKED_AFTER = timedelta(seconds=30)

# What the lifecycle knows of a row; equal names on both sides.
_SHARED = tuple(field.name for field in fields(Stage) if field.name != "needs")


class JobChange:
    """A locked job, and what is about to be written."""

    def __init__(
        self,
        job: JobRow,
        stages: Sequence[StageRow],
        moment: datetime,
        make_id: Callable[[str], str],
        deployment: DeploymentRow | None = None,
    ) -> None:
        """Nothing happens yet.

        Args:
            job: the locked row.
            stages: all of its stages, locked, by position.
            moment: the database's clock after the job was locked.
            make_id: makes a new id with a prefix.
            deployment: of the job; None until its deploy stage was ready.
        """
        self.job = job
        self.stages = stages
        self.moment = moment
        self.make_id = make_id
        self.deployment = deployment
        self.new_rows: list[ModelRow | DeploymentRow] = []
        self.judgements: list[tuple[str, bool]] = []
        """Worker, and whether it succeeded; `coordinator/apply.py` carries them out."""
        self._known = {row.stage_id: stage_of(row) for row in stages}
        """The stages as the lifecycle knows them; always what the rows say."""
        self._facts: list[Message] = []
        self._wake_ups: list[StageRow] = []
        self._calls: list[StageRow] = []
        """Stages that look for members, once for each that they need."""

    def stage(self, stage_id: str) -> StageRow:
        """The row of one of the job's stages."""
        return next(row for row in self.stages if row.stage_id == stage_id)

    def advance(self, row: StageRow, fact: Fact) -> None:
        """Moves one stage.

        Raises:
            ConflictError: the fact is illegal in the stage's state, or its fence is stale.
        """
        before = self._known[row.stage_id]
        after, effects = advance(before, fact)
        self._known[row.stage_id] = after
        self._write(row, before, after)
        for effect in effects:
            carry_out(self, row, effect)

    def cancel(self) -> None:
        """Cancels every stage that has not ended.

        Raises:
            ConflictError: the job has ended otherwise.
        """
        self._advance_all(graph.cancel(self.job.state, self._graph()))

    def pause(self) -> None:
        """Holds every stage back that has not ended; one that runs when its try has ended.

        Raises:
            ConflictError: the job has ended.
        """
        found = graph.pause(self.job.state, self._graph())
        if found:
            self.emit(JobPauseRequested())
        self._advance_all(found)

    def resume(self) -> None:
        """Lets everything go on.

        Raises:
            ConflictError: the job has ended.
        """
        found = graph.resume(self.job.state, self._graph())
        if found:
            self.emit(JobResumed())
        self._advance_all(found)

    def ready(self) -> list[StageRow]:
        """Stages that became claimable in this very change and that nobody has taken since."""
        return [row for row in self._wake_ups if row.state is StageState.QUEUED]

    def wanted(self) -> list[StageRow]:
        """Stages that workers are told of: those that are ready, and those that look for members, once for each."""
        return [*self.ready(), *(row for row in self._calls if row.state is StageState.RUNNING)]

    def emit(self, fact: Message) -> None:
        """Adds an event; `fact` is one of the messages in the event's oneof."""
        self._facts.append(fact)

    def wake_up(self, row: StageRow, delay_seconds: float) -> None:
        """Makes a QUEUED stage claimable after the delay and has the workers told then."""
        if delay_seconds > 0:
            row.claimable_time = row.wake_time = self.moment + timedelta(seconds=delay_seconds)
            return
        row.wake_time = self.moment + OVERLOOKED_AFTER
        self._wake_ups.append(row)

    def call_members(self, row: StageRow, num_members: int) -> None:
        """Has the workers told that a RUNNING stage has so many free seats."""
        self._calls += [row] * num_members

    def credit(self, worker_ids: Iterable[str]) -> None:
        """Counts a success for workers that shared an attempt with the one that claimed it."""
        self.judgements += [(worker_id, True) for worker_id in worker_ids]

    def settle(self) -> None:
        """Draws the consequences for the other stages and for the job. Asking twice is safe."""
        stages = self._graph()
        while found := graph.follow(stages):
            self._advance_all(found)
            stages = self._graph()
        before, after = self.job.state, graph.job_state(stages)
        if self.job.failure is None:
            self.job.failure = graph.job_failure(stages)
        self._facts += graph.job_event(before, after, self.job.failure)
        self.job.state = after
        if self.job.start_time is None and any(stage.attempt for stage in stages):
            self.job.start_time = self.moment
        if self.job.end_time is None and after in graph.JOB_TERMINAL:
            self.job.end_time = self.moment

    @property
    def num_events(self) -> int:
        """How many numbers of the project's sequence it needs."""
        return len(self._facts)

    def messages(self, first_sequence: int) -> list[OutboxMessage]:
        """Wake-ups and events for the outbox; the events are numbered from `first_sequence` on."""
        wake_ups = [stage_ready_message(self.job, row, self.moment, self.make_id("wake")) for row in self.wanted()]
        events = [
            event_message(self.job, fact, sequence, self.moment, self.make_id("evt"))
            for sequence, fact in enumerate(self._facts, start=first_sequence)
        ]
        return [*wake_ups, *events]

    @property
    def is_silent(self) -> bool:
        """Whether nobody needs to hear of it."""
        return not self._facts and not self._wake_ups and not self._calls

    def _advance_all(self, found: Iterable[tuple[Stage, Fact]]) -> None:
        for stage, fact in found:
            self.advance(self.stage(stage.stage_id), fact)

    def _graph(self) -> list[Stage]:
        return [*self._known.values()]

    def _write(self, row: StageRow, before: Stage, after: Stage) -> None:
        # Past the instrumentation of each attribute: rows of a change belong to no session, a store compares them.
        present = row.__dict__
        for name in _SHARED:
            if (value := getattr(after, name)) != getattr(before, name):
                present[name] = value
        if after.state is before.state:
            return
        if after.state is StageState.QUEUED:
            present["queued_time"] = self.moment
        if after.state is StageState.RUNNING:
            present["started_time"] = present["progress_time"] = self.moment
            present["progress"] = None
        if after.state in TERMINAL:
            present["finished_time"] = self.moment
        present["lease_until"] = present["claimable_time"] = present["wake_time"] = None
        present["gang"] = present["gang_time"] = None


def stage_of(row: StageRow) -> Stage:
    """What the lifecycle needs to know of a row."""
    present = row.__dict__  # past the instrumentation of each attribute: this is asked for every stage of every change
    return Stage(needs=tuple(present["needs"]), **{name: present[name] for name in _SHARED})
