"""Texts that differ, and texts that hardly do."""

import random
from collections.abc import Callable, Sequence

import pytest

Edit = Callable[[Sequence[str], float], list[str]]


@pytest.fixture
def rng() -> random.Random:
    return random.Random(7)


@pytest.fixture
def vocabulary() -> list[str]:
    letters = random.Random(1)
    return ["".join(letters.choices("etaoinshrdlucmfwyp", k=letters.randint(2, 9))) for _ in range(3000)]


@pytest.fixture
def sentence(rng: random.Random, vocabulary: list[str]) -> Callable[[int], list[str]]:
    """A function that makes up so many words."""
    return lambda count: rng.choices(vocabulary, k=count)


@pytest.fixture
def edited(rng: random.Random, vocabulary: list[str]) -> Edit:
    """A function that puts other words in the place of a share of them."""

    def edit(words: Sequence[str], share: float) -> list[str]:
        changed = set(rng.sample(range(len(words)), round(share * len(words))))
        return [rng.choice(vocabulary) if place in changed else word for place, word in enumerate(words)]

    return edit
