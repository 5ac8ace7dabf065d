"""A head beside what each method leaves: evaluated, exported, and proved to score as it did in training."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from luthier.artifacts import publish
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from workers.data import stage as preprocessing
from workers.evaluation import stage as evaluation
from workers.export import stage as export
from workers.task import StageResult, Task
from workers.training import stage as training
from workers.training.methods import METHODS

CARRIERS: dict[str, Mapping[str, Any]] = {
    "adalora": {"init_r": 4, "target_r": 2, "delta_t": 1},
    "ia3": {},
    "oft": {"oft_block_size": 8},
    "qlora": {"r": 4},
    "spiel": {"r": 4, "update_steps": 2, "gradient_steps": 1},
    "freeze": {"num_trainable_layers": 1},
    "hft": {},
    "prompt_tuning": {"num_virtual_tokens": 4},
    "prefix_tuning": {"num_virtual_tokens": 4},
}
WITH_SEVERAL_LABELS = {"ia3", "prefix_tuning", "freeze"}
"""Methods whose classifiers give a row several: an adapter, virtual tokens, and a whole model."""
SHOWN_ELSEWHERE = {"lora", "full"}
"""In test_classification.py, with figures."""
REFUSED = {"bottleneck", "custom", "xlora"}
"""In the job file: see test_pairings.py."""


def test_no_method_is_left_out() -> None:
    assert CARRIERS.keys() | SHOWN_ELSEWHERE | REFUSED >= METHODS.keys()


@pytest.mark.parametrize("name", CARRIERS)
def test_plain_libraries_score_as_training_did(
    tuned_task: Callable[..., Task], quiet_report, teachable_model_dir: Path, tmp_path: Path, name: str
) -> None:
    rows = teachable_model_dir.parent / f"{tmp_path.name}.jsonl"
    several = name in WITH_SEVERAL_LABELS
    rows.write_text("".join(json.dumps(row) + "\n" for row in (_rows_with_several(40) if several else _rows(40))))
    job = {
        "method": {"type": name, **CARRIERS[name]},
        "objective": {"type": "classification", "multi_label": several},
        "data": {"path": str(rows), "max_length": 64},
        "training": {"max_steps": 3, "learning_rate": 5e-3, "precision": "fp32", "pack_length": 256},
        "export": {"dtype": "float32"},
    }

    def task(kind: str, **outputs: StageOutputs) -> Task:
        return tuned_task(kind, outputs=outputs, **job)

    so_far = {"preprocess": _outputs(preprocessing.run(task("preprocess"), quiet_report), tmp_path / "data")}
    so_far["train"] = _outputs(training.run(task("train", **so_far), quiet_report), tmp_path / "trained")
    so_far["evaluate"] = _outputs(evaluation.run(task("evaluate", **so_far), quiet_report), tmp_path / "evaluated")
    exported = export.run(task("export", **so_far), quiet_report)
    assert exported.metrics["greedy_agreement"] == 1.0
    assert exported.metrics["max_logit_difference"] < 1e-4


def _rows(num: int) -> list[dict[str, str]]:
    """Of five lengths, so that batches are padded."""
    colours = {"cold": "blue", "warm": "red"}
    return [
        {"text": f"{'so ' * (number % 5)}{colours[label]} is number {number}", "label": label}
        for number in range(num)
        for label in [sorted(colours)[number % 2]]
    ]


def _rows_with_several(num: int) -> list[dict[str, Any]]:
    """With none, one or both of two."""
    return [
        {
            "text": row["text"],
            "labels": [label for label, is_had in (("long", number % 5 > 2), ("warm", number % 2)) if is_had],
        }
        for number, row in enumerate(_rows(num))
    ]


def _outputs(result: StageResult, uri: Path) -> StageOutputs:
    ref = publish(result.folder, str(uri))
    return StageOutputs(
        artifact=Artifact(uri=ref.uri, digest=ref.digest), result_json=json.dumps(result.result), metrics=result.metrics
    )
