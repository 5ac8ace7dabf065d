"""What workers ask for that begins or ends an attempt, as data, and the border to whoever carries it out.

Claims and ends are many and small, so they are carried out together: `coordinator/lane.py` gathers them, and
`coordinator/batch.py` does a batch of them in one transaction.
"""

from dataclasses import dataclass
from typing import Protocol, overload

from luthier.v1.failure_pb2 import Failure
from luthier.v1.stage_pb2 import StageOutputs
from luthier.v1.worker_service_pb2 import ClaimStageResponse, CompleteStageResponse, FailStageResponse


@dataclass(frozen=True)
class Claim:
    """A worker wants a stage."""

    stage_id: str
    worker_id: str
    request_id: str


@dataclass(frozen=True)
class Complete:
    """An attempt left outputs; with `worker_id` and `request_id` that worker wants the stage that they make ready."""

    stage_id: str
    fence: int
    outputs: StageOutputs
    worker_id: str = ""
    request_id: str = ""


@dataclass(frozen=True)
class Fail:
    """An attempt gives up."""

    stage_id: str
    fence: int
    failure: Failure


Call = Claim | Complete | Fail
Answer = ClaimStageResponse | CompleteStageResponse | FailStageResponse


class Carrier(Protocol):
    """Carries out one call, alone or together with others; returns when it is committed.

    Raises:
        NotFoundError: there is no such stage, or the worker has not registered.
        ConflictError: the fence is stale, or the fact is illegal in the stage's state.
        InvalidRequestError: the worker has said that it cannot run this.
    """

    @overload
    async def carry_out(self, call: Claim) -> ClaimStageResponse: ...
    @overload
    async def carry_out(self, call: Complete) -> CompleteStageResponse: ...
    @overload
    async def carry_out(self, call: Fail) -> FailStageResponse: ...
