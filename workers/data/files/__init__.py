"""How a file becomes numbered records. One module per file type; a new type is one file and one row here.

A record is JSON text of one object, or, where there is none, a reason and a detail. The row number is what an editor
shows: the line on which the record starts, in a Parquet file the number of the row. The readers are ours, not Daft's,
because Daft's name no line, infer a schema in which a wrong type silently becomes null, and stop at the first bad byte.
"""

from workers.data.files import csv_file, jsonl, parquet
from workers.data.files.record import FileReader, Record

FILES: dict[str, FileReader] = {
    "jsonl": FileReader(jsonl.columns, jsonl.records),
    "csv": FileReader(csv_file.columns, csv_file.records),
    "parquet": FileReader(parquet.columns, parquet.records),
}

# Suffix -> type.
FILE_TYPES: dict[str, str] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}

__all__ = ["FILES", "FILE_TYPES", "FileReader", "Record"]
