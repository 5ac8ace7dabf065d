"""Classes that rows are validated or tested on have to be learned: looked at before rows are tokenised, and after.

A head scores the classes of the training rows. Where the job names its classes, it scores those, whether training rows
have them or not: then nothing is refused here. Nor is it where rows are no classes.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute as pc

from luthier.spec import DataSpec
from workers.data.dataset import SPLITS, split_path
from workers.data.dedup.decisions import REASONS, Decisions
from workers.data.dedup.index import files_of, read_codes
from workers.data.inputs import Inputs
from workers.data.parts import Part
from workers.failures import DataError

_NUM_TOLD = 10
_REMEDY = (
    "give training rows of each, or leave the held-out ones out; a class that is named in objective.labels needs none"
)
_BY_TIME = "; data.split.time_by puts the latest rows there, another split keeps a row of each class in training"
_DROPPED_LATE = "dropped when rows were tokenised or mixed, see data.max_length and data.mixing in the report"

Found = Mapping[str, tuple[int, int]]
"""Of each class of a split: its first row, counted from 0, and how many rows have it."""


def check_drawn(rows: Path, decisions: Decisions, inputs: Inputs, spec: DataSpec) -> None:
    """
    Args:
        rows: the scratch folder of all rows.
        decisions: on those rows.
        inputs: what they are from.
        spec: how they were split.

    Raises:
        DataError: a row to be validated or tested on has a class that no training row has.
    """
    if not _scores_what_is_found(inputs.parts):
        return
    files = inputs.files
    codes, sets = _codes(rows)

    def line(split: int, name: str, found: tuple[int, int]) -> str:
        row = int(np.flatnonzero(decisions.split == split)[found[0]])
        file = files[decisions.file[row]]
        has_class = (codes >= 0) & np.array([name in one for one in sets])[codes]
        lost = Counter(REASONS[code] for code in decisions.reason[has_class & (decisions.reason >= 0)].tolist())
        why = ", ".join(f"{count} {reason}" for reason, count in lost.most_common())
        place = f"{file.name} {file.unit} {decisions.row[row]}"
        return _line(SPLITS[split], name, place, found[1], f"dropped: {why}" if why else "")

    by_split = [_found(codes[decisions.split == number], sets) for number in range(len(SPLITS))]
    _refuse(by_split, line, _BY_TIME if spec.split is not None and spec.split.time_by is not None else "")


def check_written(folder: Path, inputs: Inputs) -> None:
    """
    Args:
        folder: the dataset artifact.
        inputs: what its rows are from.

    Raises:
        DataError: the same, because training rows were dropped on the way there.
    """
    if not _scores_what_is_found(inputs.parts):
        return
    units = {file.name: file.unit for file in inputs.files}
    tables = [pa.ipc.open_file(pa.memory_map(str(split_path(folder, name)))).read_all() for name in SPLITS]

    def line(split: int, name: str, found: tuple[int, int]) -> str:
        row = tables[split].select(["source", "row"]).slice(found[0], 1).to_pylist()[0]
        place = f"{row['source']} {units[row['source']]} {row['row']}"
        return _line(SPLITS[split], name, place, found[1], _DROPPED_LATE)

    _refuse([_classes_of(table) for table in tables], line, "")


def _scores_what_is_found(parts: Sequence[Part]) -> bool:
    return all(part.targets == "nothing" and not part.classes for part in parts)


def _codes(rows: Path) -> tuple[npt.NDArray[np.int32], list[list[str]]]:
    """[rows]: index into the sets of classes; a single class is a set as well."""
    codes, texts = read_codes(files_of(rows), "labels")
    if texts:
        return codes, [json.loads(text) for text in texts]
    codes, texts = read_codes(files_of(rows), "label")
    return codes, [[text] for text in texts]


def _classes_of(table: pa.Table) -> Found:
    """Those of a split as it was written."""
    is_set = table["labels"].null_count < len(table)
    column = table["labels" if is_set else "label"].combine_chunks().dictionary_encode()
    sets = [json.loads(text) if is_set else [text] for text in column.dictionary.to_pylist()]
    return _found(pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False), sets)


def _found(codes: npt.NDArray[np.int32], sets: Sequence[Sequence[str]]) -> Found:
    found: dict[str, tuple[int, int]] = {}
    for code, first, count in np.stack(np.unique(codes, return_index=True, return_counts=True), 1).tolist():
        for name in sets[code] if code >= 0 else ():
            before, num_before = found.get(name, (first, 0))
            found[name] = (min(before, first), num_before + count)
    return found


def _refuse(by_split: Sequence[Found], line: Callable[[int, str, tuple[int, int]], str], hint: str) -> None:
    """
    Raises:
        DataError: there is a class in a later split that the first one lacks.
    """
    lacking = [
        (number, name, found)
        for number, own in enumerate(by_split)
        for name, found in sorted(own.items())
        if name not in by_split[0]
    ]
    if lacking:
        lines = "".join(f"\n  {line(*one)}" for one in lacking[:_NUM_TOLD])
        more = f"\n  ... and {len(lacking) - _NUM_TOLD} more" if len(lacking) > _NUM_TOLD else ""
        raise DataError(f"no training row has these classes of held-out rows; {_REMEDY}{hint}:{lines}{more}")


def _line(split: str, name: str, place: str, count: int, why: str) -> str:
    more = f" and {count - 1} more" if count > 1 else ""
    return f"{place}{more} ({split}): {name!r}{f'; training rows of it were {why}' if why else ''}"
