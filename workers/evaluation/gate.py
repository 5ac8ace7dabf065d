"""The gate: what the tuned model has to reach before anything is exported."""

from collections.abc import Mapping

from luthier.spec.evaluation import GateRule, MetricName
from workers.evaluation.compare import Comparison
from workers.evaluation.metrics import METRICS


def refusals(
    rules: Mapping[MetricName, GateRule], comparisons: Mapping[MetricName, Comparison], confidence_level: float
) -> list[str]:
    """Why the gate refuses, one sentence per rule that does not hold; empty when all hold."""
    return [
        reason
        for name, rule in rules.items()
        for reason in _check(name, rule, comparisons[name], 1.0 - confidence_level)
    ]


def _check(name: MetricName, rule: GateRule, comparison: Comparison, alpha: float) -> list[str]:
    reasons = []
    value = comparison.tuned.value
    # Written so that a value which is not a number holds no rule.
    if rule.min is not None and not value >= rule.min:
        reasons.append(f"{name} of the tuned model is {value:.4g}, below the minimum {rule.min:g}")
    if rule.max is not None and not value <= rule.max:
        reasons.append(f"{name} of the tuned model is {value:.4g}, above the maximum {rule.max:g}")
    if rule.better_than_base:
        gain = comparison.difference.value if METRICS[name].higher_is_better else -comparison.difference.value
        if not (gain > 0 and comparison.p_value < alpha):
            reasons.append(
                f"{name} of the tuned model ({value:.4g}) is not better than that of the base model "
                f"({comparison.base.value:.4g}) with p < {alpha:.3g} (p = {comparison.p_value:.3g})"
            )
    return reasons
