"""`python -m workers.runner WORK_DIR`: runs one attempt at one stage, in a process of its own.

It reads `task.json`, calls the stage, publishes its output and writes `outcome.json` (workers/contract.py). It knows
neither NATS nor the coordinator and holds none of their secrets. It dies with the supervisor that started it, and
SIGTERM asks the stage to stop at its next checkpoint.
"""

import argparse
import importlib
import json
import logging
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier import telemetry
from luthier.artifacts import ArtifactRef, join, local_path, publish
from luthier.errors import InvalidSpecError
from luthier.settings import WorkerSettings
from luthier.spec import JobSpec, parse_spec
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.contract import Outcome, read_task, write_outcome
from workers.deaths import EXIT_STATUS
from workers.failures import ConfigError, classify
from workers.guard import start_guard
from workers.parent import die_with_parent
from workers.report import PipeReport, ReportHandler
from workers.task import Report, StageFunction, StageResult, Task

# Stage kind -> "module:function", imported by the runner that needs it. A new kind is one file and one row.
STAGES: dict[str, str] = {
    "preprocess": "workers.data.stage:run",
    "teach": "workers.teaching.stage:run",
    "train": "workers.training.distributed.launch:run",
    "merge": "workers.merging.stage:run",
    "evaluate": "workers.evaluation.stage:run",
    "export": "workers.export.stage:run",
    "deploy": "workers.deployment.stage:run",
}
STAGES_NAME = "workers.runner:STAGES"

_log = logging.getLogger(__name__)

_STDOUT = 1


def main() -> int:
    """The process. Returns 0 when the stage succeeded, 1 when it failed and said so in `outcome.json`."""
    arguments = _parser().parse_args()
    if arguments.parent:
        die_with_parent(arguments.parent)
    if arguments.report_fd != _STDOUT:
        os.set_inheritable(arguments.report_fd, False)
    if arguments.parent:
        start_guard()  # after the line above: the pipe ends with the runner
    assignment = read_task(arguments.work_dir)
    report = PipeReport(arguments.report_fd, assignment.stage.attempt, assignment.stage.fence)
    signal.signal(signal.SIGTERM, lambda *_: report.ask_to_stop())
    settings = WorkerSettings()
    telemetry.start("runner", settings)
    logging.getLogger().addHandler(ReportHandler(report))
    outcome = run_attempt(assignment, arguments.work_dir, settings, report, load_stages(arguments.stages))
    try:
        write_outcome(arguments.work_dir, outcome)
    except OSError as error:
        _log.error("the outcome cannot be written: %s", error)
        report.close()
        # Not by a return: what is printed goes to the same disk, and Python would make a status of its own of that.
        os._exit(EXIT_STATUS.get(classify(error, [arguments.work_dir]).failure_class, 1))
    report.close()
    telemetry.stop()
    return 0 if isinstance(outcome, StageOutputs) else 1


def load_stages(name: str) -> Mapping[str, str]:
    """The table of stage kinds that `module:attribute` names.

    Raises:
        ValueError: `name` has another form, or names something else.
        ImportError: there is no such module.
        AttributeError: it has no such attribute.
    """
    table = _import(name)
    if not isinstance(table, Mapping):
        raise ValueError(f"{name} is not a table of stage kinds")
    return table


def run_attempt(
    assignment: StageAssignment, work_dir: Path, settings: WorkerSettings, report: Report, stages: Mapping[str, str]
) -> Outcome:
    """Calls the stage under the job's trace and publishes its output. Whatever it raises becomes a Failure."""
    stage = assignment.stage
    try:
        with telemetry.span(
            f"stage.{stage.kind}",
            assignment.traceparent,
            job_id=stage.job_id,
            stage_id=stage.stage_id,
            attempt=stage.attempt,
        ):
            task = Task(assignment=assignment, spec=_spec(assignment), settings=settings, work_dir=work_dir)
            result = _function(stage.kind, stages)(task, report)
            return _outputs(result, _publish(result, assignment))
    # The border of the process: everything that can go wrong in a stage is told to the coordinator from here.
    except Exception as error:
        return classify(error, _lasting_places(assignment, work_dir))


def _lasting_places(assignment: StageAssignment, work_dir: Path) -> list[Path]:
    """Folders that an attempt finds when it begins: its own, and those of job and project in which something was
    recorded that it reads. A dataset is in none of the job's."""
    job_folder = local_path(assignment.output_uri.rstrip("/").rsplit("/", 2)[0])
    if job_folder is None:
        return [work_dir]
    uris = [outputs.artifact.uri for outputs in assignment.inputs.values()]
    recorded = [path for path in map(local_path, [*uris, *(one.uri for one in assignment.checkpoints)]) if path]
    folders = (job_folder, job_folder.parent)
    return [work_dir, *(one for one in folders if any(path.is_relative_to(one) for path in recorded))]


def _spec(assignment: StageAssignment) -> JobSpec:
    try:
        return parse_spec(assignment.spec_json)
    except InvalidSpecError as error:
        raise ConfigError(f"this worker does not understand the job file: {error}") from error


def _function(kind: str, stages: Mapping[str, str]) -> StageFunction:
    if kind not in stages:
        raise ConfigError(f"this worker has no stage kind {kind!r}; it has {', '.join(sorted(stages))}")
    function: StageFunction = _import(stages[kind])
    return function


def _publish(result: StageResult, assignment: StageAssignment) -> ArtifactRef | None:
    if result.folder is None:
        return result.artifact
    return publish(result.folder, join(assignment.output_uri, "output"))


def _outputs(result: StageResult, ref: ArtifactRef | None) -> StageOutputs:
    return StageOutputs(
        artifact=Artifact(uri=ref.uri, digest=ref.digest, num_bytes=ref.num_bytes) if ref else None,
        metrics={name: float(value) for name, value in result.metrics.items()},
        result_json=json.dumps(result.result, sort_keys=True, separators=(",", ":"), allow_nan=False),
        gate_passed=result.gate_passed,
        gate_reason=result.gate_reason,
    )


def _import(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ValueError(f"{name!r} is not of the form module:attribute")
    return getattr(importlib.import_module(module), attribute)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.runner", description="Runs one attempt at one stage.")
    parser.add_argument("work_dir", type=Path, help="folder with task.json")
    parser.add_argument("--report-fd", type=int, default=_STDOUT, help="open file that messages are written to")
    parser.add_argument("--parent", type=int, default=0, help="process to die with")
    parser.add_argument("--stages", default=STAGES_NAME, help="module:attribute of the table of stage kinds")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
