"""The gate refuses for the reasons that a rule gives, and for no others."""

import math

import pytest

from luthier.spec.evaluation import GateRule, MetricName
from workers.evaluation.compare import Comparison, Estimate
from workers.evaluation.gate import refusals


def _comparison(base: float, tuned: float, p_value: float) -> Comparison:
    def flat(value: float) -> Estimate:
        return Estimate(value, value, value)

    return Comparison(flat(base), flat(tuned), flat(tuned - base), p_value)


@pytest.mark.parametrize(
    ("metric", "rule", "base", "tuned", "p_value", "complaint"),
    [
        ("exact_match", GateRule(min=0.5), 0.0, 0.5, 1.0, None),
        ("exact_match", GateRule(min=0.5), 0.0, 0.49, 0.0, "below the minimum 0.5"),
        ("perplexity", GateRule(max=2.0), 9.0, 2.0, 1.0, None),
        ("perplexity", GateRule(max=2.0), 9.0, 2.1, 0.0, "above the maximum 2"),
        ("perplexity", GateRule(max=2.0), 9.0, math.nan, 0.0, "above the maximum"),
        ("exact_match", GateRule(better_than_base=True), 0.1, 0.2, 0.04, None),
        ("exact_match", GateRule(better_than_base=True), 0.1, 0.2, 0.06, "not better"),
        ("exact_match", GateRule(better_than_base=True), 0.2, 0.1, 0.001, "not better"),
        ("perplexity", GateRule(better_than_base=True), 9.0, 2.0, 0.001, None),
        ("perplexity", GateRule(better_than_base=True), 2.0, 9.0, 0.001, "not better"),
    ],
)
def test_one_rule(
    metric: MetricName, rule: GateRule, base: float, tuned: float, p_value: float, complaint: str | None
) -> None:
    reasons = refusals({metric: rule}, {metric: _comparison(base, tuned, p_value)}, 0.95)
    assert len(reasons) == (complaint is not None)
    assert all(complaint in reason and reason.startswith(metric) for reason in reasons)


def test_every_broken_rule_is_named() -> None:
    rules: dict[MetricName, GateRule] = {
        "exact_match": GateRule(min=0.9, better_than_base=True),
        "json_valid": GateRule(min=0.1),
        "perplexity": GateRule(max=1.0),
    }
    reasons = refusals(rules, dict.fromkeys(rules, _comparison(0.5, 0.5, 1.0)), 0.95)
    assert [reason.split()[0] for reason in reasons] == ["exact_match", "exact_match"]
