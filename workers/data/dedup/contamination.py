"""The step that drops rows which overlap with a benchmark (`data.decontaminate`)."""

from collections.abc import Sequence

import numpy as np

from workers.data import problems
from workers.data.dedup.benchmark import Benchmark
from workers.data.dedup.ngrams import Words, batches
from workers.data.dedup.signature import similarity, unpack
from workers.data.dedup.words import said, words
from workers.data.problems import RowError
from workers.data.row import Row

_MAX_QUOTE = 80


class Decontaminator:
    """Looks rows up in a benchmark. Comes after `Signer` where similarity counts too."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark

    def __call__(self, rows: Sequence[Row]) -> None:
        """Drops those that are there, with the place in the benchmark."""
        texts = [(number, words(said(row.content, row.notes))) for number, row in enumerate(rows)]
        for batch in batches(texts):
            self._drop_shared([rows[number] for number, _ in batch], [text for _, text in batch])
        if self._benchmark.bands:
            self._drop_similar([row for row in rows if row.error is None])

    def _drop_shared(self, rows: Sequence[Row], texts: Sequence[str]) -> None:
        found = Words(texts)
        for length, table in self._benchmark.ngrams.items():
            grams = found.ngrams(length)
            hits, places = table.find(grams.hashes)
            numbers, first = np.unique(grams.texts[hits], return_index=True)
            for number, hit, place in zip(numbers.tolist(), hits[first].tolist(), places[first].tolist(), strict=True):
                if rows[number].error is None:
                    shared = texts[number].encode()[grams.starts[hit] : grams.stops[hit]].decode()
                    quote = shared if len(shared) <= _MAX_QUOTE else f"{shared[:_MAX_QUOTE]}..."
                    detail = f"shares {length} words with {self._benchmark.place(place)}: {quote}"
                    rows[number].error = RowError(problems.CONTAMINATED, detail)

    def _drop_similar(self, rows: Sequence[Row]) -> None:
        signing, threshold = self._benchmark.signing, self._benchmark.spec.near
        assert signing is not None, "a benchmark with bands was signed"
        assert threshold is not None, "nor was it without a threshold"
        signatures = unpack(b"".join(row.signature or b"" for row in rows), signing)
        for band, table in enumerate(self._benchmark.bands):
            hits, places = table.find(signatures.keys[:, band])
            alike = similarity(signatures.sketches[hits], self._benchmark.sketches[places])
            for hit, place, value in zip(hits.tolist(), places.tolist(), alike.tolist(), strict=True):
                if value >= threshold and rows[hit].error is None:
                    detail = f"{value:.0%} like {self._benchmark.place(place)}"
                    rows[hit].error = RowError(problems.CONTAMINATED, detail)
