"""What a stage may read, and what it may count on."""

from pathlib import Path

import pytest

from luthier.settings import WorkerSettings
from luthier.spec import parse_spec
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.failures import ConfigError
from workers.task import Task

SPEC = parse_spec("{name: a, base_model: m, data: {path: x}}")


def _task(roots: str, folder: Path) -> Task:
    return Task(StageAssignment(), SPEC, WorkerSettings(data_roots=roots), folder)


@pytest.mark.parametrize(
    ("roots", "path"),
    [
        ("{folder}", "{folder}/data/rows.jsonl"),
        ("/nowhere, {folder}/", "{folder}/rows.jsonl"),
        ("s3://bucket/data", "s3://bucket/data/rows.jsonl"),
        ("s3://bucket/data/", "s3://bucket/data"),
        ("s3://bucket", "s3://bucket/rows.jsonl"),
    ],
)
def test_what_lies_below_a_root_may_be_read(tmp_path: Path, roots: str, path: str) -> None:
    _task(roots.format(folder=tmp_path), tmp_path).check_readable(path.format(folder=tmp_path), "data.path")


@pytest.mark.parametrize(
    ("roots", "path"),
    [
        ("", "{folder}/rows.jsonl"),
        ("{folder}/data", "{folder}/data-secret/rows.jsonl"),
        ("{folder}/data", "{folder}/data/../rows.jsonl"),
        ("{folder}", "/etc/passwd"),
        ("{folder}", "s3://bucket/rows.jsonl"),
        ("s3://bucket/data", "s3://bucket/data-secret/rows.jsonl"),
        ("s3://bucket/data", "s3://bucket/data/../secret/rows.jsonl"),
        ("s3://bucket", "gs://bucket/rows.jsonl"),
        ("/", "file:///etc/passwd"),
    ],
)
def test_everything_else_is_refused_with_the_remedy(tmp_path: Path, roots: str, path: str) -> None:
    task = _task(roots.format(folder=tmp_path), tmp_path)
    with pytest.raises(ConfigError, match=r"data\.path .* LUTHIER_DATA_ROOTS"):
        task.check_readable(path.format(folder=tmp_path), "data.path")


def test_a_link_does_not_lead_outside(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to("/etc")
    with pytest.raises(ConfigError, match="outside the places"):
        _task(str(inside), tmp_path).check_readable(str(inside / "link" / "passwd"), "data.path")


def test_a_stage_only_sees_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="does not need train"):
        _task("", tmp_path).input("train")
