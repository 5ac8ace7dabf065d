"""Segments of a text as token ids, and which of them are trained on.

Neighbours that are trained on alike are one stretch, and each stretch is tokenised by itself: so the tokens before what
is trained on are those that a prompt has in serving, and every character counts exactly as its segment says. Where the
tokenizer reads texts that are taken apart otherwise than the whole, the whole is tokenised, and a token that reaches
over an edge counts as its last character does.
"""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from workers.data.row import TARGET, Message
from workers.data.tokens.batch_tokenizer import BatchTokenizer, Ids

Mask = npt.NDArray[np.bool_]


def stretches(row: Sequence[Message], *, everything: bool) -> list[tuple[str, bool]]:
    """The text in pieces, and whether each is trained on; `everything`: whatever the segments say."""
    segments = groupby(row, key=lambda segment: everything or segment["role"] == TARGET)
    return [("".join(segment["content"] for segment in own), counts) for counts, own in segments]


def tokenise_apart(rows: Sequence[Sequence[tuple[str, bool]]], batches: BatchTokenizer) -> list[tuple[Ids, Mask]]:
    """Ids and mask of each row, both [length], for a tokenizer that may read its stretches one by one."""
    encoded = iter(batches.encode([text for row in rows for text, _ in row]))
    results = []
    for row in rows:
        ids = [next(encoded) for _ in row]
        mask = [np.full(len(own), counts) for own, (_, counts) in zip(ids, row, strict=True)]
        results.append((np.concatenate(ids), np.concatenate(mask)))
    return results


def tokenise_whole(row: Sequence[tuple[str, bool]], tokenizer: Tokenizer) -> tuple[Ids, Mask]:
    """Ids and mask of a row, both [length], for any other tokenizer."""
    encoding = tokenizer.encode("".join(text for text, _ in row), add_special_tokens=False)
    counts = np.concatenate([np.zeros(1, np.bool_), *(np.full(len(text), counts) for text, counts in row)])
    ends = np.array([end for _, end in encoding.offsets], np.int64)
    return np.array(encoding.ids, np.int32), counts[ends]
