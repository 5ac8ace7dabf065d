"""docs/objectives.md: its job files are valid, and its rows are what the objectives learn from."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from luthier.spec import JobSpec, ObjectiveSpec, parse_spec
from workers.data.shapes import SHAPES, detect, read_row

PAGE = (Path(__file__).parents[4] / "docs" / "objectives.md").read_text()
ROWS = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
JOBS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def test_every_objective_has_a_job_file() -> None:
    types = [parse_spec(job).objective.type for job in JOBS]
    sections = get_args(get_args(ObjectiveSpec)[0])
    assert sorted(set(types)) == sorted(get_args(section.model_fields["type"].annotation)[0] for section in sections)
    assert len(ROWS) == len(JOBS)


@pytest.mark.parametrize(("row", "job"), [*zip(ROWS, JOBS, strict=True)])
def test_the_rows_are_those_of_the_objective(row: str, job: str) -> None:
    spec: JobSpec = parse_spec(job)
    record = json.loads(row)
    shape = SHAPES[detect(list(record), spec.objective.row_formats)]
    content, _ = read_row(record, shape)
    assert content
