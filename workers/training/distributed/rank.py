"""`python -m workers.training.distributed.rank WORK_DIR`: one rank of a training, started by torchrun (launch.py).

It does what a runner does for a stage of one process, with the others in step: it reads `task.json`, trains, and leaves
its verdict in a folder of its own. Rank 0 speaks, through what was its standard output; what is printed goes to the
log. A rank leads a session of its own, so the kernel is asked to kill it when torchrun ends.
"""

import argparse
import logging
import os
import re
import signal
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import psutil

from luthier import telemetry
from luthier.artifacts import ArtifactRef
from luthier.settings import RankSettings, WorkerSettings
from luthier.spec import parse_spec
from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.worker_service_pb2 import GangPlace
from workers.causes import chain
from workers.contract import read_task, write_outcome
from workers.failures import PreemptedError, StageError, classify
from workers.parent import die_with_parent
from workers.report import PipeReport, ReportHandler
from workers.task import Task
from workers.training.distributed.meeting import joined_across
from workers.training.distributed.verdict import folder_of, write_result
from workers.training.distributed.world import World, joined
from workers.training.stage import train

_STDOUT, _STDERR = 1, 2
# What the libraries below say when the process at the other end is gone.
_GONE = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket|wait timeout", re.IGNORECASE)


class SilentReport:
    """A `workers.task.Report` of a rank that does not speak."""

    def __init__(self) -> None:
        self._stop = False

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        """Rank 0 says it."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Rank 0 says it."""

    def checkpoint(self, ref: ArtifactRef, step: int) -> None:
        """Rank 0 says it."""

    def retire(self, uris: Sequence[str]) -> None:
        """Rank 0 says it."""

    def should_stop(self) -> bool:
        """Whether the worker drains."""
        return self._stop

    def ask_to_stop(self) -> None:
        """Makes `should_stop` true."""
        self._stop = True


def main() -> int:
    """The process. Returns 0 when its part succeeded or was stopped as asked, else 1."""
    arguments = _parser().parse_args()
    _die_with_torchrun(arguments.runner)
    descriptor = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    place = RankSettings()  # type: ignore[call-arg]  # from the environment
    settings = WorkerSettings()
    telemetry.start(f"rank-{place.rank}", settings)
    folder = folder_of(arguments.work_dir, place.rank)
    folder.mkdir(parents=True)
    assignment = read_task(arguments.work_dir)
    report: PipeReport | SilentReport = SilentReport()
    gang = assignment.gang
    if place.rank == 0 and gang.number == 0:
        report = PipeReport(descriptor, assignment.stage.attempt, assignment.stage.fence)
        logging.getLogger().addHandler(ReportHandler(report))
    else:
        os.close(descriptor)
    signal.signal(signal.SIGTERM, lambda *_: report.ask_to_stop())
    task = Task(assignment=assignment, spec=parse_spec(assignment.spec_json), settings=settings, work_dir=folder)
    try:
        with _world(gang, place, arguments.work_dir) as world:
            result = train(task, report, world)
            if world.is_first:
                write_result(arguments.work_dir, result)
        status = 0
    # The border of the process: everything that can go wrong in a rank is told to the runner from here.
    except Exception as error:
        _leave_failure(error, folder)
        status = 0 if isinstance(error, PreemptedError) else 1
    if isinstance(report, PipeReport):
        report.close()
    telemetry.stop()
    return status


def _world(gang: GangPlace, place: RankSettings, work_dir: Path) -> AbstractContextManager[World]:
    """All ranks of the training: those of this worker, or of all in its gang."""
    if gang.num_workers > 1:
        return joined_across(gang, place.rank, place.num_ranks)
    return joined(place.rank, place.num_ranks, work_dir / "store")


def _leave_failure(error: Exception, folder: Path) -> None:
    if is_lost_rank(error):
        message = f"another rank is gone: {error}"
        write_outcome(folder, classify(StageError(FailureClass.FAILURE_CLASS_LOST_WORKER, message)))
    else:
        write_outcome(folder, classify(error, [folder]))


def is_lost_rank(error: BaseException) -> bool:
    """Whether `error` only says that another rank does not answer."""
    return not isinstance(error, StageError) and any(
        isinstance(link, RuntimeError) and _GONE.search(str(link)) for link in chain(error)
    )


def _die_with_torchrun(runner: int) -> None:
    torchrun = os.getppid()
    die_with_parent(torchrun)
    # It may have ended before: then somebody else is our parent, and not a child of the runner.
    try:
        is_child = psutil.Process(torchrun).ppid() == runner
    except psutil.NoSuchProcess:
        is_child = False
    if not is_child:
        raise SystemExit(f"torchrun, which process {runner} started, is gone")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.training.distributed.rank", description="One rank.")
    parser.add_argument("work_dir", type=Path, help="folder with task.json")
    parser.add_argument("--runner", type=int, required=True, help="process that started torchrun")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
