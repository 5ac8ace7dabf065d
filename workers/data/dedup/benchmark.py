"""The rows of benchmarks, as what is needed to find them again: hashes of their n-grams, and signatures.

Every text in a row counts, whatever its column is called, but for the names of those who speak. A text of at least
`ngram` words has all its n-grams of that length; a shorter one of at least 8 words is one n-gram of its own length;
what is shorter still is said everywhere, and is not looked for (as Brown et al., 2020, appendix C, who take 8 to 13).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import numpy.typing as npt

from luthier.spec import DataSpec
from luthier.spec.data import DecontaminateSpec
from workers.data.dedup.hash_table import HashTable
from workers.data.dedup.ngrams import Words, batches
from workers.data.dedup.signature import Signatures, Signing, sign, signing_of
from workers.data.dedup.words import words
from workers.data.files import FILES, Record, parse_json
from workers.data.places import Downloads
from workers.data.sources import CheckReadable, SourceFile, find_files
from workers.data.texts import strings
from workers.failures import DataError

MIN_WORDS = 8
_BATCH_ROWS = 1000
_SPEAKERS = frozenset({"role", "from"})


@dataclass(frozen=True)
class Benchmark:
    """About 14 bytes per n-gram."""

    spec: DecontaminateSpec
    files: list[SourceFile]
    places: list[tuple[int, int]]
    """Of each row: index of the file, and the row in it."""
    ngrams: dict[int, HashTable]
    """By length in words."""
    bands: list[HashTable]
    """Keys of the rows' signatures; none where nobody asks how similar rows are."""
    sketches: npt.NDArray[np.uint8]
    """Shape (rows, num_perm)."""
    signing: Signing | None

    def place(self, row: int) -> str:
        """Where a row is, for a person."""
        file, number = self.places[row]
        return f"{self.files[file].name} row {number}"


@dataclass
class _Gathered:
    places: list[tuple[int, int]] = field(default_factory=list)
    hashes: dict[int, list[npt.NDArray[np.uint64]]] = field(default_factory=dict)
    rows: dict[int, list[npt.NDArray[np.int32]]] = field(default_factory=dict)
    signatures: list[Signatures] = field(default_factory=list)


def benchmark_files(spec: DataSpec, check_readable: CheckReadable, downloads: Downloads) -> list[SourceFile]:
    """The files with what the rows of a job must not overlap with, on this machine; none where nobody asks.

    Raises:
        ConfigError: a path may not be read.
        DataError: a file is missing.
        DependencyError: a place of files does not answer.
    """
    paths = [] if spec.decontaminate is None else spec.decontaminate.paths
    key = "data.decontaminate.paths"
    return [file for path in paths for file in find_files(path, key, "test", "auto", check_readable, downloads)]


def find_benchmark(spec: DataSpec, files: Sequence[SourceFile]) -> Benchmark | None:
    """What the rows of a job must not overlap with, by `benchmark_files`; None: nobody asks.

    Raises:
        DataError: a file cannot be read, or none has anything to look for.
    """
    return None if spec.decontaminate is None else read_benchmark(files, spec.decontaminate, signing_of(spec))


def read_benchmark(files: Sequence[SourceFile], spec: DecontaminateSpec, signing: Signing | None) -> Benchmark:
    """All rows of the files.

    Raises:
        DataError: a row cannot be read, or no text is long enough to be looked for.
    """
    gathered = _Gathered()
    for number, file in enumerate(files):
        found = FILES[file.file_type].columns(file.path)
        records = FILES[file.file_type].records(file.path, spec.columns or found)
        while batch := list(islice(records, _BATCH_ROWS)):
            texts = [_texts(record, file, spec.columns) for record in batch]
            _gather(gathered, texts, spec.ngram)
            gathered.places += [(number, record.row) for record in batch]
            if signing is not None and spec.near is not None:
                gathered.signatures.append(sign([" ".join(own) for own in texts], signing))
    tables = {
        length: _table(np.concatenate(hashes), np.concatenate(gathered.rows[length]), spec.max_shared)
        for length, hashes in gathered.hashes.items()
    }
    if not any(map(len, tables.values())) and not gathered.signatures:
        raise DataError(
            f"data.decontaminate: no text of {MIN_WORDS} words or more in {', '.join(file.uri for file in files)}; "
            "name files with the texts of a benchmark in paths, or other columns"
        )
    signatures = _joined(gathered.signatures)
    rows = np.arange(len(gathered.places), dtype=np.int32)
    return Benchmark(
        spec=spec,
        files=list(files),
        places=gathered.places,
        ngrams=tables,
        bands=[HashTable(keys, rows) for keys in signatures.keys.T],
        sketches=signatures.sketches,
        signing=signing,
    )


def _joined(parts: Sequence[Signatures]) -> Signatures:
    keys = [np.zeros((0, 0), np.uint64)] if not parts else [part.keys for part in parts]
    sketches = [np.zeros((0, 0), np.uint8)] if not parts else [part.sketches for part in parts]
    return Signatures(np.concatenate(keys), np.concatenate(sketches))


def _gather(gathered: _Gathered, texts: Sequence[Sequence[str]], ngram: int) -> None:
    """N-grams of a batch of rows, each with its texts."""
    first = len(gathered.places)
    for batch in batches([(first + row, text) for row, own in enumerate(texts) for text in own]):
        found = Words([text for _, text in batch])
        rows = np.array([row for row, _ in batch], np.int32)
        lengths = {ngram, *(int(length) for length in found.num_words if MIN_WORDS <= length < ngram)}
        for length in lengths:
            grams = found.ngrams(length)
            # A text with more words than this has n-grams of full length.
            own = (found.num_words[grams.texts] == length) | (length == ngram)
            gathered.hashes.setdefault(length, []).append(grams.hashes[own])
            gathered.rows.setdefault(length, []).append(rows[grams.texts[own]])


def _table(hashes: npt.NDArray[np.uint64], rows: npt.NDArray[np.int32], max_shared: int) -> HashTable:
    """Without hashes that more than `max_shared` rows have."""
    order = np.lexsort((rows, hashes))
    hashes, rows = hashes[order], rows[order]
    is_new = np.ones(len(hashes), np.bool_)
    is_new[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
    hashes, rows = hashes[is_new], rows[is_new]
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    is_rare = counts[inverse] <= max_shared
    return HashTable(hashes[is_rare], rows[is_rare])


def _texts(record: Record, file: SourceFile, columns: Sequence[str] | None) -> list[str]:
    """The words of every text in a record, or in some of its columns."""
    if record.json_text is None:
        raise _refused(file, record.row, f"{record.reason}: {record.detail}")
    try:
        value = parse_json(record.json_text)
    except (ValueError, RecursionError) as error:
        raise _refused(file, record.row, str(error)) from error
    if not isinstance(value, dict):
        raise _refused(file, record.row, "expected a JSON object")
    if columns is not None:
        value = {name: value.get(name) for name in columns}
    return [words(text) for text in strings(value, _SPEAKERS)]


def _refused(file: SourceFile, row: int, why: str) -> DataError:
    return DataError(f"data.decontaminate.paths: {file.uri} row {row}: {why}; mend the row, or leave the file out")
