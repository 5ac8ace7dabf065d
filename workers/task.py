"""What a stage gets, and how it talks back. Every stage kind is one `run(task, report) -> StageResult`.

The supervisor writes the assignment to `task.json`; the runner reads it, calls the stage, publishes its output and
writes `outcome.json`. A stage knows nothing of gRPC, NATS or leases.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from luthier.artifacts import ArtifactError, ArtifactRef, fetch
from luthier.settings import WorkerSettings
from luthier.spec import JobSpec
from luthier.spec.plan import tuning_stage
from luthier.v1.stage_pb2 import Checkpoint, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.failures import ConfigError, DataError


@dataclass(frozen=True)
class Task:
    """One attempt at one stage."""

    assignment: StageAssignment
    spec: JobSpec
    settings: WorkerSettings
    work_dir: Path
    """Scratch folder of this attempt alone; removed afterwards."""

    @property
    def output_uri(self) -> str:
        """Directory that this attempt alone writes to. The runner publishes the result at `output_uri/output`."""
        return self.assignment.output_uri

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Committed checkpoints of earlier attempts, newest first."""
        return tuple(self.assignment.checkpoints)

    def input(self, stage_name: str) -> StageOutputs:
        """Recorded outputs of a stage that this one needs.

        Raises:
            KeyError: this stage does not need `stage_name`; the planner is wrong.
        """
        if stage_name not in self.assignment.inputs:
            raise KeyError(f"stage {self.assignment.stage.name} does not need {stage_name}")
        return self.assignment.inputs[stage_name]

    def input_dir(self, stage_name: str) -> Path:
        """Local directory with the verified artifact of `stage_name`.

        Raises:
            DataError: it is missing or was changed; trying again would find the same.
        """
        artifact = self.input(stage_name).artifact
        try:
            return fetch(artifact.uri, self.work_dir / "inputs" / stage_name, digest=artifact.digest)
        except ArtifactError as error:
            raise DataError(
                f"what stage {stage_name} left is damaged and was not used: {error}; restore it from a copy, or submit "
                f"the job again, which makes it anew"
            ) from error

    def tuned_dir(self) -> Path:
        """Local directory with the verified artifact of the stage that left the tuned model; see `input_dir`."""
        return self.input_dir(tuning_stage(self.spec))

    def new_dir(self, name: str) -> Path:
        """A new empty folder in the scratch folder."""
        folder = self.work_dir / name
        folder.mkdir(parents=True)
        return folder

    def check_readable(self, path: str, what: str) -> None:
        """Refuses a path from the job file that lies outside `LUTHIER_DATA_ROOTS`.

        Raises:
            ConfigError: naming the path, `what` it is for, and the setting.
        """
        check_readable(path, what, self.settings.data_roots)


def check_readable(path: str, what: str, data_roots: str) -> None:
    """Refuses a path from the job file that lies outside `data_roots`, a comma-separated list of prefixes.

    Raises:
        ConfigError: naming the path, `what` it is for, and the setting.
    """
    roots = [root.strip() for root in data_roots.split(",") if root.strip()]
    if "://" in path:
        below = [root.rstrip("/") + "/" for root in roots if "://" in root]
        allowed = ".." not in path.split("/") and any(f"{path}/".startswith(root) for root in below)
    else:
        try:
            real = Path(path).resolve()
        except (OSError, RuntimeError) as error:
            raise ConfigError(f"{what} {path!r} leads nowhere: {error}; give a plain file or folder") from error
        allowed = any(real.is_relative_to(Path(root).resolve()) for root in roots if "://" not in root)
    if not allowed:
        raise ConfigError(
            f"{what} {path!r} is outside the places that this worker may read ({', '.join(roots) or 'none'}); "
            f"move it there or add its folder to LUTHIER_DATA_ROOTS of the worker"
        )


class Report(Protocol):
    """How a running stage tells the supervisor what happens. Every call returns at once."""

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        """How far the stage is; moves at least once per `resources.progress_timeout_seconds`."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """One row of metrics of one step."""

    def checkpoint(self, ref: ArtifactRef, step: int) -> None:
        """A checkpoint was published and may be resumed from."""

    def retire(self, uris: Sequence[str]) -> None:
        """These checkpoints are needed no more, now that newer ones are reported; others remove them."""

    def should_stop(self) -> bool:
        """Whether the worker drains: write a checkpoint and raise PreemptedError."""


@dataclass(frozen=True)
class StageResult:
    """What a stage leaves behind."""

    folder: Path | None = None
    """Local folder that becomes the stage's artifact; None when it writes none."""
    artifact: ArtifactRef | None = None
    """An artifact that is in the store already, in place of `folder`."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Headline figures."""
    result: Mapping[str, Any] = field(default_factory=dict)
    """The kind's typed result, JSON values only."""
    gate_passed: bool = True
    """False: dependants are skipped."""
    gate_reason: str = ""
    """Why the gate refused."""


StageFunction = Callable[[Task, Report], StageResult]
