"""Stages for breaking: `--stages chaos_stages:STAGES`. A job's name says what its stages do.

`noop-...`: a few quick steps, with a real artifact, real checkpoints and verified inputs. `flaky-...`: the same after a
first try that fails. `real-...`: the stages that workers run in earnest.
"""

import json
import time
from importlib import import_module
from pathlib import Path

from luthier.artifacts import ArtifactError, fetch, join, publish
from workers import runner
from workers.failures import DependencyError, PreemptedError
from workers.task import Report, StageResult, Task

STAGES = dict.fromkeys(("preprocess", "train", "evaluate", "export"), "chaos_stages:by_job_name")
NUM_STEPS = 4
STEP_SECONDS = 0.05
STEPS_PER_CHECKPOINT = 2


def by_job_name(task: Task, report: Report) -> StageResult:
    """Runs what the part of the job's name before the first dash stands for."""
    kind = task.spec.name.partition("-")[0]
    if kind == "real":
        module, _, name = runner.STAGES[task.assignment.stage.kind].partition(":")
        result: StageResult = getattr(import_module(module), name)(task, report)
        return result
    if kind == "flaky" and task.assignment.stage.attempt == 1 and not task.assignment.inputs:
        raise DependencyError("the first try fails, and nobody is to blame")
    return count(task, report)


def count(task: Task, report: Report) -> StageResult:
    """Counts to `NUM_STEPS` from the newest checkpoint on; its result does not depend on how often it was killed."""
    total = sum(_read(task.input_dir(name)) for name in task.assignment.inputs)
    key = task.settings.checkpoint_key.get_secret_value().encode()
    step = _newest(task, key)
    while step < NUM_STEPS:
        if report.should_stop():
            raise PreemptedError(f"stopped at step {step}")
        step += 1
        time.sleep(STEP_SECONDS)
        report.progress(step, NUM_STEPS, "counting")
        report.metrics(step, {"loss": 1.0 / step})
        if step % STEPS_PER_CHECKPOINT == 0:
            uri = join(task.output_uri, "checkpoints", str(step))
            report.checkpoint(publish(_write(task.new_dir(f"step-{step}"), step), uri, key=key), step)
    return StageResult(folder=_write(task.new_dir("result"), total + step), result={"total": total + step})


def _newest(task: Task, key: bytes) -> int:
    for checkpoint in task.checkpoints:
        try:
            return _read(fetch(checkpoint.uri, task.work_dir / "checkpoint", digest=checkpoint.digest, key=key))
        except ArtifactError:
            continue
    return 0


def _write(folder: Path, value: int) -> Path:
    (folder / "value.json").write_text(json.dumps(value))
    return folder


def _read(folder: Path) -> int:
    value: int = json.loads((folder / "value.json").read_text())
    return value
