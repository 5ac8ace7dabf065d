"""Claims and ends of attempts, a batch of them in one transaction: read, lock, decide, write.

First every attempt of the batch that ends, then those that begin: the stage that an end made ready may be claimed by
the worker that asked for it there and then. One call that is refused spoils nothing, because what is decided of it is
decided before anything of its job is changed. Decisions are pure (`change.py`, `commands/claims.py`); here is only the
order in which things are read, locked and written, which is that of `job_store.py`.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from coordinator import quarantine
from coordinator.apply import finish, judge_workers
from coordinator.calls import Answer, Call, Claim, Complete, Fail
from coordinator.change import JobChange
from coordinator.commands.claims import (
    assignment_of,
    can_go_on,
    can_take_over,
    check_can_run,
    is_avoided,
    is_repeat,
    is_rested,
    may_win,
    take,
)
from coordinator.facts import Completed, Failed
from coordinator.job_store import JobStore, JobTransaction
from coordinator.lifecycle import StageState
from coordinator.seating import culprit, members_of, sit
from coordinator.store.render import stage_message
from coordinator.store.tables import StageRow, WorkerRow, WorkerState
from coordinator.terms import Terms
from luthier.errors import LuthierError, NotFoundError
from luthier.v1.worker_service_pb2 import (
    ClaimStageResponse,
    CompleteStageResponse,
    FailStageResponse,
    StageAssignment,
)


class Busy:
    """Somebody else works on the job, or there is none: carry the call out again, alone, and wait there."""


Outcome = Answer | LuthierError | Busy
BUSY = Busy()


async def carry_out(store: JobStore, calls: Sequence[Call], terms: Terms, *, waits: bool = False) -> list[Outcome]:
    """The outcome of every call, in their order: its answer, or why it was refused. All of it is committed.

    A call whose job somebody else has locked is BUSY, unless the batch `waits`.
    """
    async with store.transaction() as transaction:
        batch = _Batch(transaction, terms, calls)
        await batch.run(waits=waits)
    return [batch.outcomes[number] for number in range(len(calls))]


@dataclass
class _Open:
    """A call whose job is locked."""

    number: int
    change: JobChange
    row: StageRow
    is_new: bool = True
    """Whether it is this call that ends the attempt, and no repeat of the one that did."""


class _Batch:
    """One transaction's worth of calls."""

    def __init__(self, transaction: JobTransaction, terms: Terms, calls: Sequence[Call]) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self._transaction = transaction
        self._terms = terms
        self._calls = calls

    async def run(self, *, waits: bool) -> None:
        """Everything up to the commit."""
        stages = await self._transaction.find_stages({call.stage_id for call in self._calls if isinstance(call, Claim)})
        workers = await self._transaction.find_workers(
            {call.worker_id for call in self._calls if not isinstance(call, Fail) and call.worker_id}
        )
        wanted = [number for number in range(len(self._calls)) if self._is_open(number, stages, workers)]
        found = await self._transaction.lock_jobs_of(
            {self._calls[number].stage_id for number in wanted}, skip_locked=not waits
        )
        changes = {change.job.job_id: change for change in found.values()}
        ends: list[_Open] = []
        claims: list[_Open] = []
        for number in wanted:
            stage_id = self._calls[number].stage_id
            if stage_id not in found:
                self.outcomes[number] = NotFoundError(f"there is no stage {stage_id}") if waits else BUSY
                continue
            one = _Open(number, found[stage_id], found[stage_id].stage(stage_id))
            (claims if isinstance(self._calls[number], Claim) else ends).append(one)
        ended = [one for one in ends if self._end(one)]
        probing = {
            worker.worker_id
            for one in claims
            if (worker := workers[self._claim(one).worker_id]).quarantined_until is not None
        }
        sound = {worker_id for worker_id, worker in workers.items() if worker.num_failures_in_row == 0}
        locked = await judge_workers(self._transaction, changes.values(), self._terms, further=probing, sound=sound)
        for change in changes.values():
            change.settle()
        fences = iter(await self._transaction.next_fences(self._num_fences(ended, claims)))
        for one in ended:
            await self._answer_end(one, workers, fences)
        for one in claims:
            await self._answer_claim(one, locked, fences)
        await finish(self._transaction, changes.values())

    def _is_open(self, number: int, stages: Mapping[str, StageRow], workers: Mapping[str, WorkerRow]) -> bool:
        """Whether the call needs a lock. Most claims that lose are answered here, without one."""
        call = self._calls[number]
        try:
            if not isinstance(call, Claim):
                return True
            if call.stage_id not in stages:
                raise NotFoundError(f"there is no stage {call.stage_id}")
            if call.worker_id not in workers:
                raise NotFoundError(f"worker {call.worker_id} is not known; call RegisterWorker first")
            worker, stage = workers[call.worker_id], stages[call.stage_id]
            check_can_run(worker, stage)
        except LuthierError as error:
            self.outcomes[number] = error
            return False
        if worker.state is not WorkerState.DRAINING and may_win(stage, call.worker_id, call.request_id):
            return True
        self.outcomes[number] = ClaimStageResponse()
        return False

    def _claim(self, one: _Open) -> Claim:
        call = self._calls[one.number]
        assert isinstance(call, Claim), "sorted out before"
        return call

    def _end(self, one: _Open) -> bool:
        """Ends an attempt; False when that is refused."""
        call = self._calls[one.number]
        assert not isinstance(call, Claim), "sorted out before"
        one.is_new = one.row.state is StageState.RUNNING
        try:
            if isinstance(call, Complete):
                helpers = members_of(one.row)
                one.change.advance(one.row, Completed(call.fence, call.outputs))
                one.change.credit(helpers)
            else:
                whose = culprit(one.row, one.row.worker_id, call.failure)
                one.change.advance(one.row, Failed(call.fence, call.failure, whose))
        except LuthierError as error:
            self.outcomes[one.number] = error
            return False
        return True

    def _num_fences(self, ended: Sequence[_Open], claims: Sequence[_Open]) -> int:
        """How many attempts may begin."""
        num_fences = sum(one.row.state is StageState.QUEUED for one in claims)
        for one in ended:
            call = self._calls[one.number]
            num_fences += one.is_new and isinstance(call, Complete) and bool(call.request_id and one.change.ready())
        return num_fences

    async def _answer_end(self, one: _Open, workers: Mapping[str, WorkerRow], fences: Iterator[int]) -> None:
        call = self._calls[one.number]
        stage = stage_message(one.row)
        if not isinstance(call, Complete):
            self.outcomes[one.number] = FailStageResponse(stage=stage)
            return
        answer = CompleteStageResponse(stage=stage)
        worker = workers.get(call.worker_id)
        if call.request_id and worker is not None:
            following = self._following(one, call, worker, fences)
            if following is not None:
                answer.next.CopyFrom(await self._assignment(one.change, following, call.worker_id))
        self.outcomes[one.number] = answer

    def _following(self, one: _Open, call: Complete, worker: WorkerRow, fences: Iterator[int]) -> StageRow | None:
        """The stage that the worker goes on with: claimed now, or when this call came for the first time."""
        change = one.change
        if not one.is_new:
            mine = (row for row in change.stages if is_repeat(row, call.worker_id, call.request_id))
            return next(mine, None)
        row = next((row for row in change.ready() if can_go_on(worker, row, change.moment)), None)
        if row is not None:
            take(change, row, call.worker_id, call.request_id, next(fences), self._terms)
        return row

    async def _answer_claim(self, one: _Open, locked: Mapping[str, WorkerRow], fences: Iterator[int]) -> None:
        call, row, change = self._claim(one), one.row, one.change
        if not is_repeat(row, call.worker_id, call.request_id):
            if not may_win(row, call.worker_id, call.request_id) or not is_rested(row, change.moment):
                self.outcomes[one.number] = ClaimStageResponse()
                return
            is_avoiding = row.state is StageState.QUEUED and is_avoided(row, call.worker_id, change.moment)
            is_for_others = is_avoiding and await self._others_can(row, call)
            if is_for_others or self._is_turned_away(locked.get(call.worker_id), change):
                self.outcomes[one.number] = ClaimStageResponse(try_elsewhere=True)
                return
            if row.state is StageState.QUEUED:
                take(change, row, call.worker_id, call.request_id, next(fences), self._terms)
            else:
                sit(change, row, call.worker_id, call.request_id, self._terms)
        self.outcomes[one.number] = ClaimStageResponse(assignment=await self._assignment(change, row, call.worker_id))

    async def _others_can(self, row: StageRow, call: Claim) -> bool:
        others: Collection[WorkerRow] = await self._transaction.list_ready_workers()
        return any(can_take_over(other, row, call.worker_id) for other in others)

    def _is_turned_away(self, worker: WorkerRow | None, change: JobChange) -> bool:
        """Whether a worker that was in quarantine gets nothing; if it gets something, that is its probe."""
        if worker is None or worker.quarantined_until is None:
            return False
        if quarantine.is_turned_away(worker, change.moment):
            return True
        quarantine.begin_probe(worker, change.moment, self._terms.quarantine)
        return False

    async def _assignment(self, change: JobChange, row: StageRow, worker_id: str) -> StageAssignment:
        checkpoints = await self._transaction.list_checkpoints(row.stage_id) if row.attempt > 1 else []
        return assignment_of(change, row, checkpoints, self._terms.artifacts, worker_id)
