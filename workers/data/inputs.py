"""What a job reads, found and described before a row of it is read."""

import glob
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from luthier.artifacts import local_path
from luthier.spec import DataSpec, ObjectiveSpec
from luthier.spec.data.location import without_queries
from workers.data.dedup import benchmark_files
from workers.data.lineage.digests import code_digest, digest_of, files_digest, tokenizer_digest
from workers.data.parts import Part, parts_of
from workers.data.places import CheckReadable, Remote, download_folder
from workers.data.sources import SourceFile, find_sources, with_found_splits
from workers.data.steps.pii import replacement_of
from workers.task import Report

_NAMES_FILES = re.compile(r"(?:^|_)(?:paths?|models?|files?|folders?|thesaurus|words)$")
_OF_ROWS = ("path", "validation_path", "test_path", "sources", "decontaminate")


@dataclass(frozen=True)
class Inputs:
    """Files by part. They are on this machine while `find_inputs` is open."""

    parts: list[Part]
    found: list[list[SourceFile]]
    """Of each part, in reading order."""
    benchmark: list[SourceFile]
    """What the rows must not overlap with."""
    version: str
    """Of the dataset that will come of them, see lineage/digests.py."""

    @property
    def files(self) -> list[SourceFile]:
        """Those of each part, one part after the other."""
        return [file for own in self.found for file in own]


@contextmanager
def find_inputs(
    spec: DataSpec,
    objective: ObjectiveSpec,
    tokenizer: PreTrainedTokenizerBase,
    check_readable: CheckReadable,
    remote: Remote,
    scratch: Path,
    report: Report,
) -> Iterator[Inputs]:
    """
    Args:
        spec: the job's `data` section.
        objective: says which rows it can learn from, and what of them.
        tokenizer: of the dataset.
        check_readable: says whether a path may be read.
        remote: where rows may be beside this machine.
        scratch: folder that those are fetched into, in a folder of their own that goes in the end.
        report: hears how far it is.

    Raises:
        ConfigError: a path may not be read.
        DataError: a file is missing, empty, or not of a known type and shape.
        DependencyError: a place of rows does not answer.
    """
    report.progress(0, 0, "looking at the files")
    with download_folder(scratch, remote, report) as downloads:
        parts = parts_of(spec, objective)
        found = [find_sources(part, check_readable, objective.row_formats, downloads) for part in parts]
        parts = [with_found_splits(part, own) for part, own in zip(parts, found, strict=True)]
        files = [file for own in found for file in own]
        benchmark = benchmark_files(spec, check_readable, downloads)
        version = digest_of(
            {
                "data": without_queries(spec.model_dump(mode="json", exclude={"engine"})),
                "files": [[file.split, file.uri, file.sha256, file.file_type, file.shape] for file in files],
                "benchmark": [[file.uri, files_digest([Path(file.path)])] for file in benchmark],
                "others": _others(spec, check_readable),
                "pseudonyms": _pseudonyms(spec),
                "targets": [part.targets for part in parts],
                "classes": [list(part.classes) for part in parts],
                "tokenizer": tokenizer_digest(tokenizer),
                "code": code_digest(),
            }
        )
        yield Inputs(parts, found, benchmark, version)


def _others(spec: DataSpec, check_readable: CheckReadable) -> dict[str, str]:
    """Digests of what `data` names beside rows, such as the models of steps, by their paths."""
    named = spec.model_dump(mode="json", exclude=set(_OF_ROWS))
    found = {}
    for key, path in _named(named, "data"):
        check_readable(path, key)
        # What is not there is told by whoever reads it.
        found[path] = files_digest(Path(place) for place in sorted(glob.glob(path, recursive=True)))
    return found


def _pseudonyms(spec: DataSpec) -> str:
    """What the worker's key makes of a fixed word; empty where nothing is written by it."""
    return replacement_of(spec.pii)("name", "") if spec.pii is not None and spec.pii.action == "redact" else ""


def _named(section: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every value that names files of this machine, after where the job file has it. Models of a hub are no paths."""
    if isinstance(section, dict):
        for name, value in section.items():
            yield from _named(value, f"{key}.{name}")
    elif isinstance(section, list):
        for value in section:
            yield from _named(value, key)
    elif isinstance(section, str) and _NAMES_FILES.search(key.rpartition(".")[2]):
        path = local_path(section)
        if path is not None and path.is_absolute():
            yield key, str(path)
