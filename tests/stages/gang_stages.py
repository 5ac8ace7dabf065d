"""Stages for workers that share one: each leaves a line in `gang.log`. `--stages gang_stages:STAGES`."""

import os
import shutil
from pathlib import Path

from tiny_stages import STAGES as TINY_STAGES
from tiny_stages import echo, polite

from workers.task import Report, StageResult, Task

STAGES = TINY_STAGES | {"train": "gang_stages:share"}
TRAINING_STAGES = {"preprocess": "gang_stages:prepared", "train": "workers.training.distributed.launch:run"}


def share(task: Task, report: Report) -> StageResult:
    """In a job called `parted` the first attempt works until it is asked to stop; others are done at once."""
    gang, stage = task.assignment.gang, task.assignment.stage
    with (Path(task.spec.data.path).parent / "gang.log").open("a") as log:
        log.write(f"{stage.attempt} {gang.number} {gang.num_workers} {os.getppid()}\n")
    if task.spec.name == "parted" and stage.attempt == 1:
        return polite(task, report)
    return StageResult() if gang.number else echo(task, report)


def prepared(task: Task, report: Report) -> StageResult:
    """The dataset was made beforehand: it lies beside the job's data."""
    folder = task.work_dir / "dataset"
    shutil.copytree(Path(task.spec.data.path).parent / "dataset", folder)
    return StageResult(folder=folder)
