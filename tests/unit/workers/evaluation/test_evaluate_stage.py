"""The whole stage on a tiny model that knows four answers by heart."""

import json
from collections.abc import Callable

import pytest

from workers.evaluation.stage import run
from workers.failures import ConfigError, DataError, PreemptedError
from workers.task import Task

METRICS = ["perplexity", "exact_match", "token_f1", "json_valid"]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_tuned_model_beats_its_base_and_all_files_say_so(
    tuned_task: Callable[..., Task], quiet_report, method: str
) -> None:
    evaluation = {"metrics": METRICS, "max_new_tokens": 24, "gate": {"exact_match": {"min": 0.9}}}
    task = tuned_task("evaluate", evaluation=evaluation, method={"type": method})
    result = run(task, quiet_report)
    assert result.gate_passed
    assert result.metrics["exact_match_tuned"] == 1.0
    assert result.metrics["exact_match_base"] == 0.0
    assert result.metrics["json_valid_tuned"] == 0.75
    assert result.metrics["perplexity_tuned"] < 1.5 < 50 < result.metrics["perplexity_base"]
    assert result.metrics["exact_match_p_value"] == pytest.approx(2 / 2**4)
    document = json.loads((result.folder / "evaluation.json").read_text())
    assert document == json.loads(json.dumps(result.result))
    assert document["metrics"]["token_f1"]["difference"]["value"] > 0.5
    generations = [json.loads(line) for line in (result.folder / "generations.jsonl").read_text().splitlines()]
    assert [line["tuned"] for line in generations] == [line["reference"] for line in generations]
    assert generations[0]["prompt"] == [{"role": "user", "content": "red"}]
    report = (result.folder / "report.md").read_text()
    assert "| Exact match ↑ | 0 [0, 0] | 1 [1, 1] | +1 [+1, +1] |" in report
    assert '    {"wait": 1}' in report
    assert "<svg" in (result.folder / "comparison.svg").read_text()


def test_progress_counts_up_to_the_end_and_estimates_the_rest(tuned_task: Callable[..., Task], quiet_report) -> None:
    run(tuned_task("evaluate", evaluation={"metrics": ["perplexity"]}), quiet_report)
    steps = [step for step, *_ in quiet_report.steps]
    assert steps == sorted(steps)
    assert quiet_report.steps[-1][:2] == (8, 8)
    assert quiet_report.steps[-1][3] == 0.0


def test_a_refusing_gate_says_why(tuned_task: Callable[..., Task], quiet_report) -> None:
    evaluation = {"metrics": ["perplexity", "json_valid"], "gate": {"json_valid": {"min": 0.9}}, "max_new_tokens": 24}
    result = run(tuned_task("evaluate", evaluation=evaluation), quiet_report)
    assert not result.gate_passed
    assert "json_valid of the tuned model is 0.75, below the minimum 0.9" in result.gate_reason
    assert result.gate_reason in (result.folder / "report.md").read_text()


def test_an_empty_test_split_is_replaced_and_the_report_says_so(tuned_task: Callable[..., Task], quiet_report) -> None:
    task = tuned_task("evaluate", test=(), validation=("red",), evaluation={"metrics": ["perplexity"]})
    result = run(task, quiet_report)
    assert result.result["split"] == "validation"
    assert "The test split is empty" in (result.folder / "report.md").read_text()


def test_without_held_out_rows_there_is_nothing_to_evaluate(tuned_task: Callable[..., Task], quiet_report) -> None:
    with pytest.raises(DataError, match="test_fraction"):
        run(tuned_task("evaluate", test=(), validation=()), quiet_report)


def test_plain_text_gets_perplexity_when_nobody_asked_for_more(tuned_task: Callable[..., Task], quiet_report) -> None:
    result = run(tuned_task("evaluate", test=None), quiet_report)
    assert list(result.result["metrics"]) == ["perplexity"]
    assert result.result["metrics_left_out"] == ["exact_match", "token_f1"]
    assert not (result.folder / "generations.jsonl").exists()
    assert "Not measured" in (result.folder / "report.md").read_text()


@pytest.mark.parametrize(
    "evaluation", [{"metrics": ["perplexity", "json_valid"]}, {"gate": {"exact_match": {"min": 0.1}}}]
)
def test_plain_text_refuses_metrics_that_were_asked_for(
    tuned_task: Callable[..., Task], quiet_report, evaluation: dict
) -> None:
    with pytest.raises(ConfigError, match=r"plain text.*\[perplexity\]"):
        run(tuned_task("evaluate", test=None, evaluation=evaluation), quiet_report)


def test_max_samples_takes_the_first_rows(tuned_task: Callable[..., Task], quiet_report) -> None:
    evaluation = {"metrics": ["exact_match"], "max_samples": 2, "max_new_tokens": 24}
    result = run(tuned_task("evaluate", evaluation=evaluation), quiet_report)
    assert result.result["num_rows"] == 2


def test_a_draining_worker_stops_the_stage(tuned_task: Callable[..., Task], quiet_report) -> None:
    quiet_report.stop = True
    with pytest.raises(PreemptedError):
        run(tuned_task("evaluate"), quiet_report)
