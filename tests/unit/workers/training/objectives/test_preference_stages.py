"""Preferences from the files to the exported model, each stage by its own function."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from luthier.artifacts import publish
from luthier.settings import WorkerSettings
from luthier.spec import JobSpec, parse_spec
from luthier.v1.stage_pb2 import Artifact, Stage, StageOutputs
from luthier.v1.worker_service_pb2 import StageAssignment
from workers.data import stage as preprocess
from workers.evaluation import stage as evaluate
from workers.export import stage as export
from workers.failures import ConfigError
from workers.task import StageResult, Task
from workers.training import stage as train

COLOURS = ("red", "green", "yellow", "blue", "black", "white")
PAIRS = [{"prompt": colour, "chosen": f"the {colour} fox", "rejected": f"no {colour}"} for colour in COLOURS]
ANSWERS = [
    {"prompt": pair["prompt"], "completion": pair[name], "label": name == "chosen"}
    for pair in PAIRS
    for name in ("chosen", "rejected")
]
TRAINING = {"max_steps": 20, "learning_rate": 5e-3, "eval_steps": 10, "precision": "fp32", "seed": 1}

Run = Callable[..., dict[str, StageResult]]


@pytest.fixture
def run_stages(teachable_model_dir: Path, tmp_path: Path, quiet_report) -> Run:
    """A function that runs the stages on rows, by the sections of a job file, and returns what each of them said."""

    def run(rows: Sequence[dict[str, Any]], stages: Sequence[str], **sections: Any) -> dict[str, StageResult]:
        files: dict[str, Any] = {"max_length": 64}
        # A row may be in one split only, so each of them ends the prompts in its own way.
        for key, end in (("path", ""), ("validation_path", "!"), ("test_path", "?")):
            files[key] = str(tmp_path / f"{key}.jsonl")
            lines = [json.dumps({**row, "prompt": row["prompt"] + end}) + "\n" for row in rows]
            Path(files[key]).write_text("".join(lines))
        job = {"name": "job", "base_model": str(teachable_model_dir), "data": files, "training": TRAINING, **sections}
        spec: JobSpec = parse_spec(json.dumps(job))
        settings = WorkerSettings(data_roots=f"{teachable_model_dir.parent},{tmp_path}", checkpoint_key="key")
        kinds = {"preprocess": preprocess, "train": train, "evaluate": evaluate, "export": export}
        outputs: dict[str, StageOutputs] = {}
        results: dict[str, StageResult] = {}
        for kind in stages:
            stage = Stage(stage_id="s", job_id="job_0123456789", name=kind, kind=kind, attempt=1, fence=1)
            assignment = StageAssignment(stage=stage, inputs=outputs, output_uri=str(tmp_path / "out" / kind))
            work = tmp_path / "work" / kind
            work.mkdir(parents=True)
            result = kinds[kind].run(Task(assignment, spec, settings, work), quiet_report)
            ref = publish(result.folder, str(tmp_path / "artifacts" / kind))
            results[kind] = replace(result, folder=Path(ref.uri))
            artifact = Artifact(uri=ref.uri, digest=ref.digest, num_bytes=ref.num_bytes)
            outputs[kind] = StageOutputs(artifact=artifact, result_json=json.dumps(result.result))
        return results

    return run


def test_dpo_from_pairs_to_an_exported_model(run_stages: Run) -> None:
    results = run_stages(
        PAIRS,
        ["preprocess", "train", "evaluate", "export"],
        objective={"type": "dpo"},
        evaluation={"max_new_tokens": 8, "gate": {"preference_accuracy": {"min": 0.9}}},
        export={"formats": ["peft", "merged"], "dtype": "float32"},
    )
    assert results["preprocess"].result["num_rows"] == {"train": 6, "validation": 6, "test": 6}
    rows = [json.loads(line) for line in (results["train"].folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["rewards/margins"] == pytest.approx(0.0, abs=1e-5)
    assert rows[-1]["rewards/margins"] > 1.0
    assert rows[-1]["rewards/accuracies"] == rows[-1]["validation_rewards/accuracies"] == 1.0
    evaluated = results["evaluate"]
    assert set(evaluated.result["metrics"]) == {"perplexity", "preference_accuracy"}, "what suits the objective"
    assert evaluated.gate_passed, evaluated.gate_reason
    assert evaluated.metrics["preference_accuracy_tuned"] == 1.0
    assert evaluated.metrics["preference_accuracy_base"] < 1.0
    assert results["export"].metrics["greedy_agreement"] == 1.0
    assert "DPO on pairs of answers" in (results["export"].folder / "README.md").read_text()


def test_pairs_have_answers_to_compare_with(run_stages: Run) -> None:
    metrics = ["exact_match", "preference_accuracy"]
    sections = {"objective": {"type": "orpo"}, "evaluation": {"metrics": metrics, "max_new_tokens": 12}}
    results = run_stages(PAIRS, ["preprocess", "train", "evaluate"], **sections)
    lines = (results["evaluate"].folder / "generations.jsonl").read_text().splitlines()
    assert [json.loads(line)["reference"] for line in lines] == [pair["chosen"] for pair in PAIRS]


def test_kto_is_evaluated_on_the_answers_that_are_wanted(run_stages: Run) -> None:
    results = run_stages(ANSWERS, ["preprocess", "train", "evaluate"], objective={"type": "kto"})
    rows = [json.loads(line) for line in (results["train"].folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["rewards/chosen"] > 0 > rows[-1]["rewards/rejected"]
    assert rows[-1]["kl"] >= 0
    assert results["evaluate"].result["num_rows"] == len(COLOURS)
    assert set(results["evaluate"].result["metrics"]) == {"perplexity"}


def test_comparing_answers_needs_pairs(run_stages: Run) -> None:
    with pytest.raises(
        ConfigError, match=r"preference_accuracy compares two answers, and the test split has rows with"
    ):
        run_stages(
            ANSWERS,
            ["preprocess", "train", "evaluate"],
            objective={"type": "kto"},
            training={**TRAINING, "max_steps": 1},
            evaluation={"metrics": ["preference_accuracy"]},
        )


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_reward_model_from_pairs_to_plain_transformers(run_stages: Run, method: str) -> None:
    results = run_stages(
        PAIRS,
        ["preprocess", "train", "evaluate", "export"],
        objective={"type": "reward"},
        method={"type": method},
        evaluation={"gate": {"preference_accuracy": {"min": 0.9}}},
        export={"dtype": "float32"},
    )
    rows = [json.loads(line) for line in (results["train"].folder / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"]
    evaluated = results["evaluate"]
    assert set(evaluated.result["metrics"]) == {"preference_accuracy"}
    assert evaluated.gate_passed, evaluated.gate_reason
    assert evaluated.metrics["preference_accuracy_tuned"] == 1.0 > evaluated.metrics["preference_accuracy_base"]
    assert "likelihood of the answers by the base model" in (evaluated.folder / "report.md").read_text()
    exported = results["export"]
    assert exported.result["formats"] == (["peft", "merged"] if method == "lora" else ["merged"])
    assert exported.metrics["greedy_agreement"] == 1.0
    tokenizer = AutoTokenizer.from_pretrained(exported.folder / "merged")
    model = AutoModelForSequenceClassification.from_pretrained(exported.folder / "merged")
    assert model.config.num_labels == 1
    scores = {}
    for name in ("chosen", "rejected"):
        chat = [{"role": "user", "content": "red?"}, {"role": "assistant", "content": PAIRS[0][name]}]
        scores[name] = model(**tokenizer.apply_chat_template(chat, return_dict=True, return_tensors="pt")).logits.item()
    assert scores["chosen"] > scores["rejected"]
    assert "score = model(**inputs)" in (exported.folder / "README.md").read_text()
