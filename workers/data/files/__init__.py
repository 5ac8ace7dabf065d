"""How a file becomes numbered records. One module per file type; a new type is one file and one row here.

A record is JSON text of one object, or, where there is none, a reason and a detail. The readers are ours, not Daft's,
because Daft's name no line, infer a schema in which a wrong type silently becomes null, and stop at the first bad byte.
"""

from pathlib import PurePosixPath

from workers.data.files import arrow, csv_file, json_file, parquet
from workers.data.files.json_text import DoubledKeyError, parse_json
from workers.data.files.record import FileReader, Record, Shard
from workers.data.problems import Unit

FILES: dict[str, FileReader] = {
    "jsonl": FileReader(json_file.columns, json_file.records, json_file.unit, json_file.shard, json_file.is_cuttable),
    "csv": FileReader(csv_file.columns, csv_file.records, csv_file.unit),
    "parquet": FileReader(parquet.columns, parquet.records, parquet.unit),
    "arrow": FileReader(arrow.columns, arrow.records, arrow.unit),
}

# Suffix -> type.
FILE_TYPES: dict[str, str] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
TEXT_TYPES = frozenset({"jsonl", "csv"})
COMPRESSED_SUFFIXES = (".gz", ".zst")
"""May follow the suffix of a text file."""


def type_of_name(name: str) -> str | None:
    """Key of `FILES` that the suffix of a file name stands for; None: of none."""
    path = PurePosixPath(name.lower())
    if path.suffix in COMPRESSED_SUFFIXES:
        kind = FILE_TYPES.get(PurePosixPath(path.stem).suffix)
        return kind if kind in TEXT_TYPES else None
    return FILE_TYPES.get(path.suffix)


def type_suffix(name: str) -> str:
    """The part of a file name that tells its type, in lower case; empty when nothing there does."""
    suffixes = PurePosixPath(name.lower()).suffixes
    num_told = 2 if suffixes[-1:] and suffixes[-1] in COMPRESSED_SUFFIXES else 1
    return "".join(suffixes[-num_told:]) if type_of_name(name) else ""


__all__ = [
    "COMPRESSED_SUFFIXES",
    "FILES",
    "FILE_TYPES",
    "DoubledKeyError",
    "FileReader",
    "Record",
    "Shard",
    "Unit",
    "parse_json",
    "type_of_name",
    "type_suffix",
]
