"""Failures of a stage that are met while Daft reads: they travel as a row, because Daft makes text of an exception."""

from collections.abc import Callable

import pyarrow as pa
from pyarrow import compute as pc

from workers.failures import ConfigError, DataError, DependencyError, StageError

_REASON = "the stage failed"
_KINDS: dict[str, Callable[[str], StageError]] = {
    kind.__name__: kind for kind in (ConfigError, DataError, DependencyError)
}


def carry(error: StageError, file: int, schema: pa.Schema) -> pa.RecordBatch:
    """The failure as a batch of one row, of a schema with `file`, `row`, `reason` and `detail`; null elsewhere."""
    detail = f"{type(error).__name__}:{error}"
    return pa.RecordBatch.from_pylist([{"file": file, "row": 0, "reason": _REASON, "detail": detail}], schema)


def raise_carried(batch: pa.RecordBatch) -> None:
    """
    Raises:
        StageError: the batch is a failure: the one that was carried.
    """
    at = pc.index(batch["reason"], _REASON).as_py()
    if at >= 0:
        kind, _, message = batch["detail"][at].as_py().partition(":")
        raise _KINDS[kind](message)
