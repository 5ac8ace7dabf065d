"""What is said to the coordinator about one attempt: said again until it is answered, and not a word more after that.

The outputs of an attempt may be answered with the next stage of the job, which is this worker's from then on. A refusal
means that the attempt is not ours any more: its lease ends, and the runner dies with it.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from luthier.errors import InvalidRequestError, LuthierError
from luthier.ids import new_id
from luthier.v1.failure_pb2 import Failure
from luthier.v1.stage_pb2 import Stage, StageOutputs
from luthier.v1.worker_service_pb2 import (
    CompleteStageRequest,
    FailStageRequest,
    LeaveGangRequest,
    ReportStageRequest,
    StageAssignment,
)
from workers.contract import Outcome
from workers.coordinator_link import NO_ANSWER, Coordinator
from workers.drain import Drain
from workers.failures import classify
from workers.lease import Lease, LeaseEnd

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Taken:
    """An attempt that is this worker's."""

    assignment: StageAssignment
    asked_at: float
    """When the coordinator was first asked for it, in event loop time: its lease began after that."""


class Delivery:
    """Reports and the result of one attempt."""

    def __init__(self, coordinator: Coordinator, lease: Lease, drain: Drain, worker_id: str) -> None:
        """Gives up once `lease` has ended, or when the worker has to leave at once."""
        self._coordinator = coordinator
        self._lease = lease
        self._drain = drain
        self._worker_id = worker_id

    async def report(self, request: ReportStageRequest) -> bool:
        """Whether the coordinator has taken the report. One that it cannot use is dropped."""
        try:
            return await self._until_answered(lambda: self._coordinator.report_stage(request)) is not None
        except InvalidRequestError as error:
            _log.error("stage %s: a report was refused and is dropped: %s", self._lease.stage_id, error)
            return False

    async def record(self, stage: Stage, outcome: Outcome) -> Taken | None:
        """Completes or fails the attempt. Outputs that the coordinator cannot use fail it.

        Returns what this worker has to run next, if the coordinator says so.
        """
        if isinstance(outcome, StageOutputs):
            asked_at = asyncio.get_running_loop().time()
            # One request for all tries: if a reply was lost, the next try gets the assignment that it carried.
            done = CompleteStageRequest(stage_id=stage.stage_id, fence=stage.fence, outputs=outcome)
            if not self._drain.requested.is_set():
                done.worker_id, done.claim_request_id = self._worker_id, new_id("claim")
            try:
                answer = await self._until_answered(lambda: self._coordinator.complete_stage(done))
            except InvalidRequestError as error:
                outcome = classify(error)
            else:
                return Taken(answer.next, asked_at) if answer is not None and answer.HasField("next") else None
        _log.warning("stage %s, attempt %d failed: %s", stage.name, stage.attempt, outcome.message)
        failed = FailStageRequest(stage_id=stage.stage_id, fence=stage.fence, failure=outcome)
        await self._until_answered(lambda: self._coordinator.fail_stage(failed))
        return None

    async def leave(self, stage: Stage, outcome: Outcome) -> None:
        """Says how the part of this worker, a member of a gang, ended. Outputs are the leader's to record."""
        left = LeaveGangRequest(stage_id=stage.stage_id, fence=stage.fence, worker_id=self._worker_id)
        if isinstance(outcome, Failure):
            left.failure.CopyFrom(outcome)
            _log.warning("stage %s, attempt %d: leaving its gang: %s", stage.name, stage.attempt, outcome.message)
        await self._until_answered(lambda: self._coordinator.leave_gang(left))

    async def _until_answered(self, call: Callable[[], Awaitable[_Answer]]) -> _Answer | None:
        """Repeats `call` until it is answered. None: refused, the lease is gone, or the worker leaves at once.

        Raises:
            InvalidRequestError: what was reported is unusable.
        """
        pause = _FIRST_PAUSE_SECONDS
        while self._lease.ended is None:
            try:
                return await call()
            except NO_ANSWER as error:
                _log.warning("stage %s: the coordinator did not take a report: %s", self._lease.stage_id, error)
                if self._drain.at_once.is_set():
                    return None
            except InvalidRequestError:
                raise
            except LuthierError as error:
                _log.error("stage %s: the coordinator refused a report: %s", self._lease.stage_id, error)
                self._lease.end(LeaseEnd.LOST)
                return None
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return None
