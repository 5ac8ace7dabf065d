"""Classification from rows to the exported classifier, each step by its own stage."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline

from luthier.artifacts import publish
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from workers.data import stage as preprocessing
from workers.evaluation import stage as evaluation
from workers.export import stage as export
from workers.models import load_model
from workers.task import StageResult, Task
from workers.training import stage as training
from workers.training.heads import HEAD

COLOURS = {"warm": ["red", "orange", "yellow"], "cold": ["blue", "green", "grey", "white"]}
LORA = {"type": "lora", "r": 8}
FULL = {"type": "full"}


def _outputs(result: StageResult, uri: Path) -> StageOutputs:
    ref = publish(result.folder, str(uri))
    return StageOutputs(
        artifact=Artifact(uri=ref.uri, digest=ref.digest), result_json=json.dumps(result.result), metrics=result.metrics
    )


def _rows(num: int) -> list[dict[str, str]]:
    pairs = [(label, colour) for label, colours in COLOURS.items() for colour in colours]
    return [
        {"text": f"{colour} number {number}", "label": label}
        for number in range(num)
        for label, colour in [pairs[number % len(pairs)]]
    ]


def _rows_with_sets(num: int) -> list[dict[str, Any]]:
    """`warm` goes by the colour, `even` by the number; a quarter has neither."""
    colours = [colour for colours in COLOURS.values() for colour in colours]
    return [
        {
            "text": f"{colour} number {'even' if number % 2 == 0 else 'odd'} {number}",
            "labels": [*(["warm"] if colour in COLOURS["warm"] else []), *(["even"] if number % 2 == 0 else [])],
        }
        for number in range(num)
        for colour in [colours[number % len(colours)]]
    ]


@pytest.mark.parametrize("method", [LORA, FULL], ids=["lora", "full"])
def test_a_classifier_goes_through_all_stages_and_loads_in_plain_libraries(
    tuned_task: Callable[..., Task], quiet_report, teachable_model_dir: Path, tmp_path: Path, method: Mapping[str, Any]
) -> None:
    rows = teachable_model_dir.parent / f"{tmp_path.name}.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in _rows(84)))
    job = {
        "method": method,
        "objective": {"type": "classification", "class_weights": "balanced"},
        "data": {"path": str(rows), "max_length": 64},
        "training": {"max_steps": 30, "learning_rate": 5e-3, "precision": "fp32", "pack_length": 256},
        "export": {"dtype": "float32"},
    }

    def task(kind: str, **outputs: StageOutputs) -> Task:
        return tuned_task(kind, outputs=outputs, **job)

    data = _outputs(preprocessing.run(task("preprocess"), quiet_report), tmp_path / "data")
    trained = _outputs(training.run(task("train", preprocess=data), quiet_report), tmp_path / "trained")
    folder = Path(trained.artifact.uri)
    assert json.loads((folder / HEAD / "head.json").read_text()) == {"labels": ["cold", "warm"]}
    so_far = {"preprocess": data, "train": trained}
    evaluated = evaluation.run(task("evaluate", **so_far), quiet_report)
    assert evaluated.metrics["accuracy_tuned"] > evaluated.metrics["accuracy_base"]
    assert evaluated.metrics["macro_f1_tuned"] > 0.9 > evaluated.metrics["macro_f1_base"]
    assert "most frequent class of the training split, 'cold'" in (evaluated.folder / "report.md").read_text()

    so_far["evaluate"] = _outputs(evaluated, tmp_path / "evaluated")
    exported = export.run(task("export", **so_far), quiet_report)
    assert exported.metrics["greedy_agreement"] == 1.0
    assert exported.metrics["max_logit_difference"] < 1e-3
    assert exported.result["formats"] == (["peft", "merged"] if method is LORA else ["merged"])
    tokenizer = AutoTokenizer.from_pretrained(exported.folder / "merged")
    merged = AutoModelForSequenceClassification.from_pretrained(exported.folder / "merged")
    assert merged.config.architectures == ["LlamaForSequenceClassification"]
    texts = ["blue number 900", "red number 901"]
    scores = merged(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    assert [merged.config.id2label[index] for index in scores.argmax(1).tolist()] == ["cold", "warm"]
    assert "text-classification" in (exported.folder / "README.md").read_text()
    if method is LORA:
        base = AutoModelForSequenceClassification.from_pretrained(
            teachable_model_dir, num_labels=2, dtype=torch.float32, pad_token_id=tokenizer.pad_token_id
        )
        adapted = PeftModel.from_pretrained(base, exported.folder / "peft")
        found = adapted(**tokenizer(texts, padding=True, return_tensors="pt")).logits
        torch.testing.assert_close(found, scores, rtol=1e-3, atol=1e-3)
    else:
        plain = load_model(folder / "model", torch.float32)
        assert plain.lm_head.weight is plain.get_input_embeddings().weight, "the output layer is back in its place"


def test_rows_with_several_labels_go_through_all_stages_and_load_in_plain_libraries(
    tuned_task: Callable[..., Task], quiet_report, teachable_model_dir: Path, tmp_path: Path
) -> None:
    rows = teachable_model_dir.parent / f"{tmp_path.name}.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in _rows_with_sets(84)))
    job = {
        "method": LORA,
        "objective": {"type": "classification", "multi_label": True, "threshold": 0.4, "class_weights": "balanced"},
        "data": {"path": str(rows), "max_length": 64},
        "training": {"max_steps": 30, "learning_rate": 5e-3, "precision": "fp32", "pack_length": 256},
        "evaluation": {"gate": {"micro_f1": {"min": 0.9, "better_than_base": True}}},
        "export": {"dtype": "float32"},
    }

    def task(kind: str, **outputs: StageOutputs) -> Task:
        return tuned_task(kind, outputs=outputs, **job)

    data = _outputs(preprocessing.run(task("preprocess"), quiet_report), tmp_path / "data")
    trained = _outputs(training.run(task("train", preprocess=data), quiet_report), tmp_path / "trained")
    head = {"labels": ["even", "warm"], "multi_label": True, "threshold": 0.4}
    assert json.loads((Path(trained.artifact.uri) / HEAD / "head.json").read_text()) == head
    so_far = {"preprocess": data, "train": trained}
    evaluated = evaluation.run(task("evaluate", **so_far), quiet_report)
    assert evaluated.gate_passed
    assert list(evaluated.result["metrics"]) == ["micro_f1", "macro_f1", "accuracy"]
    assert evaluated.metrics["accuracy_tuned"] > 0.9 > evaluated.metrics["accuracy_base"]
    report = (evaluated.folder / "report.md").read_text()
    assert "most frequent set of labels of the training split, " in report

    so_far["evaluate"] = _outputs(evaluated, tmp_path / "evaluated")
    exported = export.run(task("export", **so_far), quiet_report)
    assert exported.metrics["greedy_agreement"] == 1.0
    assert exported.metrics["max_logit_difference"] < 1e-3
    merged = exported.folder / "merged"
    assert AutoConfig.from_pretrained(merged).problem_type == "multi_label_classification"
    classify = pipeline("text-classification", str(merged), function_to_apply="sigmoid", top_k=None)
    found = classify([row["text"] for row in _rows_with_sets(20)])
    given = [{one["label"] for one in scores if one["score"] >= 0.4} for scores in found]
    assert sum(one == set(row["labels"]) for one, row in zip(given, _rows_with_sets(20), strict=True)) >= 18
    card = (exported.folder / "README.md").read_text()
    assert 'if one["score"] >= 0.4]' in card
    assert json.loads((exported.folder / "peft" / "head.json").read_text()) == head
