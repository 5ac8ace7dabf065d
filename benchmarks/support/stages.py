"""One stage in a runner process of its own, as a worker starts it, without the platform around it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.settings import WorkerSettings
from luthier.v1.stage_pb2 import Stage, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.contract import read_outcome, write_task

_LOG_TAIL_CHARS = 3000


@dataclass(frozen=True)
class Finished:
    """A stage that succeeded."""

    outputs: StageOutputs
    peak_bytes: int
    """Resident memory at its highest, as the kernel has it."""

    @property
    def result(self) -> dict[str, Any]:
        """What the stage says of itself."""
        found: dict[str, Any] = json.loads(self.outputs.result_json)
        return found


def run_stage(
    kind: str, spec: Mapping[str, Any], folder: Path, inputs: Mapping[str, StageOutputs] | None = None
) -> Finished:
    """Runs a stage of `spec`, a job file's content, in the new folder `folder`.

    Raises:
        RuntimeError: the stage failed; with the end of its log.
    """
    work = folder / "work"
    work.mkdir(parents=True)
    assignment = StageAssignment(
        stage=Stage(stage_id=kind, job_id="job", name=kind, kind=kind, attempt=1, fence=1),
        spec_json=json.dumps(spec),
        output_uri=str(folder / "out"),
        inputs=inputs or {},
    )
    write_task(work, assignment)
    environment = WorkerSettings(data_roots="/").runner_environment()
    with (work / "log").open("w") as log:
        runner = subprocess.Popen(
            [sys.executable, "-m", "workers.runner", str(work)], env=environment, stdout=log, stderr=log
        )
        _, _, usage = os.wait4(runner.pid, 0)
    outcome = read_outcome(work)
    if not isinstance(outcome, StageOutputs):
        raise RuntimeError(f"the stage failed: {outcome}\n{(work / 'log').read_text()[-_LOG_TAIL_CHARS:]}")
    return Finished(outcome, usage.ru_maxrss * 1024)
