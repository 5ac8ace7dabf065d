"""`data.select`: the rules that leave out training rows, one after the other.

Draws go by the seeded fingerprints of the rows, which are random numbers that a row takes along: the same rows are
drawn in whatever order they stand, few others when rows are added later, and a smaller part of the rows is a part of a
larger one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from luthier.spec import DataSpec
from luthier.spec.data.select import InfluenceSpec
from workers.data import problems
from workers.data.dataset import SPLITS
from workers.data.dedup import REASONS, Decisions
from workers.data.dedup.index import files_of, read_codes
from workers.data.places import CheckReadable
from workers.data.select.set_caps import within_caps
from workers.data.splits.classes import read_classes
from workers.data.splits.label_sets import LabelSets
from workers.data.storage.scratch import read_scratch
from workers.task import Report

_TRAIN = SPLITS.index("train")


@dataclass
class Selection:
    """The training rows that are still in; rules take rows out."""

    rows: Path
    """Scratch folder of all rows."""
    split: npt.NDArray[np.int8]
    """[rows]: as in `Decisions`."""
    reason: npt.NDArray[np.int8]
    """[rows]: as in `Decisions`."""
    part: npt.NDArray[np.int32]
    """[rows]: which source each is of."""
    order: npt.NDArray[np.int64]
    """Ordinals of all rows in the order of the draw."""

    @classmethod
    def of(cls, rows: Path, decisions: Decisions, part_of_file: Sequence[int]) -> "Selection":
        """All training rows are in."""
        fingerprints = [batch["fingerprint"].to_numpy() for _, batch in read_scratch(rows, ["fingerprint"])]
        order = np.argsort(np.concatenate([np.zeros(0, np.uint64), *fingerprints]), kind="stable")
        part = np.array(part_of_file, np.int32)[decisions.file]
        return cls(rows, decisions.split.copy(), decisions.reason.copy(), part, order)

    def candidates(self) -> npt.NDArray[np.int64]:
        """Ordinals of the training rows that are in, in the order of the draw."""
        candidates: npt.NDArray[np.int64] = self.order[self.split[self.order] == _TRAIN]
        return candidates

    def candidates_by_part(self) -> list[npt.NDArray[np.int64]]:
        """The same for each source that has any."""
        candidates = self.candidates()
        part = self.part[candidates]
        return [candidates[part == number] for number in np.unique(part)]

    def drop(self, ordinals: npt.NDArray[np.int64], reason: str) -> None:
        """Takes rows out; `reason` is one of `REASONS`."""
        self.split[ordinals] = -1
        self.reason[ordinals] = REASONS.index(reason)

    def applied(self, decisions: Decisions) -> Decisions:
        """The decisions with what was taken out."""
        return replace(decisions, split=self.split, reason=self.reason)


def select(
    rows: Path,
    decisions: Decisions,
    part_of_file: Sequence[int],
    spec: DataSpec,
    check_readable: CheckReadable,
    report: Report,
) -> Decisions:
    """The decisions after the rules that the job asks for, each on what the one before left.

    Args:
        rows: scratch folder, on whose rows `decisions` decides.
        decisions: after duplicates and splits.
        part_of_file: by file.
        spec: with the rules.
        check_readable: asked before a model is read.
        report: told of the progress.

    Raises:
        ConfigError: a model cannot be used.
        PreemptedError: the worker drains.
    """
    wanted = spec.select
    if wanted is None:
        return decisions
    selection = Selection.of(rows, decisions, part_of_file)
    if wanted.fraction is not None:
        _draw_fraction(selection, wanted.fraction)
    if wanted.influence is not None:
        _prune(selection, wanted.influence, spec.seed, check_readable, report)
    if wanted.max_per_class is not None:
        _cap_classes(selection, wanted.max_per_class)
    if wanted.max_rows is not None:
        selection.drop(selection.candidates()[wanted.max_rows :], problems.BEYOND_MAX_ROWS)
    return selection.applied(decisions)


def _draw_fraction(selection: Selection, fraction: float) -> None:
    for candidates in selection.candidates_by_part():
        size = max(1, round(fraction * len(candidates)))
        selection.drop(candidates[size:], problems.NOT_DRAWN)


def _prune(selection: Selection, spec: InfluenceSpec, seed: int, check_readable: CheckReadable, report: Report) -> None:
    from workers.data.select.features import Features, HashedWords  # here: scikit-learn is slow to import
    from workers.data.select.influence import core_set

    features: Features = HashedWords()
    if spec.embedding_model is not None:
        from workers.data.select.embeddings import Embeddings  # here: it imports torch

        check_readable(spec.embedding_model, "data.select.influence.embedding_model")
        features = Embeddings(Path(spec.embedding_model))
    for candidates in selection.candidates_by_part():
        kept = core_set(selection.rows, candidates, spec, features, seed, report)
        selection.drop(np.setdiff1d(candidates, kept), problems.OUTSIDE_CORE_SET)


def _cap_classes(selection: Selection, cap: int) -> None:
    candidates = selection.candidates()
    sets = LabelSets.of(*read_codes(files_of(selection.rows), "labels"))
    if sets is not None:
        is_within = within_caps(sets.of_rows(candidates), cap)
        selection.drop(candidates[~is_within], problems.BEYOND_CLASS_CAP)
        return
    codes = read_classes(selection.rows, len(selection.split)).codes
    for code in np.unique(codes[candidates]):
        if code >= 0:
            selection.drop(candidates[codes[candidates] == code][cap:], problems.BEYOND_CLASS_CAP)
