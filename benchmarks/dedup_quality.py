"""How many duplicates are found, and how many of the finds are right, beside datasketch on the same rows.

Made-up support chats, some of them given again: exactly, with 5, 10 or 20 % of their words edited, or reworded. Ours is
what `preprocess` runs; datasketch's clusters are what its index says, and what is left of that when it compares its
signatures as well. All three have the same words, n-grams and number of hashes. One table on stdout.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasketch import MinHash, MinHashLSH
from pyarrow import parquet as pq
from support.duplicates import inject, quality
from support.figures import table

from workers.data.dedup.banding import banding
from workers.data.dedup.clusters import Clusters
from workers.data.dedup.near import near_clusters
from workers.data.dedup.signature import Signing, pack, sign
from workers.data.dedup.words import words

_NUM_PERM = 128
_BATCH_ROWS = 1000


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chats", type=int, default=4000)
    parser.add_argument("--copies", type=int, default=300, help="of each kind")
    parser.add_argument("--ngram", type=int, default=2, help="words of an n-gram")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.5, 0.6, 0.7, 0.8, 0.9])
    arguments = parser.parse_args()
    injected = inject(arguments.chats, arguments.copies)
    texts = [" ".join(chat) for chat in injected.chats]
    arms: dict[str, Callable[[Sequence[str], int, float], list[int]]] = {
        "ours": clusters_of,
        "datasketch": _datasketch,
        "datasketch, compared": _datasketch_compared,
    }
    rows = []
    for threshold in arguments.thresholds:
        for name, arm in arms.items():
            start = time.process_time()
            clusters = arm(texts, arguments.ngram, threshold)
            seconds = time.process_time() - start
            found = {name: f"{value:.1%}" for name, value in quality(injected, clusters).items()}
            rows.append({"threshold": threshold, "": name, **found, "CPU µs/chat": round(seconds / len(texts) * 1e6)})
    print(f"{len(texts)} chats, {arguments.copies} copies of each kind, n-grams of {arguments.ngram} words")
    print(table(rows))


def clusters_of(texts: Sequence[str], ngram: int, threshold: float) -> list[int]:
    """Our clusters, one label per text."""
    signing = Signing(_NUM_PERM, ngram, banding(threshold, _NUM_PERM))
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for start in range(0, len(texts), _BATCH_ROWS):
            batch = [words(text) for text in texts[start : start + _BATCH_ROWS]]
            files.append(Path(folder) / f"{start:08}.parquet")
            signatures = pa.array(pack(sign(batch, signing)), pa.binary())
            pq.write_table(pa.table({"signature": signatures}), files[-1])
        fingerprints = np.random.default_rng(0).permutation(len(texts)).astype(np.uint64)
        is_distinct = np.ones(len(texts), np.bool_)
        scratch = Path(folder) / "near"
        return near_clusters(files, is_distinct, fingerprints, signing, threshold, scratch).tolist()


def _datasketch(texts: Sequence[str], ngram: int, threshold: float) -> list[int]:
    return _indexed(texts, ngram, threshold, lambda one, other: True)


def _datasketch_compared(texts: Sequence[str], ngram: int, threshold: float) -> list[int]:
    return _indexed(texts, ngram, threshold, lambda one, other: one.jaccard(other) >= threshold)


def _indexed(
    texts: Sequence[str], ngram: int, threshold: float, is_like: Callable[[MinHash, MinHash], bool]
) -> list[int]:
    signatures = MinHash.bulk([_shingles(words(text), ngram) for text in texts], num_perm=_NUM_PERM)
    index = MinHashLSH(threshold=threshold, num_perm=_NUM_PERM)
    clusters = Clusters(len(texts))
    pairs = []
    for number, signature in enumerate(signatures):
        pairs += [(number, other) for other in index.query(signature) if is_like(signature, signatures[other])]
        index.insert(number, signature)
    ends = np.array(pairs, np.int64).reshape(-1, 2)
    clusters.link(ends[:, 0], ends[:, 1])
    return clusters.labels.tolist()


def _shingles(text: str, ngram: int) -> list[bytes]:
    parts = text.encode().split(b" ")
    return [b" ".join(parts[start : start + ngram]) for start in range(max(1, len(parts) - ngram + 1))]


if __name__ == "__main__":
    main()
