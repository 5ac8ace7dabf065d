"""The command line, run in this process against the small platform."""

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from luthier.cli.main import app

API_KEY = "lk_" + "k" * 43
MINIMAL = {"name": "tickets", "base_model": "smollm2-135m-instruct", "data": {"path": "train.jsonl"}}


@pytest.fixture
def luthier(address: str, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """A function that runs one command and returns its result."""
    monkeypatch.setenv("LUTHIER_GATEWAY", address)
    monkeypatch.setenv("LUTHIER_API_KEY", API_KEY)
    return lambda *arguments, **options: CliRunner().invoke(app, [str(part) for part in arguments], **options)


@pytest.fixture
def job_file(tmp_path):
    """A valid job file."""
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(MINIMAL))
    return path
