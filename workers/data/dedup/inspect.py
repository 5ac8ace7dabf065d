"""`clusters.parquet` of a dataset artifact: the near duplicates that were found, to be looked at."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import parquet as pq

from workers.data.dedup.decisions import Decisions
from workers.data.dedup.index import files_of
from workers.data.dedup.words import said
from workers.data.row import Content, Notes
from workers.data.sources import SourceFile
from workers.data.storage.tables import open_table

CLUSTERS = pa.schema(
    [
        ("cluster", pa.int64()),
        ("size", pa.int64()),
        ("source", pa.string()),
        ("row", pa.int64()),
        ("kept", pa.bool_()),
        ("excerpt", pa.string()),
    ]
)
"""One row per row of a cluster, in the order of the rows. Clusters are numbered by their first rows; `size` counts
rows, equal ones too, and `kept` says whether the row is in a split."""

_NUM_SHOWN = 20
_NUM_ROWS_SHOWN = 5
_EXCERPT = 200


def write_clusters(rows: Path, decisions: Decisions, sources: Sequence[SourceFile], path: Path) -> dict[str, Any]:
    """Writes the clusters of `decisions`, which looked for them. Returns what report.json says: the largest ones."""
    cluster = decisions.cluster
    assert cluster is not None, "near duplicates were looked for"
    sizes = np.bincount(cluster[cluster >= 0])
    largest = np.argsort(-sizes, kind="stable")[:_NUM_SHOWN].tolist()
    shown: dict[int, list[dict[str, Any]]] = {number: [] for number in largest}
    names = pa.array([source.name for source in sources], pa.string())
    start = 0
    with open_table(path, CLUSTERS) as table:
        for file in files_of(rows):
            stop = start + pq.read_metadata(file).num_rows
            own = np.arange(start, stop)[cluster[start:stop] >= 0]
            found = _described(file, own - start, cluster[own], sizes, decisions.split[own], names)
            table.write(found)
            for row in found.filter(pc.is_in(found["cluster"], pa.array(largest, pa.int64()))).to_pylist():
                if len(shown[row["cluster"]]) < _NUM_ROWS_SHOWN:
                    shown[row["cluster"]].append({key: row[key] for key in ("source", "row", "kept", "excerpt")})
            start = stop
    return {
        "num_clusters": len(sizes),
        "num_rows": int(sizes.sum()),
        "first": [{"cluster": number, "size": int(sizes[number]), "rows": own} for number, own in shown.items()],
    }


def _described(
    file: Path,
    places: npt.NDArray[np.int64],
    cluster: npt.NDArray[np.int32],
    sizes: npt.NDArray[np.int64],
    split: npt.NDArray[np.int8],
    names: pa.Array,
) -> pa.Table:
    """The rows of a file at `places`, as `CLUSTERS`."""
    texts = pq.read_table(file, columns=["file", "row", "messages", "text"]).take(pa.array(places))
    contents = zip(texts["messages"].to_pylist(), texts["text"].to_pylist(), strict=True)
    return pa.table(
        {
            "cluster": cluster.astype(np.int64),
            "size": sizes[cluster],
            "source": names.take(texts["file"].combine_chunks()),
            "row": texts["row"],
            "kept": split >= 0,
            "excerpt": pa.array([_excerpt(messages, text) for messages, text in contents], pa.string()),
        }
    )


def _excerpt(messages: str | None, text: str | None) -> str:
    content: Content = text or "" if messages is None else json.loads(messages)
    return " ".join(said(content, Notes(), but="system")[: 2 * _EXCERPT].split())[:_EXCERPT]
