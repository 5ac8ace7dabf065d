"""What is said to the coordinator about one attempt: said again until it is answered, and not a word more after that.

A refusal means that the attempt is not ours any more: its lease ends, and the runner dies with it.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from luthier.errors import InvalidRequestError, LuthierError
from luthier.v1.stage_pb2 import Stage, StageOutputs
from luthier.v1.worker_service_pb2 import CompleteStageRequest, FailStageRequest, ReportStageRequest
from workers.contract import Outcome
from workers.coordinator_link import NO_ANSWER, Coordinator
from workers.drain import Drain
from workers.failures import classify
from workers.lease import Lease, LeaseEnd

_log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


class Delivery:
    """Reports and the result of one attempt."""

    def __init__(self, coordinator: Coordinator, lease: Lease, drain: Drain) -> None:
        """Gives up once `lease` has ended, or when the worker has to leave at once."""
        self._coordinator = coordinator
        self._lease = lease
        self._drain = drain

    async def report(self, request: ReportStageRequest) -> bool:
        """Whether the coordinator has taken the report. One that it cannot use is dropped."""
        try:
            return await self._until_answered(lambda: self._coordinator.report_stage(request))
        except InvalidRequestError as error:
            _log.error("stage %s: a report was refused and is dropped: %s", self._lease.stage_id, error)
            return False

    async def record(self, stage: Stage, outcome: Outcome) -> None:
        """Completes or fails the attempt. Outputs that the coordinator cannot use fail it."""
        if isinstance(outcome, StageOutputs):
            done = CompleteStageRequest(stage_id=stage.stage_id, fence=stage.fence, outputs=outcome)
            try:
                await self._until_answered(lambda: self._coordinator.complete_stage(done))
                return
            except InvalidRequestError as error:
                outcome = classify(error)
        _log.warning("stage %s, attempt %d failed: %s", stage.name, stage.attempt, outcome.message)
        failed = FailStageRequest(stage_id=stage.stage_id, fence=stage.fence, failure=outcome)
        await self._until_answered(lambda: self._coordinator.fail_stage(failed))

    async def _until_answered(self, call: Callable[[], Awaitable[object]]) -> bool:
        """Repeats `call` until it is answered. False: refused, the lease is gone, or the worker leaves at once.

        Raises:
            InvalidRequestError: what was reported is unusable.
        """
        pause = _FIRST_PAUSE_SECONDS
        while self._lease.ended is None:
            try:
                await call()
                return True
            except NO_ANSWER as error:
                _log.warning("stage %s: the coordinator did not take a report: %s", self._lease.stage_id, error)
                if self._drain.at_once.is_set():
                    return False
            except InvalidRequestError:
                raise
            except LuthierError as error:
                _log.error("stage %s: the coordinator refused a report: %s", self._lease.stage_id, error)
                self._lease.end(LeaseEnd.LOST)
                return False
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return False
