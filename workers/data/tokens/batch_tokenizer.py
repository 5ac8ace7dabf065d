"""Many texts as token ids: those of the tokenizer itself, by a quicker implementation of it where the two agree.

Byte-level BPE, the kind that most models have, goes through fastokens, which reads the same tokenizer.json. The two are
compared on odd texts at the start, then on all texts of the first batch and on one of a hundred later. One difference,
and the tokenizer itself reads everything from then on.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import fastokens
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from workers.data.tokens.render import plain_backend
from workers.data.tokens.spot_check import SpotCheck

Ids = npt.NDArray[np.int32]
"""Shape (length,)."""

_ODD_TEXTS = (
    "",
    " ",
    "\n\n \n\t x",
    " " * 300 + "x" + "\t" * 70,
    "a" * 2000,
    "I'll we'VE don't 'S it''s",
    "1234567890 12 3.14 \u0663\u0664 \u00bd \u2167",
    "def f(x):\n    return x**2  # ok\r\n\r\n\tif a: b",
    "https://a.example/b?c=d&e=%20#f <b>bold</b> {json: [1, 2]} $x^2$",
    "e\u0301t\u00e9 \ufb01 \u1e9b\u0323 \u00c5ngstr\u00f6m Stra\u00dfe \u0130stanbul",
    "\u6f22\u5b57 \u3053\u3093\u306b\u3061\u306f \uc548\ub155 \u0645\u0631\u062d\u0628\u0627",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f600\u200d\U0001f680 \U0001f1e9\U0001f1ea \U0001d518 \u2028\u2029\x85\xa0\u3000\ufeff\u200b",
    "\x00\x01\x1f\x7f \ufdd0\uffff\U0010ffff",
)
_MAX_ADDED_TOKENS_TRIED = 200


class BatchTokenizer:
    """A tokenizer for batches of texts. Safe to use from several threads."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._backend = plain_backend(tokenizer)
        config = json.loads(self._backend.to_str())
        self._fast = _fast_tokenizer(self._backend, config)
        self._num_bytes = _num_bytes(self._backend, config)
        self._is_normalized = config["normalizer"] is not None
        self._check = SpotCheck()
        self._is_trusted = True

    @property
    def is_fast(self) -> bool:
        """Whether the quicker implementation is in use."""
        return self._fast is not None

    @property
    def is_trusted(self) -> bool:
        """False once the two have read a row of the data differently."""
        return self._is_trusted

    def encode(self, texts: Sequence[str], *, add_special: bool = False) -> list[Ids]:
        """The ids of each text, neither padded nor truncated; `add_special` adds what the tokenizer adds by itself."""
        if self._fast is not None:
            rows = _encode_fast(self._fast, texts, add_special)
            checked = self._check.indices(len(texts))
            expected = _encode_slow(self._backend, [texts[index] for index in checked], add_special)
            if _are_equal([rows[index] for index in checked], expected):
                return rows
            self._fast, self._is_trusted = None, False
        return _encode_slow(self._backend, texts, add_special)

    def token_spans(self, text: str, ids: Ids, spans: Sequence[tuple[int, int]]) -> list[slice]:
        """The tokens that lie whole within each stretch (start, stop) of characters; `ids` are those of `text`."""
        if self._num_bytes is not None and (text.isascii() or not self._is_normalized):
            num_bytes = len(text) if text.isascii() else len(text.encode())
            stops = np.cumsum(self._num_bytes[ids])
            if len(stops) and stops[-1] == num_bytes:
                places = (
                    spans if text.isascii() else [(_bytes_before(text, a), _bytes_before(text, b)) for a, b in spans]
                )
                return _within(stops - self._num_bytes[ids], stops, places)
        offsets = np.array(self._backend.encode(text, add_special_tokens=False).offsets).reshape(-1, 2)
        return _within(offsets[:, 0], offsets[:, 1], spans)


def _encode_fast(tokenizer: fastokens.Tokenizer, texts: Sequence[str], add_special: bool) -> list[Ids]:
    ids, offsets = tokenizer.encode_batch_flat(list(texts), add_special_tokens=add_special)
    flat = np.frombuffer(ids, np.uint32).view(np.int32)
    return [flat[start:stop] for start, stop in pairwise(np.frombuffer(offsets, np.uint64).tolist())]


def _encode_slow(tokenizer: Tokenizer, texts: Sequence[str], add_special: bool) -> list[Ids]:
    encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=add_special)
    return [np.array(encoding.ids, np.int32) for encoding in encodings]


def _are_equal(rows: Sequence[Ids], others: Sequence[Ids]) -> bool:
    return all(np.array_equal(row, other) for row, other in zip(rows, others, strict=True))


def _fast_tokenizer(backend: Tokenizer, config: dict[str, Any]) -> fastokens.Tokenizer | None:
    """None: it is of another kind, or the two do not agree on odd texts."""
    if not _is_byte_level_bpe(config):
        return None
    try:
        fast = fastokens.Tokenizer.from_json_str(backend.to_str())
    except ValueError:
        # A normalizer or a pre-tokenizer that it does not know.
        return None
    added = [token["content"] for token in config["added_tokens"][:_MAX_ADDED_TOKENS_TRIED]]
    texts = [*_ODD_TEXTS, *(f"a{token}b {token} {token}{token}\n{token}" for token in added), *(t[:-1] for t in added)]
    agree = all(
        _are_equal(_encode_fast(fast, texts, add_special), _encode_slow(backend, texts, add_special))
        for add_special in (False, True)
    )
    return fast if agree else None


def _is_byte_level_bpe(config: dict[str, Any]) -> bool:
    first = config["pre_tokenizer"] or {}
    steps = first.get("pretokenizers", [first])
    is_plain = config["model"]["type"] == "BPE" and not config["model"].get("dropout")
    return is_plain and any(step.get("type") == "ByteLevel" for step in steps)


def _num_bytes(backend: Tokenizer, config: dict[str, Any]) -> npt.NDArray[np.int64] | None:
    """Bytes of text that each id stands for, which is one per character of a byte-level token."""
    if not _is_byte_level_bpe(config):
        return None
    vocabulary = backend.get_vocab(with_added_tokens=True)
    lengths = np.zeros(max(vocabulary.values()) + 1, np.int64)
    for token, index in vocabulary.items():
        lengths[index] = len(token)
    for token in config["added_tokens"]:
        lengths[token["id"]] = len(token["content"].encode())
    return lengths


def _bytes_before(text: str, character: int) -> int:
    return len(text[:character].encode())


def _within(
    starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64], spans: Sequence[tuple[int, int]]
) -> list[slice]:
    """Both are in ascending order."""
    first = np.searchsorted(starts, [start for start, _ in spans], "left").tolist()
    last = np.searchsorted(stops, [stop for _, stop in spans], "right").tolist()
    return [slice(start, max(start, stop)) for start, stop in zip(first, last, strict=True)]
