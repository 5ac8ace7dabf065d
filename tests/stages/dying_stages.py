"""Stages that fail for real, one kind per cause: `--stages dying_stages:STAGES`.

Tests leave what a stage needs beside its data: `disk`, a small file system of its own; `group`, the path of a memory
control group in a file.
"""

import os
import resource
import signal
import subprocess
from pathlib import Path

from workers.task import Report, StageResult, Task

BLOCK = bytes(1 << 20)


def beside(task: Task, name: str) -> Path:
    return Path(task.spec.data.path).parent / name


def killed(task: Task, report: Report) -> StageResult:
    os.kill(os.getpid(), signal.SIGKILL)
    return StageResult()


def exits_137(task: Task, report: Report) -> StageResult:
    os._exit(137)


def oom_killed(task: Task, report: Report) -> StageResult:
    """The kernel kills what outgrows its control group."""
    (Path(beside(task, "group").read_text()) / "cgroup.procs").write_text(str(os.getpid()))
    kept = [bytearray(BLOCK) for _ in range(512)]
    raise AssertionError(f"{len(kept)} MiB fit into the group")


def no_memory(task: Task, report: Report) -> StageResult:
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    bytearray(8 << 30)
    return StageResult()


def no_memory_for_a_tensor(task: Task, report: Report) -> StageResult:
    import torch

    torch.empty(1 << 50, dtype=torch.uint8)
    return StageResult()


def no_memory_for_a_map(task: Task, report: Report) -> StageResult:
    import mmap

    mmap.mmap(-1, 1 << 60)
    return StageResult()


def not_a_number(task: Task, report: Report) -> StageResult:
    import torch

    from workers.training.guards import check_finite

    check_finite(3, torch.log(torch.tensor(-1.0)).item())
    return StageResult()


def broken(task: Task, report: Report) -> StageResult:
    raise RuntimeError("a fault of ours")


def changed_input(task: Task, report: Report) -> StageResult:
    task.input_dir("preprocess")
    return StageResult()


def full_disk(task: Task, report: Report) -> StageResult:
    with (beside(task, "disk") / "big").open("wb") as stream:
        for _ in range(64):
            stream.write(BLOCK)
    return StageResult()


def full_disk_wrapped(task: Task, report: Report) -> StageResult:
    try:
        return full_disk(task, report)
    except OSError as error:
        raise ValueError("the dataset could not be written") from error


def full_disk_for_tensors(task: Task, report: Report) -> StageResult:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(64 << 20, dtype=torch.uint8)}, beside(task, "disk") / "a.safetensors")
    return StageResult()


def full_disk_for_a_table(task: Task, report: Report) -> StageResult:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"a": [os.urandom(1 << 20) for _ in range(64)]})
    parquet.write_table(table, beside(task, "disk") / "a.parquet")
    return StageResult()


def full_disk_for_daft(task: Task, report: Report) -> StageResult:
    import daft

    rows = daft.from_pydict({"a": [os.urandom(1 << 20) for _ in range(64)]})
    rows.write_parquet(str(beside(task, "disk") / "a"))
    return StageResult()


def full_store(task: Task, report: Report) -> StageResult:
    """The result does not fit into the artifact store."""
    folder = task.new_dir("result")
    (folder / "big").write_bytes(BLOCK * 64)
    return StageResult(folder=folder)


def full_work_dir(task: Task, report: Report) -> StageResult:
    """Not even the outcome can be written."""
    with (task.work_dir / "big").open("wb", buffering=0) as stream:
        while True:
            stream.write(BLOCK)


def read_only_disk(task: Task, report: Report) -> StageResult:
    disk = beside(task, "disk")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    (disk / "x").write_text("x")
    return StageResult()


def failing_disk(task: Task, report: Report) -> StageResult:
    """The kernel answers EIO to a read of memory that is not there."""
    with open("/proc/self/mem", "rb", buffering=0) as stream:
        stream.read(1)
    return StageResult()


def unmounted_work_dir(task: Task, report: Report) -> StageResult:
    subprocess.run(["umount", "-l", str(task.work_dir.parent)], check=True)
    (task.work_dir / "x").write_text("x")
    return StageResult()


def removed_work_dir(task: Task, report: Report) -> StageResult:
    task.work_dir.rename(beside(task, "elsewhere"))
    return StageResult()


def unmounted_store(task: Task, report: Report) -> StageResult:
    subprocess.run(["umount", "-l", str(beside(task, "disk"))], check=True)
    task.input_dir("preprocess")
    return StageResult()


STAGES = {
    function.__name__: f"dying_stages:{function.__name__}"
    for function in (
        *(killed, exits_137, oom_killed, no_memory, no_memory_for_a_tensor, no_memory_for_a_map, not_a_number, broken),
        *(changed_input, full_disk, full_disk_wrapped, full_disk_for_tensors, full_disk_for_a_table),
        *(full_disk_for_daft, full_store, full_work_dir, read_only_disk, failing_disk, unmounted_work_dir),
        *(removed_work_dir, unmounted_store),
    )
}
STAGES["preprocess"] = "workers.data.stage:run"
