"""Which rows stay and in which split: exact duplicates, leaks between splits, and the split by seed.

Works on fingerprints and places alone, some 60 bytes per row. A text that occurs in the test rows leaves the validation
and the training rows, one of the validation rows leaves the training rows, whatever `data.deduplicate` says. Sources do
not matter to that; but each is split by itself, so that it has its share in every split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.data import problems
from workers.data.dataset import SPLITS
from workers.data.engine import daft
from workers.data.parts import Part

_ORDINAL_BITS = 48

REASONS = (
    problems.DUPLICATE,
    problems.IN_OTHER_SPLIT,
    problems.BEYOND_MAX_SAMPLES,
    problems.NOT_DRAWN,
    problems.OUTSIDE_CORE_SET,
    problems.BEYOND_CLASS_CAP,
    problems.BEYOND_MAX_ROWS,
    problems.UNDERSAMPLED,
)
"""Why a row is dropped for the sake of others."""


@dataclass(frozen=True)
class Decisions:
    """One entry per canonical row, in the order of the rows."""

    file: npt.NDArray[np.int32]
    """Where the row is from: index of the file."""
    row: npt.NDArray[np.int64]
    """And the row in it."""
    split: npt.NDArray[np.int8]
    """Index into `SPLITS`, or -1 for a row that is dropped."""
    reason: npt.NDArray[np.int8]
    """Why it is dropped: index into `REASONS`, or -1 for a row that stays."""
    twin: npt.NDArray[np.int64]
    """Ordinal of the row that stays for this text; the row itself if it stays."""


def decide(rows: Path, parts: Sequence[Part], part_of_file: Sequence[int], *, deduplicate: bool) -> Decisions:
    """Decides on every row of the Parquet files in the sub-folders of `rows`, whose `ordinal` counts from 0.

    The split takes as many distinct texts of each part as its fractions say, in the order of their seeded fingerprints:
    it does not depend on the order of the rows, equal texts land on the same side, and rows that are added later move
    few others. From three texts on, no split that was asked for is empty.
    """
    column = daft.col
    table = daft.read_parquet(f"{rows}/*/*.parquet")
    # Said here, because nothing prunes columns through a window: the texts would come along.
    table = table.select("ordinal", "file", "row", "split", "fingerprint", "fingerprint_low")
    # Smallest first: the latest split owns a text, and in it the earliest row.
    rank = (len(SPLITS) - 1 - column("split").cast(daft.DataType.int64())) * (1 << _ORDINAL_BITS) + column("ordinal")
    same_text = daft.Window().partition_by("fingerprint", "fingerprint_low")
    table = table.with_column("rank", rank)
    table = table.with_column("owner", column("rank").min().over(same_text))
    table = table.select("ordinal", "file", "row", "split", "fingerprint", "rank", "owner").sort("ordinal")
    index = table.to_arrow()
    split, own, owner = (index[name].to_numpy() for name in ("split", "rank", "owner"))
    is_leak = (own >> _ORDINAL_BITS) != (owner >> _ORDINAL_BITS)
    is_duplicate = (own != owner) & ~is_leak & deduplicate
    reason = np.full(len(split), -1, np.int8)
    reason[is_leak] = REASONS.index(problems.IN_OTHER_SPLIT)
    reason[is_duplicate] = REASONS.index(problems.DUPLICATE)
    kept = np.where(reason >= 0, -1, split).astype(np.int8)
    file, fingerprints = index["file"].to_numpy(), index["fingerprint"].to_numpy()
    part = np.array(part_of_file, np.int32)[file]
    twin = owner & ((1 << _ORDINAL_BITS) - 1)
    is_surplus = _surplus(kept, part, fingerprints, parts)
    reason[is_surplus], kept[is_surplus] = REASONS.index(problems.BEYOND_MAX_SAMPLES), -1
    for number, one in enumerate(parts):
        # A text that several parts have belongs to the first of them: it must not be drawn twice.
        own = (part[twin] == number) & (kept == SPLITS.index("train"))
        kept[own] = _draw(fingerprints[own], one)
    return Decisions(
        file=file,
        row=index["row"].to_numpy(),
        split=kept,
        reason=reason,
        twin=twin,
    )


def _surplus(
    split: npt.NDArray[np.int8],
    part: npt.NDArray[np.int32],
    fingerprints: npt.NDArray[np.uint64],
    parts: Sequence[Part],
) -> npt.NDArray[np.bool_]:
    """Training rows beyond `max_samples` of their part, in the order of their seeded fingerprints."""
    is_surplus = np.zeros(len(split), np.bool_)
    for number, one in enumerate(parts):
        if one.max_samples is not None:
            (rows,) = np.nonzero((part == number) & (split == SPLITS.index("train")))
            ordered = rows[np.argsort(fingerprints[rows], kind="stable")]
            is_surplus[ordered[one.max_samples :]] = True
    return is_surplus


def _draw(fingerprints: npt.NDArray[np.uint64], part: Part) -> npt.NDArray[np.int8]:
    """The split of each training row: test for the lowest fingerprints, validation for the next ones."""
    ordered = np.unique(fingerprints)
    moved = np.full(len(fingerprints), SPLITS.index("train"), np.int8)
    start = 0
    still_to_serve = [name for name, fraction in part.fractions.items() if fraction > 0]
    for name in list(still_to_serve):
        still_to_serve.remove(name)
        # One text stays for training, and then one for the split that comes next.
        spare = len(ordered) - start - 1
        spare -= min(len(still_to_serve), max(0, spare - 1))
        size = max(0, min(max(1, round(part.fractions[name] * len(ordered))), spare))
        chosen = ordered[start : start + size]
        start += size
        if len(chosen):
            between = (fingerprints >= chosen[0]) & (fingerprints <= chosen[-1])
            moved[between] = SPLITS.index(name)
    return moved
