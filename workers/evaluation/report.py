"""`report.md`: what a person reads first. Table, plot, gate, answers or classes side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.spec.evaluation import EvaluationSpec, MetricName
from workers.evaluation.class_tables import class_sections
from workers.evaluation.compare import Comparison, Estimate
from workers.evaluation.metrics import METRICS, Prediction
from workers.evaluation.plan import Plan


def write_report(
    path: Path,
    plan: Plan,
    comparisons: Mapping[MetricName, Comparison],
    by_source: Mapping[str, Mapping[MetricName, Comparison]],
    reasons: Sequence[str],
    base: Sequence[Prediction],
    tuned: Sequence[Prediction],
    spec: EvaluationSpec,
) -> None:
    """Writes the report to `path`; the plot is expected beside it as comparison.svg."""
    parts = [
        "# Base against tuned",
        _about(plan, spec),
        comparison_table(comparisons, spec.confidence_level),
        "![Base and tuned with intervals](comparison.svg)",
        _gate(reasons, spec),
    ]
    for source, own in by_source.items():
        num_rows = sum(example.component == source for example in plan.examples)
        parts += [f"## Source {source}, {num_rows} rows", comparison_table(own, spec.confidence_level)]
    parts += class_sections(plan.examples, base, tuned, spec.num_examples)
    if plan.with_answers and spec.num_examples:
        parts.append("## Answers side by side")
        answered = [number for number, example in enumerate(plan.examples) if example.messages]
        parts += [_example(number, plan, base[number], tuned[number]) for number in answered[: spec.num_examples]]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def comparison_table(comparisons: Mapping[MetricName, Comparison], confidence_level: float) -> str:
    """A Markdown table, one row per metric; the model card shows the same one."""
    rows = [
        "| metric | base | tuned | difference | p |\n|---|---|---|---|---|",
        *(
            f"| {METRICS[name].label} {'↑' if METRICS[name].higher_is_better else '↓'} | {_interval(comparison.base)} "
            f"| {_interval(comparison.tuned)} | {_interval(comparison.difference, signed=True)} "
            f"| {comparison.p_value:.2g} |"
            for name, comparison in comparisons.items()
        ),
    ]
    return (
        "\n".join(rows) + f"\n\nIn brackets: {confidence_level:.0%} intervals. ↑ higher is better, ↓ lower is better."
    )


def _about(plan: Plan, spec: EvaluationSpec) -> str:
    answers = f", greedy answers of up to {spec.max_new_tokens} tokens" if plan.with_answers else ""
    text = (
        f"{len(plan.examples)} rows of the {plan.split} split{answers}. "
        f"Intervals: paired bootstrap over rows, {spec.num_bootstrap} resamples. "
        "p: two-sided paired randomisation test."
    )
    if plan.stand_in:
        text += f"\n\n**Base is {plan.stand_in}**: a base model has no trained head, and an untrained one says nothing."
    if plan.split != "test":
        text += (
            "\n\n**The test split is empty, so the validation split was used.** Training chose its best checkpoint by "
            "these rows, which flatters the tuned model."
        )
    if plan.left_out:
        text += f"\n\nNot measured, because rows of plain text have no prompt: {', '.join(plan.left_out)}."
    if len(plan.examples) == 1:
        text += "\n\n**One row says nothing about others:** its intervals have no width."
    return text


def _gate(reasons: Sequence[str], spec: EvaluationSpec) -> str:
    if not spec.gate:
        return "No gate was set."
    if not reasons:
        return "**The gate is passed.**"
    return "**The gate refuses this model:**\n\n" + "\n".join(f"- {reason}" for reason in reasons)


def _example(number: int, plan: Plan, base: Prediction, tuned: Prediction) -> str:
    example = plan.examples[number]
    blocks = [f"### {example.source}, row {example.row}"]
    blocks += [_block(message["role"], _said(message)) for message in example.prompt]
    blocks += [_block("reference", example.reference), _block("base", base.answer), _block("tuned", tuned.answer)]
    return "\n\n".join(blocks)


def _said(message: Mapping[str, Any]) -> str:
    calls = [call["function"] for call in message.get("tool_calls", ())]
    return "\n".join([message["content"], *(f"{call['name']}({call['arguments']})" for call in calls)]).strip()


def _block(title: str, text: str) -> str:
    # Indented code: whatever a model writes, it cannot end the block.
    return f"{title}:\n\n" + "\n".join(f"    {line}" for line in text.splitlines() or ["(empty)"])


def _interval(estimate: Estimate, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{estimate.value:{sign}.3g} [{estimate.low:{sign}.3g}, {estimate.high:{sign}.3g}]"
