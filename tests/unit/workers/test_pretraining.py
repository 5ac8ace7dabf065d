"""Continued pre-training from long texts to a lower perplexity, each step by its own stage."""

import json
from collections.abc import Callable
from pathlib import Path

from luthier.artifacts import publish
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from workers.data import stage as preprocessing
from workers.evaluation import stage as evaluation
from workers.task import StageResult, Task
from workers.training import stage as training


def _outputs(result: StageResult, uri: Path) -> StageOutputs:
    ref = publish(result.folder, str(uri))
    return StageOutputs(artifact=Artifact(uri=ref.uri, digest=ref.digest), result_json=json.dumps(result.result))


def test_windows_of_long_texts_are_learned(
    tuned_task: Callable[..., Task], quiet_report, teachable_model_dir: Path, tmp_path: Path
) -> None:
    rows = teachable_model_dir.parent / f"{tmp_path.name}.jsonl"
    lines = (f"text {number}: " + "the quick brown fox " * 20 for number in range(12))
    rows.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    job = {
        "objective": {"type": "pretrain"},
        "data": {"path": str(rows), "max_length": 32, "overlong": "split"},
        "training": {"max_steps": 8, "learning_rate": 5e-3, "precision": "fp32", "pack_length": 128},
    }

    def task(kind: str, **outputs: StageOutputs) -> Task:
        return tuned_task(kind, outputs=outputs, **job)

    data = _outputs(preprocessing.run(task("preprocess"), quiet_report), tmp_path / "data")
    assert json.loads(data.result_json)["num_rows"]["train"] > 12, "windows, not texts"
    trained = _outputs(training.run(task("train", preprocess=data), quiet_report), tmp_path / "trained")
    result = evaluation.run(task("evaluate", preprocess=data, train=trained), quiet_report)
    assert result.metrics["perplexity_tuned"] < 0.5 * result.metrics["perplexity_base"]
    assert list(result.result["metrics"]) == ["perplexity"]
