"""`evaluation`: base against tuned on the test split, and the gate."""

from typing import Literal

from pydantic import Field

from luthier.spec.base import Section

MetricName = Literal[
    "perplexity", "exact_match", "token_f1", "json_valid", "preference_accuracy", "accuracy", "micro_f1", "macro_f1"
]


class GateRule(Section):
    """What one metric of the tuned model has to reach. Perplexity is better when lower."""

    min: float | None = None
    """The tuned model's value is at least this."""
    max: float | None = None
    """The tuned model's value is at most this."""
    better_than_base: bool = False
    """The difference to the base model favours the tuned one with p < `1 - confidence_level`."""


class EvaluationSpec(Section):
    """What is measured, and what must hold before anything is exported."""

    metrics: list[MetricName] = Field(default=["perplexity", "exact_match", "token_f1"], min_length=1)
    """What to measure on base and tuned. Absent: what suits the objective."""
    max_samples: int | None = Field(default=200, ge=1)
    """Rows of the test split used, the first ones; null: all."""
    max_new_tokens: int = Field(default=128, ge=1, le=8192)
    """Longest answer; generation is greedy."""
    num_bootstrap: int = Field(default=2000, ge=100, le=1_000_000)
    """Resamples of the paired bootstrap (Efron & Tibshirani, 1993)."""
    confidence_level: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Of the intervals."""
    num_examples: int = Field(default=8, ge=0)
    """Answers shown side by side in the report, or rows with their classes."""
    gate: dict[MetricName, GateRule] = Field(default_factory=dict)
    """Rules by metric. When one does not hold, the model is not exported."""
    seed: int = Field(default=0, ge=0)
    """Of the bootstrap."""
