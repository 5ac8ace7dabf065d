"""What rows are like, as vectors: hashed words without a model.

The same text gives the same vector wherever it stands, and one batch at a time is in memory.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import HashingVectorizer

_WIDTH = 512
# Scripts that put no space between words are taken character by character.
_WORD = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"


class Features(Protocol):
    """Texts as vectors of length 1, whose inner products say how alike the texts are."""

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Shape [texts, width]."""


class HashedWords:
    """Signed counts of words and pairs of words, hashed into 512 places (Weinberger et al., 2009, arXiv:0902.2206)."""

    def __init__(self) -> None:
        self._vectorizer = HashingVectorizer(
            n_features=_WIDTH, ngram_range=(1, 2), token_pattern=_WORD, norm="l2", dtype=np.float32
        )

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Shape [texts, 512]; of a text without words, zeros."""
        dense: npt.NDArray[np.float32] = self._vectorizer.transform(texts).toarray()
        return dense
