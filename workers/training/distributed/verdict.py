"""How a rank's part of a stage ended: a folder of its own, with a failure or, for rank 0, the stage's result."""

import json
from dataclasses import asdict
from pathlib import Path

from workers.task import StageResult

_RESULT = "result.json"


def folder_of(work_dir: Path, rank: int) -> Path:
    """The scratch folder of `rank`; its `outcome.json` is a failure (workers/contract.py)."""
    return work_dir / "ranks" / str(rank)


def write_result(work_dir: Path, result: StageResult) -> None:
    """Leaves what rank 0 came to for the runner.

    Raises:
        OSError: it cannot be written.
    """
    document = asdict(result) | {"folder": None if result.folder is None else str(result.folder)}
    (folder_of(work_dir, 0) / _RESULT).write_text(json.dumps(document, allow_nan=False))


def read_result(work_dir: Path) -> StageResult | None:
    """What rank 0 left; None if it did not get so far. Read it only once the ranks have ended well."""
    try:
        document = json.loads((folder_of(work_dir, 0) / _RESULT).read_text())
    except (FileNotFoundError, ValueError):
        return None
    folder = document["folder"]
    return StageResult(**{**document, "folder": None if folder is None else Path(folder)})
