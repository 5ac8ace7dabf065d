"""One transaction on one job: lock, advance, write rows and events and wake-ups, notify.

Every state change of the platform passes through `JobChange`. Lock order, the same everywhere: the job, its stages by
position, the project's counter. The counter is taken last and held until the commit, which makes the sequence dense
and equal to the order of commits.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta

from google.protobuf.message import Message
from sqlmodel import col, select, update
from sqlmodel.ext.asyncio.session import AsyncSession

from coordinator import graph
from coordinator.effects import carry_out
from coordinator.facts import Fact
from coordinator.lifecycle import TERMINAL, Stage, StageState, advance
from coordinator.messages import event_message, stage_ready_message
from coordinator.store.engine import Database, now
from coordinator.store.notifications import EVENTS_CHANNEL, announce
from coordinator.store.tables import DeploymentRow, JobRow, OutboxRow, ProjectRow, StageRow
from luthier.errors import NotFoundError

# A wake-up that nobody followed is repeated after this.
OVERLOOKED_AFTER = timedelta(seconds=30)


class JobChange:
    """A locked job, and what is about to be written."""

    def __init__(self, session: AsyncSession, job: JobRow, stages: Sequence[StageRow], moment: datetime) -> None:
        self.session = session
        self.job = job
        self.stages = stages
        self.moment = moment
        """The database's clock after the locks were taken."""
        self.deployment: DeploymentRow | None = None
        """Set once the deploy stage was queued."""
        self._facts: list[Message] = []
        self._wake_ups: list[StageRow] = []

    @classmethod
    async def lock(cls, session: AsyncSession, job_id: str, *, skip_locked: bool = False) -> "JobChange | None":
        """Locks a job with its stages; None when there is none, or `skip_locked` and somebody else works on it."""
        query = select(JobRow).where(JobRow.job_id == job_id).with_for_update(skip_locked=skip_locked)
        job = (await session.exec(query.execution_options(populate_existing=True))).one_or_none()
        if job is None:
            return None
        stages = select(StageRow).where(StageRow.job_id == job_id).order_by(col(StageRow.position)).with_for_update()
        rows = (await session.exec(stages.execution_options(populate_existing=True))).all()
        change = cls(session, job, rows, await now(session))
        if job.deployment_id is not None:
            change.deployment = await session.get(DeploymentRow, job.deployment_id)
        return change

    def stage(self, stage_id: str) -> StageRow:
        """The row of one of the job's stages."""
        return next(row for row in self.stages if row.stage_id == stage_id)

    def advance(self, row: StageRow, fact: Fact) -> None:
        """Moves one stage.

        Raises:
            ConflictError: the fact is illegal in the stage's state, or its fence is stale.
        """
        before = stage_of(row)
        after, effects = advance(before, fact)
        self._write(row, before, after)
        for effect in effects:
            carry_out(self, row, effect)

    def cancel(self) -> None:
        """Cancels every stage that has not ended.

        Raises:
            ConflictError: the job has ended otherwise.
        """
        for stage, fact in graph.cancel(self.job.state, self._graph()):
            self.advance(self.stage(stage.stage_id), fact)

    def emit(self, fact: Message) -> None:
        """Adds an event; `fact` is one of the messages in the event's oneof."""
        self._facts.append(fact)

    def wake_up(self, row: StageRow, delay_seconds: float) -> None:
        """Makes a QUEUED stage claimable after the delay and has the workers told then."""
        if delay_seconds > 0:
            row.claimable_time = row.wake_time = self.moment + timedelta(seconds=delay_seconds)
            return
        row.claimable_time = None
        row.wake_time = self.moment + OVERLOOKED_AFTER
        self._wake_ups.append(row)

    async def finish(self) -> None:
        """Draws the consequences for the other stages and the job, then writes events and wake-ups."""
        while found := graph.follow(self._graph()):
            for stage, fact in found:
                self.advance(self.stage(stage.stage_id), fact)
        self._settle_job()
        if not self._facts and not self._wake_ups:
            return
        await self.session.flush()
        self.session.add_all([stage_ready_message(self.job, row, self.moment) for row in self._wake_ups])
        self.session.add_all(await self._events())
        await announce(self.session, EVENTS_CHANNEL, self.job.project_id, self.job.job_id)
        self._facts, self._wake_ups = [], []

    def _graph(self) -> list[Stage]:
        return [stage_of(row) for row in self.stages]

    def _settle_job(self) -> None:
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

    def _write(self, row: StageRow, before: Stage, after: Stage) -> None:
        row.state = after.state
        row.attempt = after.attempt
        row.num_counted = after.num_counted
        row.fence = after.fence
        row.worker_id = after.worker_id
        row.outputs = after.outputs
        row.failure = after.failure
        if after.state is before.state:
            return
        if after.state is StageState.QUEUED:
            row.queued_time = self.moment
        if after.state is StageState.RUNNING:
            row.started_time = row.progress_time = self.moment
            row.progress = None
        if after.state in TERMINAL:
            row.finished_time = self.moment
        row.lease_until = row.claimable_time = row.wake_time = None

    async def _events(self) -> list[OutboxRow]:
        if not self._facts:
            return []
        count = len(self._facts)
        counter = (
            update(ProjectRow)
            .where(col(ProjectRow.project_id) == self.job.project_id)
            .values(last_sequence=ProjectRow.last_sequence + count)
            .returning(col(ProjectRow.last_sequence))
            .execution_options(synchronize_session=False)
        )
        last: int = (await self.session.exec(counter)).scalar_one()
        first = last - count + 1
        return [event_message(self.job, fact, first + i, self.moment) for i, fact in enumerate(self._facts)]


@asynccontextmanager
async def change_job(database: Database, job_id: str) -> AsyncIterator[JobChange]:
    """A locked job; what happens inside is committed with its consequences, or not at all.

    Raises:
        NotFoundError: there is no such job.
    """
    async with database.transaction() as session:
        change = await JobChange.lock(session, job_id)
        if change is None:
            raise NotFoundError(f"there is no job {job_id}")
        yield change
        await change.finish()


@asynccontextmanager
async def change_stage(database: Database, stage_id: str) -> AsyncIterator[tuple[JobChange, StageRow]]:
    """The same for the job of a stage, with the stage's row.

    Raises:
        NotFoundError: there is no such stage.
    """
    async with database.transaction() as session:
        job_id = (await session.exec(select(StageRow.job_id).where(StageRow.stage_id == stage_id))).one_or_none()
        change = await JobChange.lock(session, job_id) if job_id else None
        if change is None:
            raise NotFoundError(f"there is no stage {stage_id}")
        yield change, change.stage(stage_id)
        await change.finish()


def stage_of(row: StageRow) -> Stage:
    """What the lifecycle needs to know of a row."""
    stage = Stage(stage_id=row.stage_id, name=row.name, kind=row.kind, needs=tuple(row.needs))
    return replace(
        stage,
        max_attempts=row.max_attempts,
        state=row.state,
        attempt=row.attempt,
        num_counted=row.num_counted,
        fence=row.fence,
        worker_id=row.worker_id,
        outputs=row.outputs,
        failure=row.failure,
    )
