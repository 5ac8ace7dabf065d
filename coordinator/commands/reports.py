"""What a running attempt leaves on record: metrics and checkpoints. Each is refused with a stale fence.

Sizes are bounded here, because every record becomes a message on the bus, whose payload is limited to 1 MiB.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC

from google.protobuf.json_format import MessageToDict

from coordinator.apply import change_stage
from coordinator.change import JobChange
from coordinator.job_store import JobStore, JobTransaction
from coordinator.lifecycle import StageState
from coordinator.store.render import checkpoint_message
from coordinator.store.tables import CheckpointRow, MetricRow, StageRow
from luthier.errors import ConflictError, InvalidRequestError
from luthier.v1.event_pb2 import CheckpointCommitted, MetricsReported
from luthier.v1.stage_pb2 import Checkpoint, MetricPoint

MAX_POINT_BYTES = 64 << 10
MAX_EVENT_BYTES = 256 << 10
MAX_URI_CHARS = 4_000


async def report_stage(
    store: JobStore,
    stage_id: str,
    fence: int,
    points: Sequence[MetricPoint],
    checkpoints: Sequence[Checkpoint],
    retired_uris: Sequence[str] = (),
) -> None:
    """Records metrics and checkpoints of a running attempt; what is on record already changes nothing.

    Checkpoints of the stage with one of `retired_uris` are forgotten, those of earlier attempts too. Their files may be
    deleted once this has returned.

    Raises:
        NotFoundError: there is no such stage.
        ConflictError: the fence is stale, or the attempt has ended.
        InvalidRequestError: a point or checkpoint is not usable.
    """
    _check_report(points, checkpoints)
    async with change_stage(store, stage_id) as (transaction, change, row):
        if row.fence != fence or row.state is not StageState.RUNNING:
            raise ConflictError(f"stage {stage_id} is {row.state} with fence {row.fence}; fence {fence} is stale")
        new_points = await _record_points(transaction, change, row, points)
        for batch in _batches(new_points):
            change.emit(MetricsReported(stage_id=stage_id, stage_name=row.name, attempt=row.attempt, points=batch))
        for checkpoint in await _record_checkpoints(transaction, row, checkpoints):
            change.emit(CheckpointCommitted(stage_id=stage_id, stage_name=row.name, checkpoint=checkpoint))
        if retired_uris:
            await transaction.forget_checkpoints(stage_id, retired_uris)


def _check_report(points: Iterable[MetricPoint], checkpoints: Iterable[Checkpoint]) -> None:
    for point in points:
        if not point.values or point.ByteSize() > MAX_POINT_BYTES:
            raise InvalidRequestError(f"the metrics of step {point.step} are empty or larger than {MAX_POINT_BYTES} B")
    for checkpoint in checkpoints:
        if not checkpoint.uri or not checkpoint.digest or len(checkpoint.uri) > MAX_URI_CHARS:
            raise InvalidRequestError(f"the checkpoint of step {checkpoint.step} needs a URI and a digest")


async def _record_points(
    transaction: JobTransaction, change: JobChange, row: StageRow, points: Iterable[MetricPoint]
) -> list[MetricPoint]:
    """Records points and returns those that said something new. Several points of one step become one row."""
    by_step: dict[int, MetricPoint] = {}
    for point in points:
        by_step.setdefault(point.step, MetricPoint()).MergeFrom(point)
    if not by_step:
        return []
    rows = [
        MetricRow(
            stage_id=row.stage_id,
            attempt=row.attempt,
            step=step,
            time=point.time.ToDatetime(tzinfo=UTC) if point.HasField("time") else change.moment,
            values=MessageToDict(point)["values"],
        )
        for step, point in by_step.items()
    ]
    return [by_step[step] for step in sorted(await transaction.put_points(rows))]


async def _record_checkpoints(
    transaction: JobTransaction, row: StageRow, checkpoints: Sequence[Checkpoint]
) -> list[Checkpoint]:
    """Records checkpoints and returns those that are new."""
    if not checkpoints:
        return []
    known = await transaction.list_checkpoints(row.stage_id)
    newest = max((one.step for one in known if one.fence == row.fence), default=-1)
    # Attempt and fence are what we know of the reporter, not what it says. The first of a step counts. One that is
    # older than the newest and not on record was retired: the report is a late repeat.
    by_step = {
        given.step: CheckpointRow(
            stage_id=row.stage_id,
            step=given.step,
            fence=row.fence,
            attempt=row.attempt,
            uri=given.uri,
            digest=given.digest,
        )
        for given in reversed(checkpoints)
        if given.step >= newest
    }
    new = await transaction.put_checkpoints([*by_step.values()]) if by_step else set()
    return [checkpoint_message(by_step[step]) for step in sorted(new)]


def _batches(points: Iterable[MetricPoint]) -> Iterator[list[MetricPoint]]:
    """Points in groups that fit into one event each."""
    batch: list[MetricPoint] = []
    num_bytes = 0
    for point in points:
        if batch and num_bytes + point.ByteSize() > MAX_EVENT_BYTES:
            yield batch
            batch, num_bytes = [], 0
        batch.append(point)
        num_bytes += point.ByteSize()
    if batch:
        yield batch
