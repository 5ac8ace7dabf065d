"""Which rows there are already: what is made must not be one of them, nor like one that is held out.

Rows are compared by their words, as near duplicates are: case, punctuation, white space and system messages do not
count. Of each row that stays 8 bytes are in memory, of each validation and test row some 400 more.
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

from luthier.spec import DataSpec
from luthier.spec.data import NearSpec
from workers.data.augment.origin import Refusal
from workers.data.dataset import SPLITS
from workers.data.dedup.banding import banding
from workers.data.dedup.hash_table import HashTable
from workers.data.dedup.signature import Signing, near_of, sign, similarity
from workers.data.dedup.words import comparable
from workers.data.row import Content, Notes
from workers.data.stop import check_stop
from workers.data.storage.scratch import content_of, notes_of, read_scratch
from workers.task import Report

_TRAIN = SPLITS.index("train")
_BLOCK = 1024

EQUAL = "equal to a row"
HELD_OUT = "like a validation or test row"


class Seen:
    """The rows that stay, and those that were made so far."""

    def __init__(self, rows: Path, split: npt.NDArray[np.int8], spec: DataSpec, report: Report) -> None:
        """
        Args:
            rows: scratch folder.
            split: [rows]: index into `SPLITS`, negative for a row that is dropped.
            spec: says from which similarity on rows are near duplicates.
            report: asked whether to stop.

        Raises:
            PreemptedError: the worker drains.
        """
        near = near_of(spec) or NearSpec()
        self._threshold = near.threshold
        self._signing = Signing(near.num_perm, near.ngram, banding(near.threshold, near.num_perm))
        digests = [np.zeros(0, np.uint64)]
        sketches = [np.zeros((0, near.num_perm), np.uint8)]
        keys = [np.zeros((0, self._signing.banding.num_bands), np.uint64)]
        for start, batch in read_scratch(rows, ["messages", "text", "notes"], _BLOCK):
            check_stop(report)
            places = split[start : start + batch.num_rows].tolist()
            columns = (batch[name].to_pylist() for name in ("messages", "text", "notes"))
            texts = [
                comparable(content_of(messages, text), notes_of(notes)) if place >= 0 else ""
                for messages, text, notes, place in zip(*columns, places, strict=True)
            ]
            digests.append(_digests([text for text, place in zip(texts, places, strict=True) if place >= 0]))
            held_out = [text for text, place in zip(texts, places, strict=True) if place not in (-1, _TRAIN)]
            if held_out:
                signatures = sign(held_out, self._signing)
                sketches.append(signatures.sketches)
                keys.append(signatures.keys)
        self._digests = np.unique(np.concatenate(digests))
        self._made: set[int] = set()
        self._sketches = np.concatenate(sketches)
        numbers = np.arange(len(self._sketches), dtype=np.int32)
        self._bands = [HashTable(band, numbers) for band in np.ascontiguousarray(np.concatenate(keys).T)]

    def refusals(self, rows: Sequence[tuple[Content, Notes]]) -> list[Refusal | None]:
        """Of each row why it must not be added; None: it may, and counts as one that is there from now on."""
        texts = [comparable(*row) for row in rows]
        alike = self._most_alike(texts)
        return [
            self._refusal(digest, value) for digest, value in zip(_digests(texts).tolist(), alike.tolist(), strict=True)
        ]

    def _refusal(self, digest: int, alike: float) -> Refusal | None:
        at = min(int(np.searchsorted(self._digests, np.uint64(digest))), len(self._digests) - 1)
        if digest in self._made or (at >= 0 and int(self._digests[at]) == digest):
            return Refusal(EQUAL, "the same words as a row that is there")
        if alike >= self._threshold:
            return Refusal(HELD_OUT, f"{alike:.0%} like one of them; rows that are may not be trained on")
        self._made.add(digest)
        return None

    def _most_alike(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """[texts]: similarity to the held-out row that each is most like; 0 where it is like none."""
        most = np.zeros(len(texts))
        if not texts or not len(self._sketches):
            return most
        signatures = sign(texts, self._signing)
        for band, table in enumerate(self._bands):
            hits, places = table.find(np.ascontiguousarray(signatures.keys[:, band]))
            np.maximum.at(most, hits, similarity(signatures.sketches[hits], self._sketches[places]))
        return most


def _digests(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    packed = b"".join(blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(packed, np.uint64)
