"""Full fine-tuning from the job file to the exported model: trained, measured, exported, each by its own stage."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from luthier.artifacts import publish
from luthier.v1.stage_pb2 import Artifact, StageOutputs
from workers.evaluation import stage as evaluation
from workers.export import stage as export
from workers.models import load_model
from workers.task import StageResult, Task
from workers.training import stage as training

QUESTIONS = ("red", "green", "yellow", "blue")
JOB = {
    "method": {"type": "full"},
    "training": {
        "max_steps": 60,
        "learning_rate": 2e-3,
        "eval_steps": 20,
        "precision": "fp32",
        "lr_scheduler_type": "constant",
    },
    "evaluation": {
        "metrics": ["perplexity", "exact_match"],
        "max_new_tokens": 24,
        "gate": {"exact_match": {"min": 0.9}},
    },
}


def _outputs(result: StageResult, uri: Path) -> StageOutputs:
    ref = publish(result.folder, str(uri))
    return StageOutputs(
        artifact=Artifact(uri=ref.uri, digest=ref.digest), result_json=json.dumps(result.result), metrics=result.metrics
    )


def test_a_job_goes_through_all_its_stages(
    tuned_task: Callable[..., Task], quiet_report, teachable_model_dir: Path, tmp_path: Path
) -> None:
    def task(kind: str, **outputs: StageOutputs) -> Task:
        return tuned_task(kind, train=QUESTIONS, validation=QUESTIONS, test=QUESTIONS, outputs=outputs, **JOB)

    trained = _outputs(training.run(task("train"), quiet_report), tmp_path / "trained")
    _loads_in_plain_transformers(Path(trained.artifact.uri) / "model", teachable_model_dir)
    summary = json.loads(trained.result_json)
    base = load_model(teachable_model_dir, torch.float32)
    assert summary["num_trainable_parameters"] == sum(weight.numel() for weight in base.parameters())

    evaluated = evaluation.run(task("evaluate", train=trained), quiet_report)
    assert evaluated.gate_passed, evaluated.gate_reason
    assert evaluated.metrics["exact_match_base"] == 0.0
    assert evaluated.metrics["exact_match_tuned"] == 1.0

    outputs = {"train": trained, "evaluate": _outputs(evaluated, tmp_path / "evaluated")}
    exported = export.run(task("export", **outputs), quiet_report)
    assert exported.result["formats"] == ["merged", "triton"]
    assert exported.metrics["greedy_agreement"] == 1.0
    assert _same(exported.folder / "merged", Path(trained.artifact.uri) / "model"), "bfloat16 both, so nothing is lost"


def _loads_in_plain_transformers(folder: Path, base: Path) -> None:
    assert {path.name for path in folder.iterdir()} >= {"config.json", "tokenizer.json", "generation_config.json"}
    config = AutoConfig.from_pretrained(folder)
    assert config.dtype == torch.bfloat16
    assert config.tie_word_embeddings
    assert "luthier" not in (folder / "config.json").read_text()
    assert {weight.dtype for weight in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert model.lm_head.weight is model.get_input_embeddings().weight
    before, after = _weights(base), dict(model.named_parameters())
    assert [name for name in after if after[name].ndim == 2 and torch.equal(after[name], before[name])] == []
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(base).chat_template


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(folder, torch.bfloat16).named_parameters())


def _same(one: Path, other: Path) -> bool:
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
