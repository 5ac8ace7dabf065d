"""A student learns what its teacher knows: the stages from rows to evaluation, and a teacher that does not fit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from luthier.artifacts import publish
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from workers.data import stage as preprocessing
from workers.evaluation import stage as evaluation
from workers.failures import ConfigError
from workers.task import StageResult, Task
from workers.training import stage as training

QUESTIONS = ("red", "green", "yellow", "blue")


def _outputs(result: StageResult, uri: Path) -> StageOutputs:
    ref = publish(result.folder, str(uri))
    return StageOutputs(
        artifact=Artifact(uri=ref.uri, digest=ref.digest), result_json=json.dumps(result.result), metrics=result.metrics
    )


def test_a_student_learns_from_its_teacher_alone(
    tuned_task: Callable[..., Task], quiet_report, teachable_model_dir: Path, whole_model_dir: Path, tmp_path: Path
) -> None:
    teacher = teachable_model_dir.parent / f"teacher-{tmp_path.name}"
    shutil.copytree(whole_model_dir / "model", teacher)
    job = {
        "objective": {"type": "distillation", "teacher": str(teacher), "alpha": 1.0, "temperature": 1.0, "top_k": 16},
        "training": {"max_steps": 60, "learning_rate": 1e-2, "precision": "fp32", "lr_scheduler_type": "constant"},
        "evaluation": {"metrics": ["perplexity", "exact_match"], "max_new_tokens": 24},
    }
    splits = {"train": QUESTIONS, "validation": QUESTIONS, "test": QUESTIONS}
    trained = _outputs(training.run(tuned_task("train", **splits, **job), quiet_report), tmp_path / "trained")
    result = evaluation.run(tuned_task("evaluate", **splits, outputs={"train": trained}, **job), quiet_report)
    assert result.metrics["exact_match_base"] == 0.0
    assert result.metrics["exact_match_tuned"] == 1.0, "the answers themselves had no share in the loss"


def test_a_teacher_with_another_vocabulary_is_refused_before_anything_is_tokenised(
    tuned_task: Callable[..., Task], quiet_report, teachable_model_dir: Path, tmp_path: Path
) -> None:
    teacher = teachable_model_dir.parent / f"stranger-{tmp_path.name}"
    shutil.copytree(teachable_model_dir, teacher)
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    tokenizer.add_tokens(["<strange>"])
    tokenizer.save_pretrained(teacher)
    task = tuned_task("preprocess", objective={"type": "distillation", "teacher": str(teacher)})
    with pytest.raises(ConfigError, match=r"has another vocabulary.*'<strange>'"):
        preprocessing.run(task, quiet_report)
