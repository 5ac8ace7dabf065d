"""The data report of a file or a job file, made by the workers' own code in a process of its own, so that this one
stays light."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from luthier.artifacts import local_path
from luthier.errors import LuthierError
from luthier.spec import DataSpec, SourceSpec
from luthier.spec.data.location import paths_of

_JOB_FILES = frozenset({".yaml", ".yml"})
DEFAULT_MODEL = "smollm2-135m-instruct"


class Look(NamedTuple):
    """A data report."""

    document: dict[str, Any]
    """report.json"""
    page: str
    """report.md"""
    html: str
    """report.html"""


class LookFailed(LuthierError):  # noqa: N818 - what happened, as the reason says
    """There is no report; the message is what the process said."""


def has_packages() -> bool:
    """Whether a report can be made here."""
    return find_spec("daft") is not None


def look(path: Path, base_model: str = "", timeout: float | None = None) -> Look:
    """The report on the rows at `path`, or on those of the job file there; needs `has_packages()`.

    Args:
        path: file or folder with rows, or a job file.
        base_model: whose tokenizer counts; empty: the job file's, else that of the catalogue's small model.
        timeout: in seconds.

    Raises:
        LookFailed: the rows cannot be used, or it took longer.
    """
    model = base_model or ("" if path.suffix in _JOB_FILES else DEFAULT_MODEL)
    with tempfile.TemporaryDirectory(prefix="luthier-report-") as scratch:
        folder = Path(scratch) / "report"
        arguments = [str(path), "--base-model", model, "--output", str(folder)]
        try:
            done = subprocess.run(  # noqa: S603 - our own module, arguments as a list
                [sys.executable, "-m", "workers.data", *arguments],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise LookFailed(f"reading the data took longer than {timeout:.0f} s") from error
        if done.returncode:
            raise LookFailed(done.stderr.strip() or f"the report ended with exit status {done.returncode}")
        document, page, html = ((folder / f"report.{kind}").read_text("utf-8") for kind in ("json", "md", "html"))
        return Look(json.loads(document), page, html)


def local_bytes(spec: DataSpec) -> int | None:
    """Size of all files of a job's data; None when some of them are not files or folders of this machine."""
    sections: Sequence[DataSpec | SourceSpec] = spec.sources or [spec]
    fields = [field for one in sections for field in (one.path, one.validation_path, one.test_path)]
    named = [path for field in fields for path in paths_of(field)]
    places = [local_path(path) for path in named]
    found = [place for place in places if place is not None and place.exists()]
    if len(found) < len(named):
        return None
    files = [file for place in found for file in ([place] if place.is_file() else place.rglob("*"))]
    return sum(file.stat().st_size for file in files if file.is_file())
