"""How an attempt ends: with outputs or with a failure. Both are refused with a stale fence; the same twice is a no-op.

Sizes are bounded here, because every record becomes a message on the bus, whose payload is limited to 1 MiB.
"""

import json

from coordinator.calls import Carrier, Complete, Fail
from luthier.errors import InvalidRequestError
from luthier.v1.failure_pb2 import Failure
from luthier.v1.stage_pb2 import StageOutputs
from luthier.v1.worker_service_pb2 import CompleteStageResponse, FailStageResponse

MAX_OUTPUT_BYTES = 256 << 10
MAX_MESSAGE_CHARS = 4_000
MAX_DETAIL_CHARS = 32_000


async def complete_stage(
    carrier: Carrier, stage_id: str, fence: int, outputs: StageOutputs, worker_id: str = "", request_id: str = ""
) -> CompleteStageResponse:
    """Records the outputs of an attempt; the same outputs twice is a no-op.

    With `worker_id` and `request_id` that worker gets a stage that the outputs made ready, if it may have one: claimed
    in the same transaction. A repeat is answered with the same assignment for as long as that attempt runs.

    Raises:
        NotFoundError: there is no such stage.
        ConflictError: the fence is stale, or other outputs are on record.
        InvalidRequestError: the outputs are not usable.
    """
    _check_outputs(outputs)
    return await carrier.carry_out(Complete(stage_id, fence, outputs, worker_id, request_id))


async def fail_stage(carrier: Carrier, stage_id: str, fence: int, failure: Failure) -> FailStageResponse:
    """Ends an attempt without outputs; the failure's class decides what follows. A repeat is a no-op.

    Raises:
        NotFoundError: there is no such stage.
        ConflictError: the fence is stale, or the stage has succeeded.
    """
    return await carrier.carry_out(Fail(stage_id, fence, bounded(failure)))


def bounded(failure: Failure) -> Failure:
    """As much of a failure as is kept."""
    return Failure(
        failure_class=failure.failure_class,
        message=failure.message[:MAX_MESSAGE_CHARS],
        detail=failure.detail[-MAX_DETAIL_CHARS:],
    )


def _check_outputs(outputs: StageOutputs) -> None:
    if outputs.ByteSize() > MAX_OUTPUT_BYTES:
        raise InvalidRequestError(f"outputs are larger than {MAX_OUTPUT_BYTES} B; put the rest into the artifact")
    try:
        result = json.loads(outputs.result_json or "{}")
    except json.JSONDecodeError as error:
        raise InvalidRequestError(f"result_json is not JSON: {error}") from error
    if not isinstance(result, dict):
        raise InvalidRequestError("result_json must be a JSON object")
