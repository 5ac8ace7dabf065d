"""A list of paths in the job file: checked path by path, and made absolute."""

import json
import re

import pytest

from luthier.cli.data_look import local_bytes
from luthier.errors import InvalidSpecError
from luthier.spec import DataSpec, canonical_json, load_job_file, parse_spec


def _job(data):
    return json.dumps({"name": "job", "base_model": "tiny", "data": data})


def test_each_path_is_relative_to_the_job_file_and_the_resolved_form_loads_again(tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(_job({"path": ["a.jsonl", "s3://b/c.parquet"], "test_path": ["t", "u"]}))
    spec = load_job_file(job)
    assert spec.data.path == [str(tmp_path / "a.jsonl"), "s3://b/c.parquet"]
    assert spec.data.test_path == [str(tmp_path / "t"), str(tmp_path / "u")]
    assert parse_spec(canonical_json(spec)) == spec


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"path": []}, r"^data.path: List should have at least 1 item"),
        ({"path": ["a", "b", "a"]}, "^data.path: names 'a' more than once; leave the second one out$"),
        ({"path": ["a", "ftp://host/b"]}, r"^data.path.1: rows cannot be read from ftp://"),
        ({"path": "ftp://host/b"}, r"^data.path: rows cannot be read from ftp://"),
        ({"path": ["a", 3]}, r"^data.path.1: Input should be a valid string"),
        ({"path": 3}, r"^data.path: Input should be a valid string"),
        ({"path": "a", "validation_path": []}, "^data.validation_path: List"),
        ({"sources": [{"name": "a", "path": ["x", "x"]}]}, r"^data.sources.0.path: names 'x' more than once"),
        ({"sources": [{"name": "a", "path": "x", "test_path": ["y", ""]}]}, r"^data.sources.0.test_path.1: String"),
        ({"path": ["https://h/a?key=x", "https://h/a?key=x"]}, "names 'https://h/a' more than once"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused_by_its_place(data, words):
    with pytest.raises(InvalidSpecError) as caught:
        parse_spec(_job(data))
    (problem,) = caught.value.problems
    assert re.search(words, str(problem))


def test_the_size_of_the_data_is_that_of_all_paths(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"123")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert local_bytes(DataSpec(path=[a, b])) == 8
    assert local_bytes(DataSpec(path=a, test_path=[b])) == 8
    assert local_bytes(DataSpec(path=[a, str(tmp_path / "c")])) is None
