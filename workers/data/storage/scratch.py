"""The rows between the two passes, as they lie on disk: one folder per part, Parquet files in the order of the rows.

What decides on rows streams over them here, and keeps a few bytes of each at most.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import pyarrow as pa
from pyarrow import parquet as pq

from workers.data.row import Content, Notes

_BATCH_ROWS = 1024


def read_scratch(
    rows: Path, columns: Sequence[str] | None = None, batch_rows: int = _BATCH_ROWS
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """All rows in order, in batches that are of one part each, with the ordinal of the first row of each.

    Args:
        rows: folder with one sub-folder per part.
        columns: those that are needed; None: all.
        batch_rows: at most so many at a time.
    """
    start = 0
    for folder in sorted(path for path in rows.iterdir() if path.is_dir()):
        for file in sorted(folder.iterdir()):
            with pq.ParquetFile(file) as table:
                for batch in table.iter_batches(batch_rows, columns=None if columns is None else list(columns)):
                    yield start, batch
                    start += batch.num_rows


def scratch_schema(rows: Path) -> pa.Schema:
    """Of the rows in the sub-folders of `rows`, of which there is at least one."""
    return pq.read_schema(next(rows.glob("*/*.parquet")))


def content_of(messages: str | None, text: str | None) -> Content:
    """The conversation or text of a row that has one of the two columns."""
    if messages is not None:
        conversation: Content = orjson.loads(messages)
        return conversation
    assert text is not None, "a row that stays is a conversation or a text"
    return text


def notes_of(notes: str | None) -> Notes:
    """Those of a row, from its column."""
    return Notes() if notes is None else Notes(**orjson.loads(notes))


def plain_text(content: Content) -> str:
    """All that is said in it, without who says it."""
    return content if isinstance(content, str) else "\n".join(message["content"] for message in content)
