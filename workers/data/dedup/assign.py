"""The split of every training row that has none of its own: what must stay together is drawn together."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from luthier.spec import DataSpec
from luthier.spec.data import SplitSpec
from workers.data.dataset import SPLITS
from workers.data.dedup.clusters import Clusters
from workers.data.dedup.decisions import CameBack, Decisions
from workers.data.dedup.index import read_codes, read_column
from workers.data.parts import Part
from workers.data.splits.every_class import keep_every_class
from workers.data.splits.label_sets import LabelSets
from workers.data.splits.split_keys import LABEL, LABELS, LANGUAGE
from workers.data.splits.splitting import Drawable, draw


def assign_splits(
    decisions: Decisions,
    files: Sequence[Path],
    fingerprints: npt.NDArray[np.uint64],
    part: npt.NDArray[np.int32],
    parts: Sequence[Part],
    spec: DataSpec,
) -> None:
    """Moves training rows to the splits that have no files of their own, as the fractions of their parts say.

    Args:
        files: with the rows, in their order.
        part: shape (rows,), index of the part.

    Raises:
        DataError: there are as many strata as rows.
    """
    split = spec.split or SplitSpec()
    rows = np.flatnonzero(decisions.split == SPLITS.index("train"))
    keys = (fingerprints if decisions.cluster is None else _keys(fingerprints, decisions.cluster))[rows]
    texts = None if spec.deduplication.exact else fingerprints[rows]
    if split.group_by is not None:
        keys = _join_groups(keys, read_column(files, "group", np.uint64)[rows])
    sets = LabelSets.of(*read_codes(files, "labels")) if split.stratify_by in (LABEL, LABELS) else None
    classes = None if sets is None else sets.strata()[rows]
    strata = None if split.stratify_by is None or sets is not None else _strata(files, split.stratify_by)[rows]
    times = None if split.time_by is None else read_column(files, "time", np.float64)[rows]
    drawable = Drawable(keys, texts, strata, times, classes)
    if len(parts) == 1:
        owner = np.zeros(len(rows), np.int32)
        decisions.split[rows] = draw(drawable, parts[0].fractions)
    else:
        # What several parts have belongs to the first of them: it must not be drawn twice.
        _, first, unit = np.unique(keys, return_index=True, return_inverse=True)
        owner = part[rows[first]][unit]
        for number, one in enumerate(parts):
            own = np.flatnonzero(owner == number)
            decisions.split[rows[own]] = draw(drawable.take(own), one.fractions)
    if times is None and all(one.targets == "nothing" for one in parts):
        _keep_every_class(decisions, files, rows, keys, owner)


def _keep_every_class(
    decisions: Decisions,
    files: Sequence[Path],
    rows: npt.NDArray[np.int64],
    keys: npt.NDArray[np.uint64],
    owner: npt.NDArray[np.int32],
) -> None:
    """Brings a row of each class back that none of the drawn `rows` in training has; see there for the others."""
    sets = LabelSets.of(*read_codes(files, "labels"))
    if sets is None:
        codes, names = read_codes(files, "label")
        sets = LabelSets([[name] for name in names], codes)
    split = decisions.split[rows]
    for moved in keep_every_class(split, keys, owner, sets.of_rows(rows)):
        back = CameBack(sets.names[moved.label], int(rows[moved.row]), SPLITS[moved.split])
        decisions.came_back.append(back)
    decisions.split[rows] = split


def _keys(fingerprints: npt.NDArray[np.uint64], cluster: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    """For each row the lowest fingerprint of those that are like it."""
    keys = fingerprints.copy()
    members = np.flatnonzero(cluster >= 0)
    keys[members] = _lowest(fingerprints[members], cluster[members])
    return keys


def _join_groups(keys: npt.NDArray[np.uint64], groups: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The keys, equal also for rows of one group, and so for all that hang together by groups and keys in turn."""
    if not len(keys):
        return keys
    units, unit = np.unique(keys, return_inverse=True)
    _, group = np.unique(groups, return_inverse=True)
    together = Clusters(len(units) + int(group.max()) + 1)
    together.link(unit, group + len(units))
    return _lowest(keys, together.labels[unit])


def _lowest(values: npt.NDArray[np.uint64], cluster: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
    """For each row the lowest value in its cluster."""
    lowest = np.full(int(cluster.max(initial=-1)) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(lowest, cluster, values)
    return lowest[cluster]


def _strata(files: Sequence[Path], name: str) -> npt.NDArray[np.int32]:
    """Of each row, from 0; rows of which nobody knows the language are a stratum, too."""
    if name != LANGUAGE:
        return read_codes(files, "stratum")[0]
    return read_codes(files, "language")[0] + 1
