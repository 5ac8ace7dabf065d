"""What `luthier demo` shows: everything is read from the finished job and its artifacts, nothing is computed here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import luthier
from luthier import artifacts
from luthier.client import Client, Job
from luthier.client.types import Artifact
from luthier.errors import LuthierError, NotFoundError

_JOB_FILE = Path("examples") / "tickets" / "job.yaml"
_REPORTS = {"preprocess": ("report.md",), "train": ("loss.svg",), "evaluate": ("report.md",), "export": ("README.md",)}


@dataclass(frozen=True)
class Ticket:
    """One held-out ticket, answered by the deployed model."""

    text: str
    expected: str
    answer: str


@dataclass(frozen=True)
class Demo:
    """The result of the demo, as `-o json` prints it."""

    job_id: str
    deployment: str
    comparison: Mapping[str, Mapping[str, Any]]
    """Per metric: base, tuned and difference with value, low and high; p_value."""
    confidence_level: float
    num_test_rows: int
    parity: Mapping[str, Any]
    ticket: Ticket
    artifacts: Mapping[str, str]
    """Directory by stage."""
    reports: tuple[str, ...]
    """Files for people."""
    stage_seconds: Mapping[str, float]
    total_seconds: float


def job_file() -> Path:
    """The example's job file.

    Raises:
        NotFoundError: this is not a source checkout.
    """
    path = Path(luthier.__file__).parent.parent / _JOB_FILE
    if not path.is_file():
        raise NotFoundError(
            f"{path} is not there: the example comes with the source code; run `make demo` in a checkout"
        )
    return path


def tell(client: Client, job: Job) -> Demo:
    """Collects what there is to show of a job that succeeded, and asks its deployment one ticket.

    Raises:
        LuthierError: the deployment does not answer, or an artifact is not on this machine.
    """
    evaluation = job.stage("evaluate").result
    folders = {stage.name: stage.artifact.uri for stage in job.stages if stage.artifact is not None}
    deployment = client.deployments.get(job.deployment_id or job.name)
    return Demo(
        job_id=job.id,
        deployment=deployment.name,
        comparison=evaluation["metrics"],
        confidence_level=evaluation["confidence_level"],
        num_test_rows=evaluation["num_rows"],
        parity=job.stage("export").result["parity"],
        ticket=_ask(client, deployment.id, job.stage("evaluate").artifact),
        artifacts=folders,
        reports=tuple(
            artifacts.join(folders[stage], name)
            for stage, names in _REPORTS.items()
            if stage in folders
            for name in names
        ),
        stage_seconds={
            stage.name: (stage.finished_time - stage.started_time).total_seconds()
            for stage in job.stages
            if stage.started_time and stage.finished_time
        },
        total_seconds=(
            (job.finished_time - job.created_time).total_seconds() if job.created_time and job.finished_time else 0.0
        ),
    )


def _ask(client: Client, deployment_id: str, evaluation: Artifact | None) -> Ticket:
    folder = artifacts.local_path(evaluation.uri) if evaluation else None
    if evaluation is None or folder is None:
        raise LuthierError("the demo reads artifacts on this machine, and the evaluation is not here")
    try:
        artifacts.fetch(evaluation.uri, folder, digest=evaluation.digest)
    except artifacts.ArtifactError as error:
        raise LuthierError(f"the evaluation is damaged: {error}; run the demo again") from error
    with (folder / "generations.jsonl").open(encoding="utf-8") as lines:
        row = json.loads(next(lines))
    # The whole prompt, so with the system message that the model was trained with.
    answer = client.chat(deployment_id, row["prompt"])
    return Ticket(text=row["prompt"][-1]["content"], expected=row["reference"], answer=answer.text)
