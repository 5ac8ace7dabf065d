"""A training whose worker is killed goes on at another worker, from its last checkpoint, to the same weights."""

import asyncio
import json
from pathlib import Path

import pytest

from luthier.v1.stage_pb2 import Stage

pytestmark = [pytest.mark.slow, pytest.mark.chaos]

TRAINING = {"max_steps": 150, "save_steps": 10, "eval_steps": 50, "pack_length": 128}
WEIGHTS = "adapter/adapter_model.safetensors"
ADAPTER_WITH_DROPOUT = {"type": "lora", "r": 4, "lora_dropout": 0.1}


@pytest.fixture
def start(platform, tmp_path: Path, tiny_model_dir: Path):
    """Starts a worker with real stages and an id of its own."""
    platform.set("LUTHIER_DATA_ROOTS", f"{tmp_path},{tiny_model_dir.parent}")
    platform.set("LUTHIER_CHECKPOINT_KEY", "a key of the test")
    platform.set("OMP_NUM_THREADS", "1")
    rows = "".join(json.dumps({"prompt": f"say {n}", "completion": f"{n} the fox"}) + "\n" for n in range(60))
    (platform.folder / "data.jsonl").write_text(rows)

    def start(worker_id: str):
        return platform.worker(stages="workers.runner:STAGES", worker_id=worker_id, worker_kinds="preprocess,train")

    return start


async def trained(platform, job_id: str) -> Stage:
    async with asyncio.timeout(180):
        while (stage := await platform.stage(job_id, "train")).state != Stage.STATE_SUCCEEDED:
            assert stage.state in (Stage.STATE_PENDING, Stage.STATE_QUEUED, Stage.STATE_RUNNING), stage.failure
            await asyncio.sleep(0.1)
    return stage


async def test_another_worker_finishes_what_a_killed_one_began(platform, start, tiny_model_dir: Path):
    spec = {
        "base_model": str(tiny_model_dir),
        "data": {"path": str(platform.folder / "data.jsonl"), "max_length": 64},
        "method": ADAPTER_WITH_DROPOUT,
        "training": TRAINING,
    }
    platform.coordinator(lease=3.0)
    workers = {worker_id: start(worker_id) for worker_id in ("worker-a", "worker-b")}
    undisturbed = await trained(platform, await platform.submit("twin", **spec))
    job_id = await platform.submit("twin", **spec)
    train = await platform.started(job_id, attempt=1, name="train")
    committed = "SELECT step FROM checkpoint WHERE stage_id = $1 ORDER BY step DESC"
    async with asyncio.timeout(60):
        while not (rows := await platform.query(committed, train.stage_id)):  # noqa: ASYNC110 - one query, one answer
            await asyncio.sleep(0.05)
    workers[train.worker_id].kill()
    resumed = await trained(platform, job_id)
    assert (undisturbed.attempt, resumed.attempt) == (1, 2)
    assert {train.worker_id, resumed.worker_id} == set(workers)
    steps = [
        row["step"]
        for row in await platform.query(
            "SELECT step FROM metric WHERE stage_id = $1 AND attempt = 2 ORDER BY step", train.stage_id
        )
    ]
    assert steps[0] > rows[0]["step"]
    assert steps[-1] == TRAINING["max_steps"]
    weights = [(Path(stage.outputs.artifact.uri) / WEIGHTS).read_bytes() for stage in (undisturbed, resumed)]
    assert weights[0] == weights[1]
