"""The `merge` section: what it says, what it rules out, and the graph that it makes."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import InvalidSpecError
from luthier.spec import JobSpec, canonical_json, load_job_file, parse_spec
from luthier.spec.plan import plan

MERGE = {"type": "linear", "adapters": [{"path": "/a", "weight": 0.5}, {"path": "/b", "weight": 0.5}]}


def spec(merge: dict[str, Any], **changes: object) -> JobSpec:
    document = {"name": "t", "base_model": "tiny", "data": {"path": "/d.jsonl"}, "merge": MERGE | merge}
    return parse_spec(json.dumps(document | changes))


def test_a_merge_takes_the_place_of_training() -> None:
    stages = plan(spec({}, deploy={}, resources={"worker_class": "gpu"}))
    assert {stage.name: stage.needs for stage in stages} == {
        "preprocess": (),
        "merge": ("preprocess",),
        "evaluate": ("preprocess", "merge"),
        "export": ("preprocess", "merge", "evaluate"),
        "deploy": ("export",),
    }
    assert {stage.worker_class for stage in stages if stage.name == "merge"} == {"cpu"}


@pytest.mark.parametrize(
    ("merge", "output", "formats"),
    [
        ({}, "adapter", ["peft", "merged", "triton"]),
        ({"type": "ties", "density": 0.5}, "model", ["merged", "triton"]),
        ({"type": "dare_ties", "density": 0.5, "svd_rank": 8}, "adapter", ["peft", "merged", "triton"]),
        ({"output": "model"}, "model", ["merged", "triton"]),
    ],
)
def test_the_result_is_an_adapter_where_that_is_exact_or_asked_for(
    merge: dict[str, Any], output: str, formats: list[str]
) -> None:
    made = spec(merge)
    assert made.merge is not None
    assert (made.merge.output, made.export.formats) == (output, formats)


@pytest.mark.parametrize("changes", [{}, {"objective": {"type": "dpo"}}, {"data": {"path": "/d", "max_length": 4096}}])
def test_what_is_stored_is_read_again(changes: dict[str, Any]) -> None:
    made = spec({"type": "ties", "density": 0.5}, **changes)
    assert parse_spec(canonical_json(made)) == made


@pytest.mark.parametrize(
    ("merge", "changes", "reason"),
    [
        ({"density": 0.5}, {}, "density is for the other types"),
        ({"type": "ties"}, {}, "type ties needs density"),
        ({"type": "dare_linear", "density": 0.0}, {}, "greater than 0"),
        ({"type": "ties", "density": 0.5, "output": "adapter"}, {}, "give svd_rank, or output: model"),
        ({"output": "model", "svd_rank": 4}, {}, "leave one of them out"),
        ({"adapters": []}, {}, "at least 1 item"),
        ({"adapters": [{"path": "/a"}]}, {}, "Field required"),
        ({"adapters": [{"path": "/a", "weight": 1.0, "weigth": 2}]}, {}, "Did you mean 'weight'"),
        ({"type": "tiees"}, {}, "'linear', 'ties'"),
        ({}, {"method": {"type": "full"}}, "trains nothing; leave method out"),
        ({}, {"training": {"max_steps": 5}}, "trains nothing; leave training out"),
        ({}, {"objective": {"type": "reward"}}, "leave objective.type reward out"),
        ({}, {"resources": {"num_ranks": 2}}, "leave resources.num_ranks out"),
        ({"output": "model"}, {"export": {"formats": ["peft"]}}, "merge.output model leaves no adapter"),
    ],
)
def test_what_does_not_go_together_is_refused(merge: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSpecError, match=reason):
        spec(merge, **changes)


def test_relative_paths_are_relative_to_the_job_file(tmp_path: Path) -> None:
    rows = [{"path": "one", "weight": 1.0}, {"path": "s3://bucket/two", "weight": 1.0}, {"path": "/b", "weight": 1.0}]
    document = {"name": "t", "base_model": "tiny", "data": {"path": "d"}, "merge": MERGE | {"adapters": rows}}
    (tmp_path / "job.yaml").write_text(json.dumps(document))
    merge = load_job_file(tmp_path / "job.yaml").merge
    assert merge is not None
    assert [one.path for one in merge.adapters] == [str(tmp_path / "one"), "s3://bucket/two", "/b"]
