"""A worker that is killed in the middle of a training: the job goes on from the last checkpoint."""

import json
import os
import signal
from pathlib import Path

import pytest

from luthier.client import Client, Event, Job
from tests.e2e.harness import Platform

NUM_STEPS = 120


@pytest.mark.slow
@pytest.mark.chaos
def test_training_goes_on_from_the_checkpoint_after_its_worker_was_killed(
    stack: Platform, tmp_path: Path, tiny_model_dir: Path
) -> None:
    rows = "".join(json.dumps({"prompt": f"say {n}", "completion": f"{n} the fox"}) + "\n" for n in range(60))
    (tmp_path / "rows.jsonl").write_text(rows)
    spec = {
        "name": "killed",
        "base_model": str(tiny_model_dir),
        "data": {"path": str(tmp_path / "rows.jsonl"), "max_length": 64},
        "training": {"max_steps": NUM_STEPS, "save_steps": 10, "eval_steps": NUM_STEPS, "pack_length": 128},
        "evaluation": {"max_new_tokens": 2, "max_samples": 2, "num_bootstrap": 100, "metrics": ["perplexity"]},
    }
    worker = stack.pid_of("worker-cpu")
    with stack.client() as client:
        job = client.submit(spec)
        for update in client.watch(job.id, timeout_seconds=120):
            if isinstance(update, Event) and update.kind == "checkpoint_committed":
                break
        os.kill(worker, signal.SIGKILL)
        done = client.wait(job.id, timeout_seconds=180)
        check(client, done)
    assert stack.pid_of("worker-cpu") != worker


def check(client: Client, done: Job) -> None:
    assert done.state == "SUCCEEDED"
    assert done.stage("train").attempt == 2
    retried = [event for event in client.events(job=done.id) if event.kind == "stage_retried"]
    assert [event.failure.failure_class for event in retried if event.failure] == ["LOST_WORKER"]
    second = [point.step for point in client.metrics(done.id, stage="train") if point.attempt == 2]
    assert min(second) > 10, "the second try began at a checkpoint"
    assert max(second) == NUM_STEPS
