"""One number for a dataset, and the parts that it is made of.

score = 100 x the weighted geometric mean of the parts, each from 0.01 to 1: exp(sum of w ln(part) / sum of w). So a
part of weight that is ruined cannot be made good by the others. Parts that do not apply are left out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from workers.data.quality.labels import LabelQuality
from workers.data.quality.lengths import Lengths
from workers.data.quality.vocabulary import Vocabulary

_LEAST = 0.01
"""What a part counts at the least: a minor one that is 0 does not make the score 0."""


@dataclass(frozen=True)
class Quality:
    """What the rows of a dataset are like: after cleaning and filters, before duplicates are dropped."""

    num_read: int
    """Rows read."""
    num_empty: int
    """Rows with nothing in a place where something has to be."""
    num_invalid: int
    """Rows with any other fault."""
    num_good: int
    """Rows that no step dropped."""
    num_kept: int
    """Rows that stay in a split."""
    num_duplicates: int
    """Good rows whose text, or nearly whose text, another row has that stays."""
    num_broken: int
    """Good rows with signs of broken characters."""
    broken: list[dict[str, Any]]
    """Examples: file, row and text."""
    lengths: dict[str, Lengths]
    """Of good rows, in characters, words and turns."""
    languages: dict[str, int]
    """Good rows by language, the most frequent first; those that cannot be told are left out."""
    vocabulary: Vocabulary
    labels: LabelQuality | None
    """None: no row has a label."""

    @property
    def other_languages(self) -> float:
        """Share of rows in another language than the most frequent one, of those whose language can be told."""
        told = sum(self.languages.values())
        return 1.0 - max(self.languages.values()) / told if told else 0.0

    @property
    def parts(self) -> dict[str, float]:
        """Those that apply, from 0 to 1."""
        values = {name: part.value(self) for name, part in PARTS.items()}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def score(self) -> float:
        """From 0 to 100."""
        parts = {name: max(value, _LEAST) for name, value in self.parts.items()}
        total = sum(PARTS[name].weight for name in parts)
        return 100.0 * math.exp(sum(PARTS[name].weight * math.log(value) for name, value in parts.items()) / total)

    def scored(self) -> dict[str, Any]:
        """The score and its parts, for report.json."""
        parts = [
            {"name": name, "value": value, "weight": PARTS[name].weight, "meaning": PARTS[name].meaning}
            for name, value in self.parts.items()
        ]
        return {"score": round(self.score, 1), "parts": parts}

    def document(self) -> dict[str, Any]:
        """For report.json."""
        return {
            **self.scored(),
            "num_read": self.num_read,
            "num_empty": self.num_empty,
            "num_invalid": self.num_invalid,
            "num_good": self.num_good,
            "num_kept": self.num_kept,
            "num_duplicates": self.num_duplicates,
            "num_broken_characters": self.num_broken,
            "broken_characters": self.broken,
            "lengths": {name: lengths.document() for name, lengths in self.lengths.items()},
            "languages": [{"language": name, "count": count} for name, count in self.languages.items()],
            "num_unknown_language": self.num_good - sum(self.languages.values()),
            "vocabulary": self.vocabulary.document(),
            "labels": None if self.labels is None else self.labels.document(),
        }


@dataclass(frozen=True)
class Part:
    """One part of the score."""

    weight: float
    meaning: str
    value: Callable[[Quality], float | None]
    """None: it does not apply."""


def _without(count: int, total: int) -> float:
    return 1.0 - count / total if total else 1.0


PARTS: dict[str, Part] = {
    "validity": Part(3, "rows read without a fault of form", lambda q: _without(q.num_invalid, q.num_read)),
    "completeness": Part(2, "rows read that lack nothing", lambda q: _without(q.num_empty, q.num_read)),
    "encoding": Part(2, "rows without broken characters", lambda q: _without(q.num_broken, q.num_good)),
    "uniqueness": Part(3, "rows that are no duplicates", lambda q: _without(q.num_duplicates, q.num_good)),
    "lengths": Part(1, "rows whose words are not far out in number", lambda q: 1.0 - q.lengths["words"].outlier_share),
    "language": Part(1, "rows in the most frequent language, from a half on", lambda q: 1.0 - q.other_languages / 2),
    "vocabulary": Part(
        1, "sampled rows without odd words", lambda q: _without(q.vocabulary.num_odd_rows, q.vocabulary.num_rows)
    ),
    "balance": Part(2, "evenness of the classes", lambda q: None if q.labels is None else q.labels.evenness),
    "labels": Part(3, "labels that nothing contradicts", lambda q: None if q.labels is None else 1.0 - q.labels.noise),
}
"""Name, weight and value. A mixture of two languages is no fault: half of that part is given for free."""
