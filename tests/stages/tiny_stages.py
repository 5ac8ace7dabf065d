"""Stages that do next to nothing, for tests of the worker platform: `--stages tiny_stages:STAGES`."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from luthier.artifacts import ArtifactRef, join, publish
from workers.failures import ConfigError, PreemptedError
from workers.task import Report, StageResult, Task

KINDS = (
    "echo",
    "config",
    "full",
    "broken",
    "exits",
    "killed",
    "hangs_at_exit",
    "polite",
    "finishing",
    "retiring",
    "stubborn",
    "family",
)
STAGES = {
    **{kind: f"tiny_stages:{kind}" for kind in KINDS},
    **dict.fromkeys(("preprocess", "train", "evaluate", "export"), "tiny_stages:by_job_name"),
}


def echo(task: Task, report: Report) -> StageResult:
    """Uses everything that a stage may use, and prints where it should not matter."""
    print("printed by the stage", flush=True)
    report.progress(1, 2, "half way", eta_seconds=1.5)
    report.metrics(1, {"loss": 0.5})
    report.checkpoint(ArtifactRef("file:///somewhere", "sha256:00", 1), step=1)
    folder = task.new_dir("result")
    (folder / "hello.txt").write_text("hello")
    return StageResult(folder=folder, metrics={"loss": 0.25}, result={"b": 1, "a": [2]})


def config(task: Task, report: Report) -> StageResult:
    raise ConfigError("method.r: must be smaller")


def full(task: Task, report: Report) -> StageResult:
    raise OSError(errno.ENOSPC, "No space left on device", "adapter.safetensors")


def broken(task: Task, report: Report) -> StageResult:
    raise RuntimeError("a fault of ours")


def exits(task: Task, report: Report) -> StageResult:
    print("these are my last words", flush=True)
    os._exit(7)


def killed(task: Task, report: Report) -> StageResult:
    os.kill(os.getpid(), signal.SIGKILL)
    return StageResult()


def hangs_at_exit(task: Task, report: Report) -> StageResult:
    import threading

    threading.Thread(target=time.sleep, args=(600,)).start()
    return StageResult()


def polite(task: Task, report: Report) -> StageResult:
    """Works until it is asked to stop, then leaves a checkpoint."""
    step = 0
    while not report.should_stop():
        step += 1
        report.progress(step, 0, "working")
        time.sleep(0.05)
    report.checkpoint(ArtifactRef("file:///last", "sha256:00", 1), step=step)
    raise PreemptedError(f"stopped at step {step}")


def finishing(task: Task, report: Report) -> StageResult:
    """Is asked to stop when its work is done and only its result has to be published."""
    report.progress(1, 1, "done")
    while not report.should_stop():
        time.sleep(0.01)
    return echo(task, report)


def retiring(task: Task, report: Report) -> StageResult:
    """Publishes two checkpoints and needs only the second."""
    refs = []
    for step in (1, 2):
        folder = task.new_dir(f"checkpoint-{step}")
        (folder / "state.json").write_text("{}")
        refs.append(publish(folder, join(task.output_uri, "checkpoints", str(step))))
        report.checkpoint(refs[-1], step=step)
    report.retire([refs[0].uri])
    return StageResult()


def stubborn(task: Task, report: Report) -> StageResult:
    """Never listens."""
    report.progress(1, 0, "deaf")
    while True:
        time.sleep(0.05)


def family(task: Task, report: Report) -> StageResult:
    """Has a child that ignores SIGTERM, and says so by a file."""
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", script])
    report.progress(child.pid, 0, "the child's pid is the step")
    return stubborn(task, report)


def busy(task: Task, report: Report) -> StageResult:
    """Commits checkpoints, one after the other, and never listens."""
    step = 0
    while True:
        step += 1
        report.checkpoint(ArtifactRef(f"file:///busy/{step}", "sha256:00", 1), step=step)
        report.progress(step, 0, "busy")
        time.sleep(0.05)


def frozen(task: Task, report: Report) -> StageResult:
    """Stops itself, its child still running."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (Path(task.spec.data.path).parent / "child").write_text(str(child.pid))
    os.kill(os.getpid(), signal.SIGSTOP)
    return StageResult()


def slow_to_stop(task: Task, report: Report) -> StageResult:
    """Needs longer for its last checkpoint than a lease of 2 s lasts."""
    try:
        return polite(task, report)
    finally:
        time.sleep(4)


def gated(task: Task, report: Report) -> StageResult:
    """Ends once a file `go` lies beside the data."""
    while not (Path(task.spec.data.path).parent / "go").exists():
        time.sleep(0.02)
    return echo(task, report)


def by_job_name(task: Task, report: Report) -> StageResult:
    """The real kinds: what the first of them does depends on the job's name. Leaves a line in `runs.log`."""
    stage = task.assignment.stage
    with (Path(task.spec.data.path).parent / "runs.log").open("a") as log:
        log.write(f"{stage.name} {stage.attempt} {os.getpid()} {os.getppid()}\n")
    kinds = (config, polite, stubborn, gated, busy, frozen, slow_to_stop)
    behaviours = {kind.__name__.replace("_", "-"): kind for kind in kinds}
    if stage.name != "preprocess" or stage.attempt > 1:
        return echo(task, report)
    return behaviours.get(task.spec.name, echo)(task, report)
