"""The classes of rows as sets: of one label where the data give one, else of any number."""

from collections import Counter
from pathlib import Path

from workers.data.dataset import Example, load_split


def wanted_of(example: Example) -> frozenset[str]:
    """What the dataset says that the row has."""
    return frozenset(example.labels) if example.labels is not None else frozenset((str(example.label),))


def most_frequent(dataset: Path) -> frozenset[str]:
    """The set that most training rows have; of several the first by its names in order.

    No other constant answer gets more of these rows entirely right.
    """
    counts = Counter(map(wanted_of, load_split(dataset, "train", conversations=False)))
    return min(counts, key=lambda labels: (-counts[labels], sorted(labels)))


def in_words(labels: frozenset[str]) -> str:
    """For people."""
    return ", ".join(sorted(labels)) or "(none)"
