"""Made-up chats with copies of some of them, so that every true pair of duplicates is known."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Words = list[str]

_NUM_WORDS = 4000
_NUM_PHRASES = 300
_SHARE_OF_PHRASES = 0.4


@dataclass(frozen=True)
class Injected:
    """Chats as words; copies stand after the originals."""

    chats: list[Words]
    originals: list[int]
    """For each chat the index of the one that it is a copy of; its own where it is none."""
    kinds: list[str]
    """For each chat how it came about."""


def inject(num_chats: int, num_copies: int, seed: int = 0) -> Injected:
    """`num_chats` different chats of 25 to 120 words, and `num_copies` of each kind, no two of one original.

    Four sentences of ten are boilerplate that other chats have too: different chats are somewhat alike, as real ones.
    """
    rng = random.Random(seed)  # noqa: S311
    vocabulary = ["".join(rng.choices("etaoinshrdlucmfwyp", k=rng.randint(2, 9))) for _ in range(_NUM_WORDS)]
    frequencies = [1 / rank for rank in range(1, _NUM_WORDS + 1)]

    def sentence() -> Words:
        return rng.choices(vocabulary, frequencies, k=rng.randint(6, 16))

    phrases = [sentence() for _ in range(_NUM_PHRASES)]

    def chat() -> list[Words]:
        own = rng.random
        return [rng.choice(phrases) if own() < _SHARE_OF_PHRASES else sentence() for _ in range(rng.randint(4, 8))]

    chats = [chat() for _ in range(num_chats)]
    found = Injected([_exactly(one, [], rng) for one in chats], list(range(num_chats)), ["original"] * num_chats)
    chosen = rng.sample(range(num_chats), num_copies * len(KINDS))
    for number, (kind, copy) in enumerate(KINDS.items()):
        for original in chosen[number * num_copies : (number + 1) * num_copies]:
            found.chats.append(copy(chats[original], vocabulary, rng))
            found.originals.append(original)
            found.kinds.append(kind)
    return found


def _exactly(chat: Sequence[Words], vocabulary: Words, rng: random.Random) -> Words:
    return [word for sentence in chat for word in sentence]


def _edited(share: float) -> Callable[[Sequence[Words], Words, random.Random], Words]:
    """With a share of the words replaced, left out, or with another word before them, each as often."""

    def edit(chat: Sequence[Words], vocabulary: Words, rng: random.Random) -> Words:
        words = _exactly(chat, vocabulary, rng)
        places = set(rng.sample(range(len(words)), round(share * len(words))))
        changed: Words = []
        for place, word in enumerate(words):
            other = rng.choice(vocabulary)
            changed += rng.choice(([other], [], [other, word])) if place in places else [word]
        return changed

    return edit


def _reworded(chat: Sequence[Words], vocabulary: Words, rng: random.Random) -> Words:
    """Said in other words: the sentences in another order, and every fourth word another one."""
    sentences = rng.sample(list(chat), len(chat))
    return [rng.choice(vocabulary) if rng.random() < 0.25 else word for sentence in sentences for word in sentence]


KINDS: dict[str, Callable[[Sequence[Words], Words, random.Random], Words]] = {
    "exact": _exactly,
    "5 % edited": _edited(0.05),
    "10 % edited": _edited(0.1),
    "20 % edited": _edited(0.2),
    "reworded": _reworded,
}
"""How a copy differs from its original."""


def quality(injected: Injected, clusters: Sequence[int]) -> dict[str, float]:
    """Recall by kind, and `precision`, of clusters given as one label per chat.

    Recall is the share of the copies that are in the cluster of their original, precision the share of the pairs within
    clusters that are a copy and its original.
    """
    document = {}
    for kind in KINDS:
        copies = [chat for chat, found in enumerate(injected.kinds) if found == kind]
        document[kind] = sum(clusters[chat] == clusters[injected.originals[chat]] for chat in copies) / len(copies)
    num_true = sum(
        clusters[chat] == clusters[original] for chat, original in enumerate(injected.originals) if chat != original
    )
    sizes: dict[int, int] = {}
    for label in clusters:
        sizes[label] = sizes.get(label, 0) + 1
    num_pairs = sum(size * (size - 1) // 2 for size in sizes.values())
    return {**document, "precision": num_true / num_pairs if num_pairs else 1.0}
