"""The dataset artifact: what preprocess writes and every later stage reads.

`train.parquet`, `validation.parquet`, `test.parquet` (each there even with no rows), `report.json`, `report.md`,
`lengths.svg`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet as pq

from workers.failures import DataError

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("source", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("trainable", pa.list_(pa.bool_())),
        ("messages", pa.string()),
    ]
)
"""Columns of every split. `messages` is a JSON list of {role, content}, or empty for a row of plain text."""
NOTES = pa.schema(
    [
        ("weights", pa.list_(pa.float32())),
        ("rejected_ids", pa.list_(pa.int32())),
        ("rejected_trainable", pa.list_(pa.bool_())),
        ("label", pa.string()),
        ("component", pa.string()),
    ]
)
"""Columns that a split may have besides. `weights` is empty for a row whose targets count 1 each, `rejected_*` for one
that compares no answers, `label` for one without, `component` where the job has one source without a name."""


@dataclass(frozen=True)
class Rejected:
    """A conversation with the worse one of two last answers."""

    input_ids: npt.NDArray[np.int32]
    """Shape (length,)"""
    trainable: npt.NDArray[np.bool_]
    """Shape (length,): whether the token is one of that answer."""


@dataclass(frozen=True)
class Example:
    """One tokenised row."""

    row: int
    """1-based line in its file, in a Parquet file the row."""
    source: str
    """Name of its file."""
    input_ids: npt.NDArray[np.int32]
    """Shape (length,): the whole conversation as the chat template renders it."""
    trainable: npt.NDArray[np.bool_]
    """Shape (length,): whether the loss counts this token as a target. Whoever shifts the labels drops position 0,
    which nothing precedes."""
    messages: list[dict[str, str]] | None
    """The conversation, system message included; None for a row of plain text."""
    weights: npt.NDArray[np.float32] | None = None
    """Shape (length,): what each token counts as a target; None: 1 each."""
    rejected: Rejected | None = None
    """What the row's last answer is better than; None: the row compares nothing."""
    label: str | None = None
    """What kind of row it is; None: the data do not say."""
    component: str = ""
    """Name of the source in `data.sources` that it is from; empty where there is but one, without a name."""

    @property
    def prompt(self) -> list[dict[str, str]]:
        """The messages before the last answer; none for plain text."""
        return self.messages[:-1] if self.messages else []

    @property
    def reference(self) -> str:
        """The last answer; empty for plain text."""
        return self.messages[-1]["content"] if self.messages else ""


def split_path(folder: Path, name: SplitName) -> Path:
    """The Parquet file of a split in a dataset artifact."""
    return folder / f"{name}.parquet"


def load_split(folder: Path, name: SplitName) -> list[Example]:
    """All rows of a split, in order. The arrays of all examples share one buffer.

    Raises:
        DataError: the folder is not a dataset artifact.
    """
    path = split_path(folder, name)
    try:
        table = _with_notes(pq.read_table(path)).combine_chunks()
    except (FileNotFoundError, pa.ArrowInvalid, ValueError) as error:
        raise DataError(f"{path} is not a split of a dataset artifact: {error}") from error
    return [
        Example(
            row,
            source,
            input_ids,
            trainable,
            json.loads(messages) if messages else None,
            weights=weights if len(weights) else None,
            rejected=Rejected(rejected_ids, rejected_trainable) if len(rejected_ids) else None,
            label=label or None,
            component=component or "",
        )
        for (
            row,
            source,
            input_ids,
            trainable,
            messages,
            weights,
            rejected_ids,
            rejected_trainable,
            label,
            component,
        ) in zip(
            table["row"].to_pylist(),
            table["source"].to_pylist(),
            _rows(table["input_ids"]),
            _rows(table["trainable"]),
            table["messages"].to_pylist(),
            _rows(table["weights"]),
            _rows(table["rejected_ids"]),
            _rows(table["rejected_trainable"]),
            table["label"].to_pylist(),
            table["component"].to_pylist(),
            strict=True,
        )
    ]


def _with_notes(table: pa.Table) -> pa.Table:
    """The columns of a split in the order of the schemas; notes that it does not have are empty."""
    for field in NOTES:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    schema = pa.unify_schemas([SCHEMA, NOTES])
    return table.select(schema.names).cast(schema)


def _rows(column: pa.ChunkedArray) -> list[npt.NDArray[Any]]:
    """One view per row into the values of a list column."""
    lists = column.combine_chunks()
    if len(lists) == 0:
        return []
    offsets = lists.offsets.to_numpy()
    return np.split(lists.values.to_numpy(zero_copy_only=False), offsets[1:-1])
