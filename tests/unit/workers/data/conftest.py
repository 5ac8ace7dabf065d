"""Rows in files, the tiny model's tokenizer, and the pipeline run on them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from luthier.spec import DataSpec, ObjectiveSpec, SftSpec
from workers.data.pipeline import Outcome, preprocess

_OBJECTIVE = SftSpec()


class Recorder:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, str]] = []
        self.stops_after: int | None = None

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        self.steps.append((step, num_steps, message))

    def metrics(self, step: int, values: Any) -> None: ...

    def checkpoint(self, ref: Any, step: int) -> None: ...

    def retire(self, uris: Any) -> None: ...

    def should_stop(self) -> bool:
        return self.stops_after is not None and len(self.steps) >= self.stops_after


@pytest.fixture(scope="session")
def shared_tokenizer(tiny_model_dir: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model_dir)


@pytest.fixture
def tokenizer(shared_tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tiny model's tokenizer, one copy per test, so that a test may change its template."""
    import copy

    return copy.deepcopy(shared_tokenizer)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes rows as JSON Lines under `tmp_path` and returns the file."""

    def write(rows: Sequence[Any], name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def run(tmp_path: Path, tokenizer: PreTrainedTokenizerBase, recorder: Recorder) -> Callable[..., tuple[Path, Outcome]]:
    """A function that runs the pipeline on a file with settings of `data`; returns the artifact folder and outcome."""

    def run_on(
        path: Path | str | list[str], objective: ObjectiveSpec = _OBJECTIVE, **settings: Any
    ) -> tuple[Path, Outcome]:
        folder = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        folder.mkdir()
        spec = DataSpec(path=path if isinstance(path, list) else str(path), **settings)
        return folder, preprocess(spec, tokenizer, folder, lambda path, key: None, recorder, objective)

    return run_on
