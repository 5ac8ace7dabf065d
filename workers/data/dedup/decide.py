"""Which rows stay and in which split: duplicates, leaks between splits, and the split by seed.

Works on a few small columns: at its peak about 90 bytes per row, 140 with groups. A text that occurs in the test rows
leaves the validation and the training rows, one of the validation rows leaves the training rows, whatever
`data.deduplicate` says; so do near duplicates where they are looked for. Sources do not matter to that; but each is
split by itself, so that it has its share in every split.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from luthier.spec import DataSpec
from workers.data import problems
from workers.data.dataset import SPLITS
from workers.data.dedup.assign import assign_splits
from workers.data.dedup.decisions import Decisions
from workers.data.dedup.exact import owners
from workers.data.dedup.index import files_of, read_codes, read_column
from workers.data.dedup.near import near_clusters
from workers.data.dedup.signature import near_of, signing_of
from workers.data.parts import Part


def decide(rows: Path, parts: Sequence[Part], part_of_file: Sequence[int], spec: DataSpec) -> Decisions:
    """Decides on every row of the Parquet files in the sub-folders of `rows`, whose `ordinal` counts from 0.

    Raises:
        DataError: the rows cannot be split as `data.split` says.
    """
    files = files_of(rows)
    split, fingerprints = read_column(files, "split", np.int8), read_column(files, "fingerprint", np.uint64)
    owner = owners(split, fingerprints, read_column(files, "fingerprint_low", np.uint64))
    decisions = Decisions(
        file=read_column(files, "file", np.int32),
        row=read_column(files, "row", np.int64),
        split=split,
        reason=np.full(len(split), -1, np.int8),
        twin=owner,
        cluster=_clusters(rows, files, owner, fingerprints, spec),
    )
    decisions.drop(np.flatnonzero(split[owner] > split), problems.IN_OTHER_SPLIT)
    if spec.deduplication.exact:
        decisions.drop(np.flatnonzero(owner != np.arange(len(split))), problems.DUPLICATE)
    if decisions.cluster is not None:
        _drop_leaks(decisions, decisions.cluster)
        if spec.deduplication.near is not None:
            _drop_near(decisions, decisions.cluster, _said(files))
    part = np.array(part_of_file, np.int32)[decisions.file]
    for number, one in enumerate(parts):
        if one.max_samples is not None:
            own = np.flatnonzero((part == number) & (split == SPLITS.index("train")))
            order = np.argsort(fingerprints[own], kind="stable")
            decisions.drop(own[order[one.max_samples :]], problems.BEYOND_MAX_SAMPLES)
    assign_splits(decisions, files, fingerprints, part, parts, spec)
    return decisions


def _clusters(
    rows: Path,
    files: Sequence[Path],
    owner: npt.NDArray[np.int64],
    fingerprints: npt.NDArray[np.uint64],
    spec: DataSpec,
) -> npt.NDArray[np.int32] | None:
    """The cluster of each row, as in `Decisions`; they are numbered by their first rows."""
    near, signing = near_of(spec), signing_of(spec)
    if near is None or signing is None:
        return None
    is_distinct = owner == np.arange(len(owner))
    with tempfile.TemporaryDirectory(dir=rows.parent, prefix="near-") as folder:
        scratch = Path(folder) / "signatures"
        labels = near_clusters(files, is_distinct, fingerprints[is_distinct], signing, near.threshold, scratch)
    is_shared = np.bincount(labels)[labels] > 1
    _, first, shared = np.unique(labels[is_shared], return_index=True, return_inverse=True)
    numbers = np.full(len(labels), -1, np.int32)
    numbers[is_shared] = np.argsort(np.argsort(first))[shared]
    cluster: npt.NDArray[np.int32] = numbers[(np.cumsum(is_distinct) - 1)[owner]]
    return cluster


def _said(files: Sequence[Path]) -> npt.NDArray[np.int32]:
    """[rows]: a number for the label, or for the whole set of labels; -1 for a row with neither."""
    labels, names = read_codes(files, "label")
    sets, _ = read_codes(files, "labels")
    return np.where(sets < 0, labels, sets + len(names)).astype(np.int32)


def _drop_leaks(decisions: Decisions, cluster: npt.NDArray[np.int32]) -> None:
    """Rows that are like one of a later split."""
    split = decisions.split
    left = np.flatnonzero((cluster >= 0) & (split >= 0))
    twin = _first(left[np.argsort(-split[left], kind="stable")], cluster)[cluster[left]]
    is_leak = split[twin] > split[left]
    decisions.twin[left[is_leak]] = twin[is_leak]
    decisions.drop(left[is_leak], problems.NEAR_OTHER_SPLIT)


def _drop_near(decisions: Decisions, cluster: npt.NDArray[np.int32], labels: npt.NDArray[np.int32]) -> None:
    """All but the first row of each cluster and label, or set of labels: rows that say different things of one text are
    no copies."""
    left = np.flatnonzero((cluster >= 0) & (decisions.split >= 0))
    kind = cluster[left].astype(np.int64) * (int(labels.max(initial=0)) + 2) + labels[left] + 1
    _, first, inverse = np.unique(kind, return_index=True, return_inverse=True)
    twin = left[first][inverse]
    is_copy = twin != left
    decisions.twin[left[is_copy]] = twin[is_copy]
    decisions.drop(left[is_copy], problems.NEAR_DUPLICATE)


def _first(order: npt.NDArray[np.int64], cluster: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """For each cluster the row of it that is the first in `order`; -1 where none is."""
    found, first = np.unique(cluster[order], return_index=True)
    rows = np.full(int(cluster.max(initial=-1)) + 1, -1, np.int64)
    rows[found] = order[first]
    return rows
