"""docs/ensembles.md, docs/grpo.md and the example beside the tickets: their job files are valid."""

import re
from pathlib import Path

import pytest

from luthier.spec import load_job_file, parse_spec

ROOT = Path(__file__).parents[4]
JOBS = [
    job
    for page in ("ensembles.md", "grpo.md")
    for job in re.findall(r"```yaml\n(name:.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
]


@pytest.mark.parametrize("job", JOBS)
def test_the_job_files_of_the_pages_are_valid(job: str) -> None:
    assert parse_spec(job).name


def test_the_example_finds_what_lies_beside_it() -> None:
    spec = load_job_file(ROOT / "examples" / "tickets" / "merge.yaml")
    assert spec.merge is not None
    assert [Path(adapter.path).name for adapter in spec.merge.adapters] == ["first", "second"]
