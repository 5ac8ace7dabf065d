"""Which rows stay and in which split: exact duplicates, leaks between splits, and the split by seed.

Works on fingerprints and places alone, some 60 bytes per row. A text that occurs in the test rows leaves the validation
and the training rows, one of the validation rows leaves the training rows, whatever `data.deduplicate` says.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from luthier.spec import DataSpec
from workers.data.dataset import SPLITS
from workers.data.engine import daft

_ORDINAL_BITS = 48


@dataclass(frozen=True)
class Decisions:
    """One entry per canonical row, in the order of the rows."""

    file: npt.NDArray[np.int32]
    """Where the row is from: index of the source."""
    row: npt.NDArray[np.int64]
    """And the row in it."""
    split: npt.NDArray[np.int8]
    """Index into `SPLITS`, or -1 for a row that is dropped."""
    is_duplicate: npt.NDArray[np.bool_]
    """Dropped, because the same text comes earlier in its split."""
    is_leak: npt.NDArray[np.bool_]
    """Dropped, because the same text is in a later split."""
    twin: npt.NDArray[np.int64]
    """Ordinal of the row that stays for this text; the row itself if it stays."""


def decide(rows: Path, spec: DataSpec) -> Decisions:
    """Decides on every row of the Parquet files in the folder `rows`, whose `ordinal` counts from 0.

    The split takes as many distinct texts as the fractions say, in the order of their seeded fingerprints: it does
    not depend on the order of the rows, equal texts land on the same side, and rows that are added later move few
    others. From three texts on, no split that was asked for is empty.
    """
    column = daft.col
    table = daft.read_parquet(f"{rows}/*.parquet")
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
    is_duplicate = (own != owner) & ~is_leak & spec.deduplicate
    kept = np.where(is_leak | is_duplicate, -1, split).astype(np.int8)
    return Decisions(
        file=index["file"].to_numpy(),
        row=index["row"].to_numpy(),
        split=_draw(kept, index["fingerprint"].to_numpy(), spec),
        is_duplicate=is_duplicate,
        is_leak=is_leak,
        twin=owner & ((1 << _ORDINAL_BITS) - 1),
    )


def _draw(split: npt.NDArray[np.int8], fingerprints: npt.NDArray[np.uint64], spec: DataSpec) -> npt.NDArray[np.int8]:
    """Moves the lowest fingerprints of the training rows into test, the next ones into validation."""
    wanted = {
        "test": 0.0 if spec.test_path else spec.test_fraction,
        "validation": 0.0 if spec.validation_path else spec.validation_fraction,
    }
    train = SPLITS.index("train")
    ordered = np.unique(fingerprints[split == train])
    moved = split.copy()
    start = 0
    still_to_serve = [name for name, fraction in wanted.items() if fraction > 0]
    for name in list(still_to_serve):
        still_to_serve.remove(name)
        # One text stays for training, and then one for the split that comes next.
        spare = len(ordered) - start - 1
        spare -= min(len(still_to_serve), max(0, spare - 1))
        size = max(0, min(max(1, round(wanted[name] * len(ordered))), spare))
        chosen = ordered[start : start + size]
        start += size
        if len(chosen):
            between = (fingerprints >= chosen[0]) & (fingerprints <= chosen[-1])
            moved[(split == train) & between] = SPLITS.index(name)
    return moved
