"""Sets of classes of rows: how frequent each class is, which texts have several sets, and which sets look wrong."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from workers.data.quality.labels import NUM_SHOWN, LabelQuality, Place, conflicts_of
from workers.data.quality.noise import suspects_of_sets
from workers.data.quality.sample import SampledRow
from workers.data.quality.set_statistics import statistics_of
from workers.data.splits.classes import Classes
from workers.data.splits.label_sets import LabelSets

_NO_CLASS = "(none)"


def set_quality(
    sets: LabelSets,
    own: npt.NDArray[np.bool_],
    texts: npt.NDArray[np.uint64],
    sample: Sequence[SampledRow],
    place: Place,
) -> LabelQuality | None:
    """What can be said of the sets of classes of the rows in [rows] `own`; None if there is no such row.

    As `label_quality`: a conflict is a text with two different sets.
    """
    rows = np.flatnonzero(own)
    if not len(rows):
        return None
    members = sets.of_rows(rows)
    counts = members.sum(axis=0)
    by_size = np.argsort(-counts, kind="stable")
    shown = [", ".join(one) or _NO_CLASS for one in sets.sets]
    conflicting, conflicts = conflicts_of(Classes(shown, np.where(own, sets.codes, -1)), texts, place)
    ordinals = np.array([row.ordinal for row in sample], np.int64)
    looked_at = sets.of_rows(ordinals).toarray().astype(np.bool_)
    suspects = suspects_of_sets([row.text for row in sample], looked_at)
    examples = []
    for suspect in suspects[:NUM_SHOWN]:
        row = sample[suspect.place]
        likely = looked_at[suspect.place].copy()
        likely[suspect.doubted] ^= True
        names = ", ".join(np.array(sets.names, object)[likely]) or _NO_CLASS
        where = dict(zip(("source", "row"), place(row.ordinal), strict=True))
        label = shown[sets.codes[row.ordinal]]
        examples.append({**where, "label": label, "likely": names, "text": row.text[:200]})
    return LabelQuality(
        num_rows=len(rows),
        counts={sets.names[number]: int(counts[number]) for number in by_size if counts[number]},
        num_conflicting=conflicting,
        conflicts=conflicts,
        num_looked_at=len(sample),
        num_suspect=len(suspects),
        suspects=examples,
        sets=statistics_of(sets, rows),
    )
