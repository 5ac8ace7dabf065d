"""Labels that the rows most alike contradict, by confident learning (Northcutt et al., 2021, arXiv:1911.00068).
Of rows with sets of classes each class is looked at by itself, given or not (Thyagarajan et al., 2022,
arXiv:2211.13895).

The probability of each class is the vote of a row's nearest neighbours by hashed words weighted by TF-IDF, itself left
out. A label is suspect if another class is as probable as that class is on average where it is given, and more probable
than the label itself. Not cleanlab, whose licence is the AGPL; the two formulas that are needed are short.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_NUM_NEIGHBOURS = 20
_MIN_LIKENESS = 0.1
_WIDTH = 1 << 14
_MIN_ROWS = 20


@dataclass(frozen=True)
class Suspect:
    """A row whose label looks wrong."""

    place: int
    """Index into what was looked at."""
    likely: int
    """The class of the rows like it."""
    probability: float
    """Of that class."""


@dataclass(frozen=True)
class SetSuspect:
    """A row whose set of classes looks wrong."""

    place: int
    """Index into what was looked at."""
    doubted: list[int]
    """Classes that the row has and rows like it have not, or the other way round."""
    probability: float
    """Of the one that is surest."""


@dataclass(frozen=True)
class _Neighbours:
    """The rows most alike, of each row."""

    nearest: npt.NDArray[np.int64]
    """[rows, neighbours]"""
    weights: npt.NDArray[np.float32]
    """[rows, neighbours]: how alike they are; 0 if not at all."""


def suspects_of(texts: Sequence[str], classes: npt.NDArray[np.int32], num_classes: int) -> list[Suspect]:
    """Those among rows with classes from 0 to `num_classes` - 1, the surest first. Few rows, or one class: none.

    Memory grows with the square of the number of texts.
    """
    if len(texts) < _MIN_ROWS or len(np.unique(classes)) < 2:
        return []
    return _suspects(_neighbours(texts), classes, num_classes)


def suspects_of_sets(texts: Sequence[str], members: npt.NDArray[np.bool_]) -> list[SetSuspect]:
    """Those among rows with sets of classes, the surest first. Few rows: none.

    A class that fewer rows have, or have not, than a row has neighbours is not looked at: none of them could be told.
    Memory grows with the square of the number of texts.

    Args:
        texts: of the rows.
        members: [rows, classes]: which of them each row has.
    """
    having = members.sum(0)
    (looked_at,) = np.nonzero((having >= _NUM_NEIGHBOURS) & (having <= len(texts) - _NUM_NEIGHBOURS))
    if not len(looked_at):
        return []
    neighbours = _neighbours(texts)
    found: dict[int, SetSuspect] = {}
    for number in looked_at.tolist():
        for one in _suspects(neighbours, members[:, number].astype(np.int32), 2):
            known = found.get(one.place, SetSuspect(one.place, [], 0.0))
            surest = max(known.probability, one.probability)
            found[one.place] = SetSuspect(one.place, [*known.doubted, number], surest)
    return sorted(found.values(), key=lambda suspect: -suspect.probability)


def _suspects(neighbours: _Neighbours, classes: npt.NDArray[np.int32], num_classes: int) -> list[Suspect]:
    votes = _votes(neighbours, classes, num_classes)
    is_told = votes.sum(1) > 0
    own = np.take_along_axis(votes, classes[:, None].astype(np.int64), 1)[:, 0]
    # Mean probability of each class among the rows that have it: how sure a sure row is.
    sure = np.full(num_classes, np.inf)
    for name in range(num_classes):
        having = own[is_told & (classes == name)]
        if len(having):
            sure[name] = having.mean()
    other = votes.copy()
    np.put_along_axis(other, classes[:, None].astype(np.int64), -1.0, 1)
    likely = other.argmax(1)
    best = other.max(1)
    (found,) = np.nonzero(is_told & (best >= sure[likely]) & (best > own))
    suspects = [Suspect(int(place), int(likely[place]), float(best[place])) for place in found]
    return sorted(suspects, key=lambda suspect: -suspect.probability)


def _neighbours(texts: Sequence[str]) -> _Neighbours:
    # Here: scikit-learn is large and slow to import, and most rows have no label.
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.pipeline import make_pipeline

    words = HashingVectorizer(n_features=_WIDTH, alternate_sign=False, norm=None, dtype=np.float32)
    features = make_pipeline(words, TfidfTransformer()).fit_transform(texts)
    likeness = (features @ features.T).toarray()
    np.fill_diagonal(likeness, 0.0)
    likeness[likeness < _MIN_LIKENESS] = 0.0
    count = min(_NUM_NEIGHBOURS, len(texts) - 1)
    nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
    return _Neighbours(nearest, np.take_along_axis(likeness, nearest, 1))


def _votes(neighbours: _Neighbours, classes: npt.NDArray[np.int32], num_classes: int) -> npt.NDArray[np.float64]:
    """[rows, classes]: probabilities, or zeros for a row that is like no other."""
    votes = np.zeros((len(classes), num_classes))
    for nearest, weights in zip(neighbours.nearest.T, neighbours.weights.T, strict=True):
        np.add.at(votes, (np.arange(len(classes)), classes[nearest]), weights)
    total = votes.sum(1, keepdims=True)
    return votes / np.where(total > 0, total, 1.0)
