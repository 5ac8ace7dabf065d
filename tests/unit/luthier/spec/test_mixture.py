"""`data.sources` in the job file: where they are, and mixtures that make no sense."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import InvalidSpecError
from luthier.spec import canonical_json, load_job_file, parse_spec

A, B = {"name": "a", "path": "a.jsonl"}, {"name": "b", "path": "b.jsonl"}


def _job(data: dict[str, Any], **more: Any) -> str:
    return json.dumps({"name": "job", "base_model": "tiny", "data": data, **more})


def test_paths_of_sources_are_relative_to_the_job_file_and_the_resolved_form_loads_again(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(_job({"sources": [{**A, "weight": 2.0}, {**B, "test_path": "s3://b/t.jsonl", "max_samples": 5}]}))
    spec = load_job_file(job)
    assert spec.data.sources is not None
    first, second = spec.data.sources
    assert (first.path, first.test_path) == (str(tmp_path / "a.jsonl"), None)
    assert (second.path, second.test_path) == (str(tmp_path / "b.jsonl"), "s3://b/t.jsonl")
    assert parse_spec(canonical_json(spec)) == spec


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, "give path or sources"),
        ({"path": "x", "sources": [A]}, "exclude each other"),
        ({"sources": []}, "at least 1 item"),
        ({"path": "x", "mixing": {"strategy": "weighted"}}, "mixing has no use without sources"),
        ({"sources": [A], "test_path": "x"}, "give them to each of sources"),
        ({"sources": [A, {**B, "name": "a"}]}, "the name 'a' more than once"),
        ({"sources": [{**A, "weight": 0}, {**B, "weight": 0}]}, "every one of sources is 0"),
        ({"sources": [{**A, "weight": -1}]}, "data.sources.0.weight"),
        ({"sources": [{**A, "wieght": 1}]}, "Did you mean 'weight'"),
        ({"sources": [{**A, "name": "a b"}]}, "data.sources.0.name"),
        ({"sources": [{**A, "weight": 1}], "mixing": {"strategy": "concatenate"}}, "does not look at"),
        ({"sources": [A, B], "mixing": {"temperature": 3}}, "no use without mixing.strategy: temperature"),
        ({"sources": [A, {**B, "format": "preference"}]}, "format of source 'b' is preference"),
        ({"sources": [A, {**B, "overlong": "split"}]}, "overlong of source 'b' is split"),
    ],
)
def test_sources_that_make_no_sense_are_refused(data: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSpecError, match=words):
        parse_spec(_job(data))


def test_answers_and_texts_may_be_mixed_and_nothing_else() -> None:
    data = {"sources": [A, {**B, "objective": "pretrain", "overlong": "split"}]}
    assert parse_spec(_job(data)).data.sources
    with pytest.raises(InvalidSpecError, match="objective of source 'b' is pretrain, which cannot be learned"):
        parse_spec(_job(data, objective={"type": "dpo"}))
