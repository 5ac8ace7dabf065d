"""What becomes of a wake-up: an assignment, or the end of it. Every wake-up is settled here, or comes again.

assigned, or somebody else has the stage -> settled        no answer -> handed back, for a little later
the coordinator wants another worker     -> handed back    nobody can use it -> dead letter (dead_letters.py)
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from luthier import telemetry
from luthier.errors import ConflictError, InvalidRequestError, NotFoundError
from luthier.ids import new_id
from luthier.v1.worker_service_pb2 import ClaimStageRequest, ClaimStageResponse, StageAssignment
from workers.bus import WakeUp
from workers.coordinator_link import NO_ANSWER, Coordinator
from workers.dead_letters import bury

_log = logging.getLogger(__name__)

_TRIES = 3
_PAUSE_SECONDS = 0.2
_ELSEWHERE_SECONDS = 0.5
"""After which a wake-up that another worker should have is offered again."""


class Claims:
    """Claims stages for one worker."""

    def __init__(
        self, coordinator: Coordinator, worker_id: str, *, on_forgotten: Callable[[], Awaitable[object]]
    ) -> None:
        """`on_forgotten` introduces the worker to a coordinator that does not know it."""
        self._coordinator = coordinator
        self._worker_id = worker_id
        self._on_forgotten = on_forgotten

    async def take(self, wake_up: WakeUp) -> StageAssignment | None:
        """Tries to get the stage and settles the wake-up. None: there is nothing for this worker to do."""
        if wake_up.ready is None:
            await bury(self._coordinator, wake_up, "the payload is not a luthier.v1.StageReady")
            return None
        stage_id = wake_up.ready.stage_id
        with telemetry.span("worker.claim", wake_up.traceparent, stage_id=stage_id):
            try:
                response = await self._claim(stage_id)
            except NO_ANSWER:
                await wake_up.hand_back()
            except ConflictError as error:
                _log.warning("the claim of %s was refused: %s", stage_id, error)
                await wake_up.settle()
            except (NotFoundError, InvalidRequestError) as error:
                await bury(self._coordinator, wake_up, f"the claim was refused: {error}")
            else:
                if response.try_elsewhere:
                    await wake_up.hand_back(_ELSEWHERE_SECONDS)
                    return None
                await wake_up.settle()
                return response.assignment if response.HasField("assignment") else None
        return None

    async def _claim(self, stage_id: str) -> ClaimStageResponse:
        # One request id for all tries: if a reply was lost, the next try gets the assignment that it carried.
        request = ClaimStageRequest(stage_id=stage_id, worker_id=self._worker_id, request_id=new_id("claim"))
        for _ in range(_TRIES - 1):
            try:
                return await self._coordinator.claim_stage(request)
            except NO_ANSWER as error:
                _log.warning("no answer to the claim of %s: %s", stage_id, error)
                await asyncio.sleep(_PAUSE_SECONDS)
            except NotFoundError:
                # It may be the worker that is not known, not the stage: then introducing it helps.
                await self._on_forgotten()
        return await self._coordinator.claim_stage(request)
