"""The `train` stage: in this process when one rank does, else by ranks that torchrun starts and this process watches.

In a gang each worker does so for its own ranks, which meet those of the others (meeting.py); the leader's rank 0 is the
first of all, and what the other workers come to is nothing.

This process stays the runner that the supervisor knows. torchrun is its child and in its process group, so it dies with
it (workers/guard.py); the ranks lead sessions of their own and die with torchrun (rank.py). Rank 0 speaks through the
standard output of torchrun, and what it says is passed on to the report. A wish to stop goes to torchrun as SIGTERM,
which hands it to every rank. The ranks of one worker meet at a file in the work dir, and nobody listens for more than
the loopback.

A rank that fails or vanishes ends the attempt, and the stage is tried again from its last checkpoint.
"""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from luthier.artifacts import ArtifactRef
from luthier.settings import ranks_environment
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.stage_pb2 import Checkpoint, MetricPoint, Progress
from workers.capabilities import find_accelerators, interface_of
from workers.contract import LogLine, Message, Retirement, decode, read_outcome
from workers.failures import PreemptedError, StageError
from workers.oom import OomWatch, kernel_counters
from workers.task import Report, StageResult, Task
from workers.training.distributed.verdict import folder_of, read_result

_LOOK_SECONDS = 0.1
_log = logging.getLogger(__name__)


def run(task: Task, report: Report) -> StageResult:
    """See `workers.training.stage.run`.

    Raises:
        StageError: that of the rank that failed; LOST_WORKER if one died without a word, or another worker's is gone.
    """
    gang = task.assignment.gang
    num_ranks = task.spec.resources.num_ranks
    if task.spec.resources.worker_class == "gpu":
        num_ranks = min(num_ranks, find_accelerators().number or num_ranks)
    if num_ranks == 1 and gang.num_workers < 2 and not task.spec.resources.distributed.divides_state:
        from workers.training import stage  # here, because it imports torch, which this process needs for nothing else

        return stage.run(task, report)
    if num_ranks < task.spec.resources.num_ranks:
        _log.warning("%d ranks instead of resources.num_ranks %d", num_ranks, task.spec.resources.num_ranks)
    report.progress(0, 0, f"starting {num_ranks} ranks")
    watch = OomWatch(kernel_counters())
    interface = interface_of(task.settings.gang_host) if gang.num_workers > 1 else "lo"
    returncode = _torchrun(_argv(task, num_ranks), num_ranks, interface, report)
    failures = _failures(task.work_dir, num_ranks)
    result = StageResult() if gang.number else read_result(task.work_dir)
    if returncode == 0 and result is not None and not failures:
        return result
    raise _cause(failures, num_ranks, watch, report)


def _argv(task: Task, num_ranks: int) -> list[str]:
    """torchrun's command line."""
    return [
        *(sys.executable, "-P", "-m", "torch.distributed.run"),
        *("--nnodes", "1", "--nproc-per-node", str(num_ranks), "--max-restarts", "0"),
        *("--rdzv-backend", "c10d", "--rdzv-conf", "store_type=file", "--rdzv-id", task.assignment.stage.stage_id),
        *("--rdzv-endpoint", str(task.work_dir / "rendezvous")),
        *("--monitor-interval", str(_LOOK_SECONDS)),
        *("--shutdown-timeout", str(max(1, round(task.settings.drain_grace.total_seconds())))),
        *("--no-python", sys.executable, "-P", "-m", "workers.training.distributed.rank"),
        *("--runner", str(os.getpid()), str(task.work_dir)),
    ]


def _torchrun(argv: Sequence[str], num_ranks: int, interface: str, report: Report) -> int:
    """Lives through the ranks; returns torchrun's exit status."""
    num_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment = ranks_environment(num_ranks, num_cpus, interface)
    with subprocess.Popen(  # noqa: S603 - our own arguments
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        relay = threading.Thread(target=_relay, args=(process.stdout, report), name="relay", daemon=True)
        relay.start()
        try:
            was_asked = False
            while process.poll() is None:
                if report.should_stop() and not was_asked:
                    process.terminate()
                    was_asked = True
                relay.join(_LOOK_SECONDS)  # no longer than torchrun lives, which holds the pipe as well
        finally:
            process.kill()
        relay.join()
        return process.wait()


def _relay(pipe: IO[bytes], report: Report) -> None:
    """Passes on what rank 0 says, to its end."""
    for line in pipe:
        try:
            _pass_on(decode(line), report)
        except ValueError as error:
            _log.warning("rank 0 said something unreadable: %s", error)


def _pass_on(message: Message, report: Report) -> None:
    match message:
        case Progress():
            eta = message.eta.ToMilliseconds() / 1000 if message.HasField("eta") else None
            report.progress(message.step, message.num_steps, message.message, eta)
        case MetricPoint():
            report.metrics(message.step, message.values)
        case Checkpoint():
            report.checkpoint(ArtifactRef(message.uri, message.digest, 0), message.step)
        case Retirement():
            report.retire(message.uris)
        case LogLine():
            logging.getLogger(message.logger).log(message.level, "%s", message.message)


def _failures(work_dir: Path, num_ranks: int) -> dict[int, Failure]:
    """What ranks of this worker left, by their numbers here."""
    outcomes = {rank: read_outcome(folder_of(work_dir, rank)) for rank in range(num_ranks)}
    return {rank: outcome for rank, outcome in outcomes.items() if isinstance(outcome, Failure)}


def _cause(failures: Mapping[int, Failure], num_ranks: int, watch: OomWatch, report: Report) -> StageError:
    """Why the ranks did not come to a result. That a rank misses another one is never the cause."""
    for rank, failure in failures.items():
        if failure.failure_class != FailureClass.FAILURE_CLASS_LOST_WORKER:
            error = StageError(failure.failure_class, failure.message)
            error.add_note(f"rank {rank}:\n{failure.detail}")
            return error
    if report.should_stop():
        return PreemptedError("asked to stop before the ranks had begun")
    silent = [rank for rank in range(num_ranks) if rank not in failures]
    if watch.has_killed():
        return StageError(
            FailureClass.FAILURE_CLASS_OUT_OF_MEMORY,
            f"the machine ran out of memory and the kernel killed a rank (of {silent}); if smaller forward passes do "
            f"not help, lower resources.num_ranks or training.pack_length, or use a larger worker",
        )
    if not silent:
        return StageError(
            FailureClass.FAILURE_CLASS_LOST_WORKER,
            "a rank of another worker is gone; the stage is tried again from its last checkpoint",
        )
    return StageError(
        FailureClass.FAILURE_CLASS_LOST_WORKER,
        f"a rank (of {silent}) ended without a word; the stage is tried again from its last checkpoint",
    )
