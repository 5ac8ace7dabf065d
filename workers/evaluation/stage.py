"""`evaluate`: base against tuned on held-out rows. Writes evaluation.json, generations.jsonl, report.md and a plot.

The two models are loaded one after the other, so that there is never more than one in memory. Precision and prompt
rendering are those of the training, answers are greedy.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from luthier.spec.evaluation import EvaluationSpec, MetricName
from workers.data.dataset import Example
from workers.evaluation.classify import classify_both, plan_of_labels
from workers.evaluation.compare import Comparison
from workers.evaluation.comparisons import compare_all, compare_by_source, headline
from workers.evaluation.gate import refusals
from workers.evaluation.judge import STAND_IN, judge_both
from workers.evaluation.metrics import METRICS, Prediction
from workers.evaluation.plan import Plan, make_plan
from workers.evaluation.plot import plot_comparisons
from workers.evaluation.predict import num_steps, predict
from workers.evaluation.report import write_report
from workers.evaluation.steps import Steps
from workers.models import choose_device, load_model, load_tokenizer, resolve_base_of
from workers.models.tuned import load_tuned
from workers.task import Report, StageResult, Task
from workers.training.precision import choose_dtype


def run(task: Task, report: Report) -> StageResult:
    """The stage. Needs `preprocess`, and `train` or `merge`.

    Raises:
        DataError: there are no held-out rows.
        ConfigError: a metric does not fit the rows, or the base model cannot be had.
        PreemptedError: the worker drains.
    """
    spec = task.spec.evaluation
    dataset = task.input_dir("preprocess")
    match task.spec.objective.type:
        case "classification":
            plan, predict_both = plan_of_labels(dataset, spec), classify_both
        case "reward":
            plan, predict_both = replace(make_plan(dataset, spec), stand_in=STAND_IN), judge_both
        case _:
            plan, predict_both = make_plan(dataset, spec), _predict_both
    report.progress(0, num_steps(plan.examples, with_answers=plan.with_answers), "loading the model")
    base, tuned = predict_both(task, plan, report)
    comparisons = compare_all(base, tuned, plan.metrics, spec)
    by_source = compare_by_source(plan.examples, base, tuned, plan.metrics, spec)
    reasons = refusals(spec.gate, comparisons, spec.confidence_level)
    result = _result(plan, comparisons, by_source, reasons, spec)
    folder = task.new_dir("evaluation")
    (folder / "evaluation.json").write_text(json.dumps(result, indent=1) + "\n")
    if plan.with_answers:
        _write_generations(folder / "generations.jsonl", plan.examples, base, tuned)
    plot_comparisons(comparisons, spec.confidence_level, folder / "comparison.svg")
    write_report(folder / "report.md", plan, comparisons, by_source, reasons, base, tuned, spec)
    return StageResult(
        folder=folder,
        metrics={
            **headline(comparisons),
            **{name: value for source, own in by_source.items() for name, value in headline(own, source).items()},
        },
        result=result,
        gate_passed=not reasons,
        gate_reason="; ".join(reasons),
    )


def _predict_both(task: Task, plan: Plan, report: Report) -> tuple[list[Prediction], list[Prediction]]:
    trained = task.tuned_dir()
    base = resolve_base_of(task.spec, task.settings)
    tokenizer = load_tokenizer(base)
    device = choose_device()
    dtype = choose_dtype(task.spec.training.precision, device)
    steps = Steps(report, num_steps(plan.examples, with_answers=plan.with_answers))
    max_new_tokens = task.spec.evaluation.max_new_tokens if plan.with_answers else None

    def answers(load: Callable[[], Any], who: str) -> list[Prediction]:
        model = load().to(device)
        return predict(model, tokenizer, plan.examples, max_new_tokens=max_new_tokens, who=who, steps=steps)

    tuned = answers(lambda: load_tuned(base, trained, dtype, task.settings.custom_methods), "tuned")
    return answers(lambda: load_model(base, dtype), "base"), tuned


def _result(
    plan: Plan,
    comparisons: dict[MetricName, Comparison],
    by_source: dict[str, dict[MetricName, Comparison]],
    reasons: list[str],
    spec: EvaluationSpec,
) -> dict[str, Any]:
    return {
        "split": plan.split,
        "num_rows": len(plan.examples),
        "confidence_level": spec.confidence_level,
        "num_bootstrap": spec.num_bootstrap,
        "metrics": _figures(comparisons),
        "sources": {source: _figures(own) for source, own in by_source.items()},
        "metrics_left_out": plan.left_out,
        "stand_in": plan.stand_in,
        "gate": {"passed": not reasons, "reasons": reasons},
    }


def _figures(comparisons: dict[MetricName, Comparison]) -> dict[str, Any]:
    return {
        name: {**asdict(comparison), "higher_is_better": METRICS[name].higher_is_better}
        for name, comparison in comparisons.items()
    }


def _write_generations(
    path: Path, examples: Sequence[Example], base: Sequence[Prediction], tuned: Sequence[Prediction]
) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for example, of_base, of_tuned in zip(examples, base, tuned, strict=True):
            if not example.messages:
                continue
            line = {
                "source": example.source,
                "row": example.row,
                "prompt": example.prompt,
                "reference": example.reference,
                "base": of_base.answer,
                "tuned": of_tuned.answer,
            }
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
