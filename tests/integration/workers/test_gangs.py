"""Several workers share one attempt: they form a gang, lose a member, and go on with as many as there are."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from luthier.v1.failure_pb2 import FailureClass
from luthier.v1.job_pb2 import Job
from luthier.v1.stage_pb2 import Stage
from workers.data.dataset import write_split

TWO_OR_ONE = {"num_workers": 2, "min_workers": 1}
WEIGHTS = "adapter/adapter_model.safetensors"
TRAINING = {
    "max_steps": 40,
    "save_steps": 5,
    "eval_steps": 20,
    "pack_length": 64,
    "gradient_accumulation_steps": 2,
    "precision": "fp32",
}
FP32 = 1e-5
"""Relative difference of a loss on one rank and on two: sums are taken in another order."""


@dataclass(frozen=True)
class Part:
    """One line of `gang.log`."""

    attempt: int
    number: int
    num_workers: int
    supervisor: int


@pytest.fixture
def parts(platform):
    """Who has begun to work on what, as the runners tell it."""

    def read() -> list[Part]:
        path = platform.folder / "gang.log"
        return [Part(*map(int, line.split())) for line in path.read_text().splitlines()] if path.exists() else []

    return read


@pytest.fixture
def start_two(platform):
    """Starts two workers with tiny stages; returns them by process id."""

    def start():
        return {worker.pid: worker for worker in (platform.worker(stages="gang_stages:STAGES") for _ in range(2))}

    return start


async def train_stage(platform, job_id: str, seconds: float = 240.0) -> Stage:
    """The train stage once it has succeeded."""
    async with asyncio.timeout(seconds):
        while (stage := await platform.stage(job_id, "train")).state != Stage.STATE_SUCCEEDED:
            assert stage.state in (Stage.STATE_PENDING, Stage.STATE_QUEUED, Stage.STATE_RUNNING), stage.failure
            await asyncio.sleep(0.1)
    return stage


async def test_two_jobs_that_need_both_workers_each_end_one_after_the_other(platform, parts, start_two):
    platform.set("LUTHIER_GANG_WAIT", "PT1S")
    platform.coordinator()
    # A worker goes on with the next stage of its job: soon each of the two leads a gang that lacks the other.
    job_ids = [await platform.submit(name, resources={"num_workers": 2}) for name in ("one", "another")]
    start_two()
    async with asyncio.timeout(90):
        for job_id in job_ids:
            assert (await platform.ended(job_id)).state == Job.STATE_SUCCEEDED
            failures = await platform.failures(job_id)
            print(f"set free {len(failures)} times")
            assert set(failures) <= {FailureClass.FAILURE_CLASS_GANG_INCOMPLETE}
    assert {part.num_workers for part in parts()} == {2}
    # These leaders need nobody to be done, so a member may be told to stop before it has begun.
    assert [part.number for part in parts()].count(0) == 2


@pytest.mark.chaos
async def test_the_attempt_of_a_killed_member_ends_and_the_leader_goes_on_alone(platform, parts, start_two):
    platform.set("LUTHIER_GANG_WAIT", "PT1S")
    platform.coordinator(lease=4.0)
    workers = start_two()
    job_id = await platform.submit("parted", resources=TWO_OR_ONE)
    await platform.until(lambda: len(parts()) == 2)
    stage = await platform.stage(job_id, "train")
    assert len(stage.member_ids) == 1
    assert stage.worker_id not in stage.member_ids
    [member] = [part for part in parts() if part.number == 1]
    workers[member.supervisor].kill()
    assert (await platform.ended(job_id)).state == Job.STATE_SUCCEEDED
    assert await platform.failures(job_id) == [FailureClass.FAILURE_CLASS_LOST_WORKER]
    assert [(part.attempt, part.number, part.num_workers) for part in parts()[2:]] == [(2, 0, 1)]
    assert (await platform.stage(job_id, "train")).attempt == 2
    [blamed] = await platform.query("SELECT worker_id FROM worker WHERE num_failures_in_row > 0")
    assert blamed["worker_id"] == stage.member_ids[0]


async def test_a_member_that_leaves_has_all_stop_at_a_checkpoint(platform, parts, start_two):
    platform.set("LUTHIER_GANG_WAIT", "PT1S")
    platform.coordinator()
    workers = start_two()
    job_id = await platform.submit("parted", resources=TWO_OR_ONE)
    await platform.until(lambda: len(parts()) == 2)
    [member] = [part for part in parts() if part.number == 1]
    workers[member.supervisor].terminate()
    assert await asyncio.to_thread(workers[member.supervisor].wait, 20) == 0
    assert (await platform.ended(job_id)).state == Job.STATE_SUCCEEDED
    assert await platform.failures(job_id) == [FailureClass.FAILURE_CLASS_PREEMPTED]
    assert len(await platform.query("SELECT 1 FROM checkpoint WHERE fence = $1", await first_fence(platform))) == 1
    assert [(part.attempt, part.number, part.num_workers) for part in parts()[2:]] == [(2, 0, 1)]


async def first_fence(platform) -> int:
    [row] = await platform.query("SELECT min(fence) AS fence FROM checkpoint")
    return int(row["fence"])


@pytest.fixture
def start(platform, tmp_path: Path, tiny_model_dir: Path):
    """Starts a worker with an id of its own that really trains."""
    platform.set("LUTHIER_DATA_ROOTS", f"{tmp_path},{tiny_model_dir.parent}")
    platform.set("LUTHIER_CHECKPOINT_KEY", "a key of the test")
    platform.set("OMP_NUM_THREADS", "1")
    write_dataset(platform.folder / "dataset")

    def start(worker_id: str):
        return platform.worker(
            stages="gang_stages:TRAINING_STAGES", worker_id=worker_id, worker_kinds="preprocess,train"
        )

    return start


def write_dataset(folder: Path) -> None:
    """Documents of different lengths, each with an answer that depends on its number."""
    folder.mkdir()
    for name, num_rows in {"train": 60, "validation": 6, "test": 0}.items():
        rows = []
        for number in range(num_rows):
            question, answer = [10 + number % 7] * (4 + number % 5), [20 + number % 3] * (2 + number % 4)
            labels = [False] * len(question) + [True] * len(answer)
            row = {"row": number + 1, "source": "rows.jsonl", "input_ids": [*question, *answer], "trainable": labels}
            rows.append(row)
        write_split(folder, name, rows)


@pytest.fixture
def submit(platform, tiny_model_dir: Path):
    """Submits a training that so many workers share."""

    async def submit(num_workers: int, min_workers: int) -> str:
        return await platform.submit(
            "shared",
            base_model=str(tiny_model_dir),
            data={"path": str(platform.folder / "data.jsonl"), "max_length": 64},
            method={"type": "lora", "r": 4},
            training=TRAINING,
            resources={"num_workers": num_workers, "min_workers": min_workers},
        )

    return submit


async def committed(platform, stage_id: str) -> int:
    """The step of a first checkpoint, once there is one."""
    async with asyncio.timeout(240):
        while True:
            rows = await platform.query("SELECT max(step) AS step FROM checkpoint WHERE stage_id = $1", stage_id)
            if rows[0]["step"]:
                return int(rows[0]["step"])
            await asyncio.sleep(0.02)


async def curve(platform, stage: Stage) -> dict[int, float]:
    """Loss by step; that of the last attempt that did the step."""
    rows = await platform.query(
        "SELECT step, values->>'loss' AS loss FROM metric WHERE stage_id = $1 ORDER BY attempt", stage.stage_id
    )
    return {row["step"]: float(row["loss"]) for row in rows if row["loss"] is not None}


@pytest.mark.slow
@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_a_gang_that_shrinks_in_the_middle_has_the_curve_of_one_worker(platform, start, submit):
    platform.set("LUTHIER_GANG_WAIT", "PT4S")
    platform.coordinator(lease=15.0)
    workers = {worker_id: start(worker_id) for worker_id in ("worker-a", "worker-b")}
    job_id = await submit(2, 1)
    train = await platform.started(job_id, attempt=1, name="train", seconds=240)
    step = await committed(platform, train.stage_id)
    [member] = (await platform.stage(job_id, "train")).member_ids
    workers[member].kill()
    shared = await train_stage(platform, job_id)
    assert shared.attempt == 2
    assert await platform.failures(job_id) == [FailureClass.FAILURE_CLASS_LOST_WORKER]
    alone = await train_stage(platform, await submit(1, 1))
    assert step < TRAINING["max_steps"]
    first, second = await curve(platform, shared), await curve(platform, alone)
    assert sorted(first) == list(range(1, TRAINING["max_steps"] + 1))
    assert first == pytest.approx(second, rel=FP32)
    assert second[TRAINING["max_steps"]] < second[1]


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_a_gang_that_forms_again_ends_with_the_same_weights(platform, start, submit):
    platform.set("LUTHIER_GANG_WAIT", "PT60S")
    platform.coordinator(lease=15.0)
    workers = {worker_id: start(worker_id) for worker_id in ("worker-a", "worker-b")}
    undisturbed = await train_stage(platform, await submit(2, 2))
    job_id = await submit(2, 2)
    train = await platform.started(job_id, attempt=1, name="train", seconds=240)
    await committed(platform, train.stage_id)
    [member] = (await platform.stage(job_id, "train")).member_ids
    workers[member].kill()
    start("worker-c")
    resumed = await train_stage(platform, job_id)
    assert (undisturbed.attempt, resumed.attempt) == (1, 2)
    weights = [(Path(stage.outputs.artifact.uri) / WEIGHTS).read_bytes() for stage in (undisturbed, resumed)]
    assert weights[0] == weights[1]
    assert await curve(platform, resumed) == await curve(platform, undisturbed)
