"""`data.select.influence`: a core set of the rows, without training on any.

In the style of DEFT-UCS (Das and Khetan, 2023, arXiv:2310.16776): what a row would do to the model is guessed from
where it lies in its cluster. The nearest to the centre are what the cluster is about, the farthest are what it is least
sure about; what lies between is said by others. As there, every cluster gives as many rows as the others, as far as it
has them. It is a proxy: no loss is looked at, and rows that are far out because they are wrong are far out too.

The centres are those of a sample of 8,192 rows at most, drawn by the seed; then every row is measured once, in
batches. What stays in memory is the sample (16 MiB with hashed words) and some 20 bytes per row.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from luthier.spec.data.select import InfluenceSpec
from workers.data.select.features import Features
from workers.data.stop import check_stop
from workers.data.storage.scratch import content_of, plain_text, read_scratch
from workers.task import Report

_SAMPLE_ROWS = 8192
_MAX_CLUSTERS = 256
_DECIMALS = 5
"""Distances are compared to so many: what is alike must not be told apart by rounding."""


def core_set(
    rows: Path,
    candidates: npt.NDArray[np.int64],
    spec: InfluenceSpec,
    features: Features,
    seed: int,
    report: Report,
) -> npt.NDArray[np.int64]:
    """Ordinals of the rows that stand for all of `candidates`, exactly `spec.keep` of them and one at least.

    Args:
        rows: scratch folder.
        candidates: ordinals, in the order of the draw.
        spec: how many, and of which kind.
        features: what rows are like.
        seed: of the clustering.
        report: asked whether to stop.

    Raises:
        PreemptedError: the worker drains.
    """
    size = max(1, round(spec.keep * len(candidates)))
    centres = _centres(rows, candidates, _num_clusters(spec, len(candidates)), features, seed, report)
    ordinals = np.sort(candidates)
    clusters, distances = np.zeros(len(ordinals), np.int32), np.zeros(len(ordinals), np.float32)
    for places, vectors in _vectors(rows, ordinals, features, report):
        clusters[places], distances[places] = _measure(vectors, centres)
    rank = np.empty(len(ordinals), np.int64)
    rank[np.searchsorted(ordinals, candidates)] = np.arange(len(candidates))
    kept = []
    sizes = np.bincount(clusters, minlength=len(centres))
    for cluster, quota in enumerate(allot(sizes.tolist(), size)):
        (own,) = np.nonzero(clusters == cluster)
        own = own[np.lexsort((rank[own], distances[own]))]
        num_hard = round(spec.hard * quota)
        kept.append(np.concatenate([own[: quota - num_hard], own[len(own) - num_hard :]]))
    chosen: npt.NDArray[np.int64] = ordinals[np.sort(np.concatenate(kept))]
    return chosen


def allot(sizes: list[int], total: int) -> list[int]:
    """`total` places among clusters of these sizes, to all alike, and what a small one cannot fill to the others."""
    quotas = [0] * len(sizes)
    for num_served, index in enumerate(sorted(range(len(sizes)), key=lambda index: (sizes[index], index))):
        quotas[index] = min(sizes[index], total // (len(sizes) - num_served))
        total -= quotas[index]
    return quotas


def _num_clusters(spec: InfluenceSpec, num_rows: int) -> int:
    wanted = spec.num_clusters or min(_MAX_CLUSTERS, math.isqrt(num_rows // 2))
    return max(1, min(wanted, num_rows, _SAMPLE_ROWS))


def _centres(
    rows: Path, candidates: npt.NDArray[np.int64], num_clusters: int, features: Features, seed: int, report: Report
) -> npt.NDArray[np.float32]:
    """Shape [clusters, width], each of length 1. They do not depend on the order of the rows."""
    sample = candidates[:_SAMPLE_ROWS]
    ordinals = np.sort(sample)
    gathered = np.concatenate([vectors for _, vectors in _vectors(rows, ordinals, features, report)])
    gathered = gathered[np.searchsorted(ordinals, sample)]
    model = MiniBatchKMeans(num_clusters, random_state=seed % (1 << 32), batch_size=1024, n_init=3)
    # One thread: the sums of several come out in another order each time.
    with threadpool_limits(1):
        centres = model.fit(gathered).cluster_centers_
    lengths = np.linalg.norm(centres, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = (centres / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit


def _measure(
    vectors: npt.NDArray[np.float32], centres: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The nearest centre of each vector by cosine, and how far it is."""
    distances = np.round(1.0 - (vectors @ centres.T).astype(np.float64), _DECIMALS)
    nearest = distances.argmin(axis=1)
    return nearest, distances[np.arange(len(nearest)), nearest]


def _vectors(
    rows: Path, ordinals: npt.NDArray[np.int64], features: Features, report: Report
) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """What the rows with these ascending ordinals are like, in batches, with their places among them."""
    for start, batch in read_scratch(rows, ["messages", "text"]):
        check_stop(report)
        first, last = np.searchsorted(ordinals, [start, start + batch.num_rows])
        if first == last:
            continue
        wanted = batch.take(ordinals[first:last] - start)
        pairs = zip(wanted["messages"].to_pylist(), wanted["text"].to_pylist(), strict=True)
        report.progress(int(last), len(ordinals), "choosing rows that stand for others")
        yield slice(first, last), features([plain_text(content_of(*pair)) for pair in pairs])
