"""docs/ensembles.md and the example beside the tickets: their job files are valid."""

import re
from pathlib import Path

import pytest

from luthier.spec import load_job_file, parse_spec

ROOT = Path(__file__).parents[4]
JOBS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ensembles.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("job", JOBS)
def test_the_page_s_job_files_are_valid(job: str) -> None:
    assert parse_spec(job).name


def test_the_example_finds_what_lies_beside_it() -> None:
    spec = load_job_file(ROOT / "examples" / "tickets" / "merge.yaml")
    assert spec.merge is not None
    assert [Path(adapter.path).name for adapter in spec.merge.adapters] == ["first", "second"]
