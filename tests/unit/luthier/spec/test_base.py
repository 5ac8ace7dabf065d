"""What every section has: strings under fields are documentation, read only when it is asked for."""

import inspect
from typing import ClassVar

import pytest
from pydantic import Field

from luthier.spec.base import Section


class Shared(Section):
    label: ClassVar[str] = "not a field"
    """Not of the job file."""
    rank: int = 8
    """Of each
    matrix."""
    bare: int = 1


class Special(Shared):
    scale: float = Field(default=1.0, description="Said to pydantic.")
    """Said to the reader of the source."""
    rank: int = 16


def test_the_string_under_a_field_is_its_description():
    properties = Special.model_json_schema()["properties"]
    assert {name: row.get("description") for name, row in properties.items()} == {
        "rank": "Of each\nmatrix.",
        "bare": None,
        "scale": "Said to pydantic.",
    }


def test_no_process_reads_sources_to_import_the_job_file(monkeypatch):
    """Reading them took as long as all the rest of importing it, in every process of the platform."""

    def refuse(*_):
        raise AssertionError("a source file is read")

    for name in ("getsource", "getsourcelines", "findsource", "getblock"):
        monkeypatch.setattr(inspect, name, refuse)

    class Local(Section):
        rank: int = 8
        """Of each matrix."""

    assert Local().rank == 8
    with pytest.raises(AssertionError, match="a source file is read"):
        Local.model_json_schema()
