"""Every failure class by its real cause, in a real runner, as the coordinator would hear of it."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from luthier.artifacts import publish
from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from workers.attempt import Attempts
from workers.delivery import Taken
from workers.drain import Drain
from workers.lease import Heartbeats
from workers.oom import OomWatch, kernel_counters

DATA = FailureClass.FAILURE_CLASS_DATA
DIVERGED = FailureClass.FAILURE_CLASS_DIVERGED
FULL = FailureClass.FAILURE_CLASS_STORAGE_FULL
INTERNAL = FailureClass.FAILURE_CLASS_INTERNAL
LOST_DISK = FailureClass.FAILURE_CLASS_UNAVAILABLE
LOST_WORKER = FailureClass.FAILURE_CLASS_LOST_WORKER
MEMORY = FailureClass.FAILURE_CLASS_OUT_OF_MEMORY

GROUPS = Path("/sys/fs/cgroup/memory")
MIB = 1 << 20


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A function that makes a file system of 8 MiB; a test may unmount it."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    made = []

    def make(name: str) -> Path:
        disk = tmp_path / name
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
        made.append(disk)
        return disk

    yield make
    for disk in made:
        subprocess.run(["umount", "-l", str(disk)], check=False, capture_output=True)


@pytest.fixture
def small_group(tmp_path: Path) -> Iterator[None]:
    """A control group that holds 64 MiB, its path left for the stage."""
    group = GROUPS / f"luthier-test-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(64 * MIB))
    except OSError as error:
        pytest.skip(f"no memory control group of version 1 can be made here: {error}")
    (tmp_path / "group").write_text(str(group))
    yield
    group.rmdir()


@pytest.fixture
async def fail(fake_coordinator, tmp_path: Path, assign, runner_environment) -> Callable[..., Failure]:
    """Runs an attempt at a stage of the given kind, which has to fail; returns what the coordinator is told."""

    async def introduce() -> None: ...

    heartbeats = Heartbeats(fake_coordinator, "worker-1", lease=600, interval=100, on_forgotten=introduce)

    async def run(
        kind: str, *, work_root: Path = tmp_path / "work", counters=None, damage=lambda: None, **changes
    ) -> Failure:
        attempts = Attempts(
            coordinator=fake_coordinator,
            worker_id="worker-1",
            heartbeats=heartbeats,
            drain=Drain(),
            runner_argv=(sys.executable, "-P", "-m", "workers.runner", "--stages", "dying_stages:STAGES"),
            environment={**runner_environment, "LUTHIER_DATA_ROOTS": "/"},
            work_root=work_root,
            drain_grace=10,
            oom_counters=kernel_counters() if counters is None else counters,
        )
        assignment = assign(kind)
        for name, value in changes.items():
            setattr(assignment, name, value)
        if "output_uri" in changes:
            assignment.inputs["preprocess"].CopyFrom(_published(tmp_path, f"{changes['output_uri']}-input"))
        damage()
        async with asyncio.timeout(120):
            await attempts.run(Taken(assignment, asyncio.get_running_loop().time()))
        assert fake_coordinator.completed == []
        return fake_coordinator.failed[0].failure

    return run


def _published(tmp_path: Path, uri: str) -> StageOutputs:
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "rows.txt").write_text("one row")
    ref = publish(folder, uri)
    return StageOutputs(artifact=Artifact(uri=ref.uri, digest=ref.digest, num_bytes=ref.num_bytes))


@pytest.mark.parametrize(
    ("kind", "failure_class", "words"),
    [
        ("killed", LOST_WORKER, "killed from outside"),
        ("exits_137", LOST_WORKER, "killed from outside"),
        ("no_memory", MEMORY, "training.per_device_train_batch_size"),
        ("no_memory_for_a_tensor", MEMORY, "training.per_device_train_batch_size"),
        ("no_memory_for_a_map", MEMORY, "training.per_device_train_batch_size"),
        ("not_a_number", DIVERGED, "training.learning_rate"),
        ("broken", INTERNAL, "a fault of ours"),
        ("failing_disk", LOST_DISK, "Input/output error"),
        ("removed_work_dir", LOST_DISK, "stage-1-7"),
    ],
)
async def test_a_cause_has_its_class(fail, kind, failure_class, words):
    failure = await fail(kind)
    assert failure.failure_class == failure_class, failure
    assert words in failure.message


async def test_an_exception_brings_the_end_of_its_traceback(fail):
    assert "dying_stages.py" in (await fail("broken")).detail


async def test_a_kill_by_the_kernel_for_want_of_memory_is_told_from_others(fail, small_group):
    watch = OomWatch(kernel_counters())
    failure = await fail("oom_killed")
    assert watch.has_killed()
    assert failure.failure_class == MEMORY
    assert "the kernel killed the runner" in failure.message


@pytest.mark.parametrize("kind", ["killed", "exits_137"])
async def test_where_the_kernel_does_not_count_a_kill_is_taken_for_want_of_memory(fail, tmp_path, kind):
    assert (await fail(kind, counters=[tmp_path / "none"])).failure_class == MEMORY


@pytest.mark.parametrize(
    "kind", ["full_disk", "full_disk_wrapped", "full_disk_for_tensors", "full_disk_for_a_table", "full_disk_for_daft"]
)
async def test_a_full_disk_is_said_by_every_library_that_meets_it(fail, mount, kind):
    mount("disk")
    failure = await fail(kind)
    assert failure.failure_class == FULL, failure
    assert "free space" in failure.message


async def test_a_store_that_is_full(fail, mount):
    assert (await fail("full_store", output_uri=str(mount("disk") / "project/job/train/1-7"))).failure_class == FULL


async def test_a_work_folder_so_full_that_not_even_the_outcome_fits(fail, mount):
    disk = mount("disk")
    failure = await fail("full_work_dir", work_root=disk)
    assert failure.failure_class == FULL
    assert str(disk) in failure.message


@pytest.mark.parametrize("kind", ["read_only_disk", "unmounted_store"])
async def test_a_disk_that_is_lost_is_named(fail, mount, kind):
    disk = mount("disk")
    failure = await fail(kind, output_uri=str(disk / "project/job/train/1-7"))
    assert failure.failure_class == LOST_DISK, failure
    assert str(disk) in failure.message


async def test_a_work_folder_whose_disk_is_unmounted_is_named(fail, mount):
    disk = mount("disk")
    failure = await fail("unmounted_work_dir", work_root=disk)
    assert failure.failure_class == LOST_DISK
    assert str(disk) in failure.message


async def test_an_input_that_was_changed_is_bad_data(fail, tmp_path, assign):
    uri = str(tmp_path / "store/project/job/train/1-7")

    def damage() -> None:
        (Path(f"{uri}-input") / "rows.txt").write_text("one r0w")

    failure = await fail("changed_input", output_uri=uri, damage=damage)
    assert failure.failure_class == DATA
    assert "rows.txt" in failure.message


async def test_a_row_that_is_no_json_is_bad_data(fail, tmp_path, tiny_model_dir, assign):
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "comple\n')
    spec = f'{{"name": "job", "base_model": "{tiny_model_dir}", "data": {{"path": "{path}"}}}}'
    failure = await fail("preprocess", spec_json=spec)
    assert failure.failure_class == DATA
    assert "data.jsonl" in failure.message
