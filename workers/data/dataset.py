"""The dataset artifact: what preprocess writes and every later stage reads.

`train.arrow`, `validation.arrow`, `test.arrow` (each there even with no rows), `report.json`, `report.md`,
`lengths.svg`. A split is read as a sequence of examples that are made when they are looked at; their arrays are views
into the file, which is mapped into memory (mapped.py).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from workers.data.storage.mapped import MappedBatch, MappedTable
from workers.data.storage.tables import TableWriter, open_mapped
from workers.failures import DataError

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

_VERSION_KEY, _VERSION = b"luthier.split", b"4"
_MASK = pa.list_(pa.uint8())

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("source", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("trainable", _MASK),
        ("messages", pa.string()),
        ("weights", pa.list_(pa.float32())),
        ("rejected_ids", pa.list_(pa.int32())),
        ("rejected_trainable", _MASK),
        ("label", pa.string()),
        ("tools", pa.string()),
        ("component", pa.string()),
        ("augmented", pa.string()),
        ("difficulty", pa.float64()),
        ("labels", pa.string()),
    ],
    metadata={_VERSION_KEY: _VERSION},
)
"""Columns of every split. Masks have a byte for each token, 0 or 1, so that numpy reads them where they lie. `messages`
is a JSON list of messages as `workers.data.row` has them, or empty for a row of plain text. `weights` is empty for a
row whose targets count 1 each, `rejected_*` for one that compares no answers, `label` for one without, `tools` (JSON)
for one that offers none, `component` where the job has one source without a name, `augmented` for one that was read and
not made of another, `difficulty` for one that does not say it. `labels` is a JSON list of names, empty for a row of no
class, and null for one that is not about sets of classes."""
_ADDED_SINCE = {b"4": (), b"3": ("labels",), b"2": ("labels", "difficulty")}
"""Versions that are read, and the columns of `SCHEMA` that each does not have."""


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
    messages: list[dict[str, Any]] | None
    """The conversation, system message included; None for a row of plain text, and where nobody asked for it."""
    weights: npt.NDArray[np.float32] | None = None
    """Shape (length,): what each token counts as a target; None: 1 each."""
    rejected: Rejected | None = None
    """What the row's last answer is better than; None: the row compares nothing."""
    label: str | None = None
    """What kind of row it is; None: the data do not say."""
    labels: tuple[str, ...] | None = None
    """The classes that it is of, each once, sorted; empty: of none. None: it is not a row with a set of classes."""
    tools: str | None = None
    """The functions that the assistant may call, a JSON list of their schemas; None: there are none."""
    component: str = ""
    """Name of the source in `data.sources` that it is from; empty where there is but one, without a name."""
    augmented: str = ""
    """What made it of the row that `source` and `row` name; empty: nothing, it is that row."""
    difficulty: float | None = None
    """The larger the harder; None: the data do not say."""

    @property
    def prompt(self) -> list[dict[str, Any]]:
        """The messages before the last answer, or all, where there is none; none for plain text."""
        messages = self.messages or []
        return messages[:-1] if self.is_answered else messages

    @property
    def is_answered(self) -> bool:
        """Whether the assistant has the last word in a conversation."""
        messages = self.messages or []
        return bool(messages) and messages[-1]["role"] == "assistant"

    @property
    def reference(self) -> str:
        """The words of the last answer; empty for plain text."""
        return str(self.messages[-1]["content"]) if self.messages and self.is_answered else ""


class Split(Sequence[Example]):
    """The rows of a split, in order. Each look at one makes a new `Example`; its arrays are read-only views.

    It is pickled as a path, and the other process maps the file itself.
    """

    def __init__(self, path: Path, *, conversations: bool = True) -> None:
        """`conversations`: whether examples have their `messages`, which training never looks at.

        Raises:
            DataError: there is no split of a dataset artifact, or one of another version.
        """
        self._path = path
        self._conversations = conversations
        try:
            self._table = MappedTable(path)
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise DataError(f"{path} is not a split of a dataset artifact: {error}; {_REMEDY}") from error
        _check_version(path, self._table.schema)
        self._columns = frozenset(self._table.schema.names)

    def __len__(self) -> int:
        return self._table.num_rows

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return self._example(*self._table.find(range(len(self))[index]))

    def __iter__(self) -> Iterator[Example]:
        return (self._example(batch, row) for batch, row in self._table.rows())

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._path, self._conversations)

    @cached_property
    def lengths(self) -> npt.NDArray[np.int32]:
        """[rows]: tokens of each `input_ids`, which are not looked at for that."""
        return self._table.lengths("input_ids")

    @cached_property
    def rejected_lengths(self) -> npt.NDArray[np.int32]:
        """[rows]: those of the worse answer; 0 where there is none."""
        return self._table.lengths("rejected_ids")

    @cached_property
    def difficulties(self) -> npt.NDArray[np.float64]:
        """[rows]: how difficult each row is, not a number where the data do not say."""
        if "difficulty" not in self._columns:
            return np.full(len(self), np.nan)
        return self._table.numbers("difficulty")

    def _example(self, batch: MappedBatch, row: int) -> Example:
        messages = batch.value("messages", row) if self._conversations else None
        weights = batch.values("weights", row)
        rejected = batch.values("rejected_ids", row)
        labels = batch.value("labels", row) if "labels" in self._columns else None
        return Example(
            batch.value("row", row),
            batch.value("source", row),
            batch.values("input_ids", row),
            batch.values("trainable", row).view(np.bool_),
            json.loads(messages) if messages else None,
            weights=weights if len(weights) else None,
            rejected=Rejected(rejected, batch.values("rejected_trainable", row).view(np.bool_))
            if len(rejected)
            else None,
            label=batch.value("label", row) or None,
            labels=None if labels is None else tuple(json.loads(labels)),
            tools=batch.value("tools", row) or None,
            component=batch.value("component", row) or "",
            augmented=batch.value("augmented", row) or "",
            difficulty=batch.value("difficulty", row) if "difficulty" in self._columns else None,
        )


_REMEDY = "submit the job again, which makes the dataset anew"


def split_path(folder: Path, name: SplitName) -> Path:
    """The file of a split in a dataset artifact."""
    return folder / f"{name}.arrow"


def load_split(folder: Path, name: SplitName, *, conversations: bool = True) -> Split:
    """All rows of a split; see `Split`.

    Raises:
        DataError: the folder is not a dataset artifact, or one of another version.
    """
    return Split(split_path(folder, name), conversations=conversations)


@contextmanager
def open_split(folder: Path, name: SplitName) -> Iterator[TableWriter]:
    """A new split, written in batches of bounded size; complete when the block is left without an exception."""
    with open_mapped(split_path(folder, name), SCHEMA) as table:
        yield table


def write_split(folder: Path, name: SplitName, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a split of rows that are in memory, with the names of `SCHEMA`; what one leaves out is null."""
    masks_as_bools = [field.with_type(pa.list_(pa.bool_())) if field.type == _MASK else field for field in SCHEMA]
    with open_split(folder, name) as table:
        table.write(pa.Table.from_pylist([dict(row) for row in rows], schema=pa.schema(masks_as_bools)))


def _check_version(path: Path, schema: pa.Schema) -> None:
    found = (schema.metadata or {}).get(_VERSION_KEY, b"none").decode()
    lacking = _ADDED_SINCE.get(found.encode())
    if lacking is None:
        raise DataError(f"{path} is a split of version {found}, and this is version {_VERSION.decode()}; {_REMEDY}")
    if not schema.equals(pa.schema([field for field in SCHEMA if field.name not in lacking])):
        raise DataError(f"{path} does not have the columns of a split; {_REMEDY}")


def _reopen(path: Path, conversations: bool) -> Split:
    return Split(path, conversations=conversations)
