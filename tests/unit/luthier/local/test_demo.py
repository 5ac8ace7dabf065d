"""The demo's example."""

from pathlib import Path

import pytest

import luthier
from luthier.errors import NotFoundError
from luthier.local.demo import job_file
from luthier.spec import load_job_file


def test_the_example_is_a_valid_job_file() -> None:
    assert load_job_file(job_file()).name == "tickets"


def test_without_the_source_the_way_to_get_it_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(luthier, "__file__", str(tmp_path / "luthier" / "__init__.py"))
    with pytest.raises(NotFoundError, match="make demo"):
        job_file()
