"""Signatures estimate the similarity that they are said to estimate, everywhere the same."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from luthier.spec import DataSpec
from luthier.spec.data import DecontaminateSpec, DeduplicateSpec, NearSpec, SplitSpec
from workers.data.dedup.banding import banding
from workers.data.dedup.signature import Signing, pack, sign, signing_of, similarity, unpack


def _jaccard(one: Sequence[str], other: Sequence[str], ngram: int) -> float:
    first, second = ({tuple(text[i : i + ngram]) for i in range(len(text) - ngram + 1)} for text in (one, other))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize(("num_perm", "ngram", "share"), [(128, 2, 0.05), (128, 2, 0.3), (64, 1, 0.2), (256, 5, 0.05)])
def test_similarity_is_estimated_without_bias(
    sentence: Callable[[int], list[str]],
    edited: Callable[[Sequence[str], float], list[str]],
    num_perm: int,
    ngram: int,
    share: float,
) -> None:
    signing = Signing(num_perm, ngram, banding(0.7, num_perm))
    ones = [sentence(80) for _ in range(300)]
    others = [edited(text, share) for text in ones]
    exact = np.array([_jaccard(one, other, ngram) for one, other in zip(ones, others, strict=True)])
    signatures = [sign([" ".join(text) for text in texts], signing).sketches for texts in (ones, others)]
    error = similarity(*signatures) - exact
    assert abs(error.mean()) < 0.01
    assert error.std() < 1.3 * 0.5 / np.sqrt(num_perm)


def test_equal_words_have_equal_signatures_in_every_process() -> None:
    signing = Signing(64, 2, banding(0.7, 64))
    one, same, other = sign(["a b c d e", "a b c d e", "v w x y z"], signing).keys
    assert (one == same).all()
    assert not (one == other).any()
    assert int(one[0]) == 2636041125751509170  # Pinned: rows signed by two workers are compared.


def test_a_text_shorter_than_an_ngram_is_one() -> None:
    signing = Signing(32, 3, banding(0.8, 32))
    signatures = sign(["hello", "hello", "world", ""], signing)
    estimated = similarity(signatures.sketches[[0, 0, 0]], signatures.sketches[[1, 2, 3]])
    assert estimated[0] == 1
    assert (estimated[1:] < 0.2).all()


def test_packed_signatures_come_back() -> None:
    signing = Signing(32, 2, banding(0.7, 32))
    signatures = sign(["a b c", "d e f"], signing)
    packed = pack(signatures)
    assert {len(row) for row in packed} == {signing.num_bytes}
    again = unpack(b"".join(packed), signing)
    assert (again.keys == signatures.keys).all()
    assert (again.sketches == signatures.sketches).all()


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
@pytest.mark.parametrize("num_perm", [128, 256])
def test_bands_find_what_is_well_above_the_threshold_and_little_else(threshold: float, num_perm: int) -> None:
    chosen = banding(threshold, num_perm)
    assert chosen.num_bands * chosen.num_rows <= num_perm
    assert chosen.probability(min(1.0, threshold + 0.1)) > 0.9
    assert chosen.probability(threshold / 3) < 0.15


@pytest.mark.parametrize(
    ("asked", "threshold"),
    [
        ({}, None),
        ({"deduplicate": False}, None),
        ({"deduplicate": DeduplicateSpec(near=NearSpec(threshold=0.9))}, 0.9),
        ({"split": SplitSpec()}, NearSpec().threshold),
        ({"split": SplitSpec(near_duplicates_together=False)}, None),
        ({"decontaminate": DecontaminateSpec(paths=["b.jsonl"])}, None),
        ({"decontaminate": DecontaminateSpec(paths=["b.jsonl"], near=0.5)}, 0.5),
        (
            {
                "decontaminate": DecontaminateSpec(paths=["b.jsonl"], near=0.5),
                "deduplicate": DeduplicateSpec(near=NearSpec(threshold=0.9)),
            },
            0.5,
        ),
    ],
)
def test_rows_are_signed_only_where_somebody_compares_them(asked: dict[str, Any], threshold: float | None) -> None:
    signing = signing_of(DataSpec(path="rows.jsonl", **asked))
    assert (signing and signing.banding) == (threshold and banding(threshold, 128))
