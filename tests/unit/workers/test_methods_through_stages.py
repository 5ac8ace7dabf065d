"""What a train artifact of each kind becomes in the stages after it: evaluated, exported, proved."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.artifacts import publish
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from workers.evaluation import stage as evaluation
from workers.export import stage as export
from workers.failures import ConfigError
from workers.models import load_model
from workers.models.tuned import load_adapted
from workers.task import StageResult, Task
from workers.training import methods as training_methods
from workers.training import stage as training

QUESTIONS = ("red", "green", "yellow", "blue")
JOB = {
    "training": {"max_steps": 6, "learning_rate": 0.01, "eval_steps": 6, "precision": "fp32"},
    "evaluation": {"metrics": ["perplexity", "token_f1"], "max_new_tokens": 6},
}
CUSTOM = "tests.unit.workers.training.methods.rows:scale_feed_forward"
PARITY = {"num_prompts": 2, "max_new_tokens": 6}
METHODS: dict[str, tuple[Mapping[str, Any], list[str]]] = {
    "lora": ({"type": "lora", "r": 4}, ["peft", "merged", "triton"]),
    "spiel": ({"type": "spiel", "r": 4, "update_steps": 2, "gradient_steps": 1}, ["peft", "merged", "triton"]),
    "full": ({"type": "full"}, ["merged", "triton"]),
    "freeze": ({"type": "freeze", "num_trainable_layers": 1}, ["merged", "triton"]),
    "hft": ({"type": "hft"}, ["merged", "triton"]),
    "pissa": ({"type": "lora", "r": 4, "init_lora_weights": "pissa"}, ["peft", "merged", "triton"]),
    "adalora": ({"type": "adalora", "init_r": 4, "target_r": 2, "delta_t": 1}, ["peft", "merged", "triton"]),
    "ia3": ({"type": "ia3"}, ["peft", "merged", "triton"]),
    "oft": ({"type": "oft", "oft_block_size": 8}, ["peft", "merged", "triton"]),
    "qlora": ({"type": "qlora", "r": 4}, ["peft", "merged", "triton"]),
    "added-tokens": ({"type": "lora", "r": 4, "added_tokens": ["<light>"]}, ["peft", "merged", "triton"]),
    "bottleneck": ({"type": "bottleneck", "bottleneck_size": 8}, ["adapter"]),
    "custom": ({"type": "custom", "entry_point": CUSTOM, "options": {"start": 1.0}}, ["adapter"]),
    "prompt_tuning": ({"type": "prompt_tuning", "num_virtual_tokens": 4}, ["peft"]),
    "prefix_tuning": ({"type": "prefix_tuning", "num_virtual_tokens": 4}, ["peft"]),
}


def test_no_method_is_left_out() -> None:
    mixtures = {"xlora"}  # in training/methods/test_xlora.py, beside the adapters that it mixes
    assert {method["type"] for method, _ in METHODS.values()} >= training_methods.METHODS.keys() - mixtures


@pytest.mark.parametrize("name", METHODS)
def test_a_job_goes_through_all_its_stages(
    tuned_task: Callable[..., Task], quiet_report, teachable_model_dir: Path, tmp_path: Path, name: str, monkeypatch
) -> None:
    monkeypatch.setenv("LUTHIER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LUTHIER_CUSTOM_METHODS", CUSTOM)
    method, formats = METHODS[name]
    job = JOB | {"method": method, "export": {"dtype": "float32", "parity": PARITY}}

    def task(kind: str, **outputs: StageOutputs) -> Task:
        return tuned_task(kind, train=QUESTIONS, validation=QUESTIONS, test=QUESTIONS, outputs=outputs, **job)

    trained = _outputs(training.run(task("train"), quiet_report), tmp_path / "trained")
    evaluated = evaluation.run(task("evaluate", train=trained), quiet_report)
    assert evaluated.metrics["perplexity_tuned"] < evaluated.metrics["perplexity_base"]
    assert evaluated.metrics.keys() >= {"token_f1_base", "token_f1_tuned"}, "both were asked for answers"
    outputs = {"train": trained, "evaluate": _outputs(evaluated, tmp_path / "evaluated")}
    exported = export.run(task("export", **outputs), quiet_report)
    assert exported.result["formats"] == formats
    assert exported.metrics["greedy_agreement"] == 1.0
    card = (exported.folder / "README.md").read_text()
    for name in formats:
        assert (exported.folder / name).is_dir()
        _says_something(exported.folder / name, teachable_model_dir, name)
    assert ("resize_token_embeddings" in card) == ("added_tokens" in method)


def test_what_rewards_have_made_goes_through_the_same_stages(
    tuned_task: Callable[..., Task], quiet_report, teachable_model_dir: Path, tmp_path: Path
) -> None:
    job = JOB | {
        "method": METHODS["lora"][0],
        "objective": {"type": "grpo", "rewards": [{"type": "length", "max_words": 2}], "num_generations": 4}
        | {"max_completion_length": 6},
        "training": {"max_steps": 2, "per_device_train_batch_size": 8, "precision": "fp32"},
        "export": {"dtype": "float32", "parity": PARITY},
    }

    def task(kind: str, **outputs: StageOutputs) -> Task:
        return tuned_task(kind, train=QUESTIONS, test=QUESTIONS, outputs=outputs, **job)

    trained = _outputs(training.run(task("train"), quiet_report), tmp_path / "trained")
    evaluated = evaluation.run(task("evaluate", train=trained), quiet_report)
    assert evaluated.metrics["perplexity_tuned"] != evaluated.metrics["perplexity_base"]
    outputs = {"train": trained, "evaluate": _outputs(evaluated, tmp_path / "evaluated")}
    exported = export.run(task("export", **outputs), quiet_report)
    assert exported.metrics["greedy_agreement"] == 1.0
    for name in ("peft", "merged"):
        _says_something(exported.folder / name, teachable_model_dir, name)


def test_training_refuses_a_function_that_the_worker_does_not_name(
    tuned_task: Callable[..., Task], quiet_report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_CUSTOM_METHODS", f"{CUSTOM}_else")
    job = JOB | {"method": METHODS["custom"][0], "export": {"dtype": "float32"}}
    with pytest.raises(ConfigError, match="is not allowed on this worker"):
        training.run(tuned_task("train", train=QUESTIONS, validation=QUESTIONS, **job), quiet_report)


def _says_something(folder: Path, base: Path, name: str) -> None:
    """It loads, by its own library where there is one."""
    match name:
        case "peft":
            plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
            if (folder / "tokenizer.json").is_file():
                plain.resize_token_embeddings(len(AutoTokenizer.from_pretrained(folder)))
            model: Any = PeftModel.from_pretrained(plain, folder)
        case "adapter":
            model = load_adapted(base, folder, torch.float32, CUSTOM)
        case "merged":
            model = load_model(folder, torch.float32)
        case _:
            return
    with torch.no_grad():
        assert model(input_ids=torch.tensor([[5, 6, 7]])).logits.isfinite().all()


def _outputs(result: StageResult, uri: Path) -> StageOutputs:
    ref = publish(result.folder, str(uri))
    return StageOutputs(
        artifact=Artifact(uri=ref.uri, digest=ref.digest), result_json=json.dumps(result.result), metrics=result.metrics
    )
