"""What deploy says where there is no Triton."""

from pathlib import Path

import pytest

from luthier.settings import WorkerSettings
from luthier.spec import JobSpec
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.deployment.stage import run
from workers.failures import ConfigError
from workers.task import Task


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"triton_unavailable_reason": "there is no Triton wheel for Darwin arm64"},
            "no Triton wheel for Darwin arm64",
        ),
        ({}, "set its LUTHIER_TRITON_URL"),
        ({"triton_url": "127.0.0.1:1"}, "set its LUTHIER_TRITON_REPOSITORY"),
    ],
)
def test_missing_triton_is_final_and_the_export_is_named(tmp_path: Path, settings: dict[str, str], reason: str):
    export = StageOutputs(artifact=Artifact(uri="/artifacts/export-1"), result_json='{"triton_model": "demo-1"}')
    spec = {"name": "demo", "base_model": "tiny", "data": {"path": "/rows.jsonl"}, "deploy": {}}
    task = Task(
        assignment=StageAssignment(inputs={"export": export}),
        spec=JobSpec.model_validate(spec),
        settings=WorkerSettings(**settings),
        work_dir=tmp_path,
    )
    with pytest.raises(ConfigError, match=rf"{reason}\. The model stays exported at /artifacts/export-1"):
        run(task, report=None)
