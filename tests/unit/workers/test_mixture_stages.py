"""Answers and plain texts from two sources in one run, from their files to an evaluation that tells them apart."""

import json
from pathlib import Path
from typing import Any

from tests.unit.workers.staged import outputs_of, task_of
from workers.data import stage as preprocessing
from workers.data.dataset import Example, load_split
from workers.evaluation import stage as evaluation
from workers.evaluation.plan import first_of_each
from workers.training import stage as training


def test_each_source_is_told_apart_to_the_end(quiet_report: Any, teachable_model_dir: Path, tmp_path: Path) -> None:
    chats = [{"prompt": f"red {i}", "completion": "stop"} for i in range(30)]
    texts = [{"text": f"the quick brown fox {i}"} for i in range(30)]
    for name, rows in (("chats", chats), ("texts", texts)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = [
        {"name": "chats", "path": str(tmp_path / "chats.jsonl"), "weight": 2.0},
        {"name": "texts", "path": str(tmp_path / "texts.jsonl"), "weight": 1.0, "objective": "pretrain"},
    ]
    job = {
        "data": {"sources": sources},
        "training": {"max_steps": 4, "precision": "fp32", "eval_steps": 2},
        "evaluation": {"max_new_tokens": 4, "num_bootstrap": 100, "max_samples": 4},
    }
    data = preprocessing.run(task_of("preprocess", tmp_path, teachable_model_dir, {}, **job), quiet_report)
    counts = {source["name"]: source["num_rows"] for source in data.result["mixture"]["sources"]}
    assert counts["chats"]["test"] == counts["texts"]["test"] == 3
    rows = [*load_split(data.folder, "test")]
    assert [row.component for row in first_of_each(rows, 3)] == ["chats", "chats", "texts"]
    assert first_of_each(rows, None) == rows
    inputs = {"preprocess": outputs_of(data, tmp_path / "data")}
    trained = training.run(task_of("train", tmp_path, teachable_model_dir, inputs, **job), quiet_report)
    assert {"validation_loss/chats", "validation_loss/texts"} <= trained.metrics.keys()
    steps = [json.loads(line) for line in (trained.folder / "metrics.jsonl").read_text().splitlines()]
    for step in steps:
        assert {"loss/chats", "loss/texts"} & step.keys()
    assert steps[0]["loss"] != steps[0]["loss/chats"]
    inputs["train"] = outputs_of(trained, tmp_path / "trained")
    result = evaluation.run(task_of("evaluate", tmp_path, teachable_model_dir, inputs, **job), quiet_report)
    document = result.result
    assert document["num_rows"] == 4, "the rows that are looked at are of both sources"
    assert document["sources"].keys() == {"chats", "texts"}
    assert document["sources"]["texts"].keys() == {"perplexity"}
    assert document["sources"]["chats"].keys() == {"perplexity", "exact_match", "token_f1"}
    assert result.metrics["exact_match_tuned"] == result.metrics["exact_match_tuned/chats"], "texts have no answer"
    assert result.metrics["perplexity_base/texts"] != result.metrics["perplexity_base/chats"]
    assert "## Source texts, 2 rows" in (result.folder / "report.md").read_text()
    assert len((result.folder / "generations.jsonl").read_text().splitlines()) == 2


def test_without_sources_the_first_rows_are_taken() -> None:
    rows = [Example(row, "a", None, None, None) for row in range(5)]  # type: ignore[arg-type]
    assert first_of_each(rows, 2) == rows[:2]
