"""Stages of one job, run one after the other in this process: what each leaves is published for the next."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.artifacts import publish
from luthier.settings import WorkerSettings
from luthier.spec import JobSpec
from luthier.v1.stage_pb2 import Artifact, Checkpoint, Stage, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.task import StageResult, Task


def outputs_of(result: StageResult, uri: Path) -> StageOutputs:
    """What the coordinator would record of `result`, whose folder moves to `uri`."""
    assert result.folder is not None
    ref = publish(result.folder, str(uri))
    artifact = Artifact(uri=ref.uri, digest=ref.digest)
    return StageOutputs(artifact=artifact, result_json=json.dumps(result.result), metrics=result.metrics)


def task_of(
    kind: str,
    folder: Path,
    model: Path,
    inputs: Mapping[str, StageOutputs],
    checkpoints: Sequence[Checkpoint] = (),
    fence: int = 1,
    **spec: Any,
) -> Task:
    """An attempt of a stage of a job on `model`; it may read below `folder` and beside the model."""
    work = folder / f"{kind}-{fence}"
    work.mkdir(parents=True)
    document = {"name": "job", "base_model": str(model), **spec}
    stage = Stage(stage_id=f"stage-{kind}", job_id="job-1", name=kind, kind=kind, attempt=fence, fence=fence)
    assignment = StageAssignment(
        stage=stage, inputs=inputs, output_uri=str(folder / "out" / f"{kind}-{fence}"), checkpoints=checkpoints
    )
    settings = WorkerSettings(data_roots=f"{folder},{model.parent}")
    return Task(assignment, JobSpec.model_validate(document), settings, work)
