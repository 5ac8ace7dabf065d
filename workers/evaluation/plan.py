"""What the dataset at hand allows to be measured: which split, which metrics."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.spec.evaluation import EvaluationSpec, MetricName
from workers.data.dataset import Example, SplitName, load_split
from workers.data.row import UNDESIRABLE
from workers.evaluation.metrics import METRICS
from workers.failures import ConfigError, DataError

_DEFAULT_METRICS = EvaluationSpec().metrics


@dataclass(frozen=True)
class Plan:
    """The rows and the metrics of one evaluation."""

    split: SplitName
    examples: list[Example]
    metrics: list[MetricName]
    left_out: list[MetricName]
    """Metrics that the rows do not allow and that nobody asked for by name."""
    stand_in: str = ""
    """What the tuned model is compared with, for people; empty: with its base model."""

    @property
    def with_answers(self) -> bool:
        """Whether any metric looks at generated text."""
        return any(METRICS[name].needs_answer for name in self.metrics)


def make_plan(dataset: Path, spec: EvaluationSpec) -> Plan:
    """Reads the held-out rows and decides what to measure on them.

    Rows of plain text have no prompt and so no answer: metrics that need one look at the other rows. Where there are no
    others, of the default metrics only those that need none are measured.

    Raises:
        DataError: there are no held-out rows.
        ConfigError: the job asks for a metric that the rows do not allow.
    """
    split, examples = held_out(dataset, spec.max_samples)
    compared = [name for name in spec.metrics if METRICS[name].needs_pair]
    if compared and not all(example.rejected for example in examples):
        raise ConfigError(
            f"evaluation: {', '.join(compared)} compares two answers, and the {split} split has rows without them; "
            f"leave it out of evaluation.metrics, or give rows with chosen and rejected"
        )
    if any(example.messages for example in examples):
        return Plan(split, examples, list(spec.metrics), [])
    refused = [name for name in spec.metrics if METRICS[name].needs_answer]
    wished = refused if spec.metrics != _DEFAULT_METRICS else [name for name in refused if name in spec.gate]
    if wished:
        raise ConfigError(
            f"evaluation: {', '.join(wished)} compares answers, and the {split} split has rows of plain text, which "
            f"have no prompt; set evaluation.metrics: [perplexity] or give rows with prompt and answer"
        )
    return Plan(split, examples, [name for name in spec.metrics if name not in refused], refused)


def held_out(dataset: Path, max_rows: int | None) -> tuple[SplitName, list[Example]]:
    """Up to `max_rows` rows, see `first_of_each`, of the test split, or of the validation split when that one is empty.

    Answers with a label that says how not to answer are left out: nobody wants to see them again.

    Raises:
        DataError: both are empty.
    """
    for split in ("test", "validation"):
        examples = first_of_each(load_split(dataset, split), max_rows, lambda row: row.label != UNDESIRABLE)
        if any(example.trainable[1:].any() for example in examples):
            return split, examples
    raise DataError(
        "there are no held-out rows: test and validation split are empty; give data.test_path or raise "
        "data.test_fraction"
    )


def first_of_each(
    examples: Sequence[Example], max_rows: int | None, is_wanted: Callable[[Example], bool] = lambda _: True
) -> list[Example]:
    """The first `max_rows` wanted rows, in their order; of several sources as many of each, as long as it has them."""
    seen: Counter[str] = Counter()
    ranked = []
    for place, example in enumerate(examples):
        if is_wanted(example):
            ranked.append((seen[example.component], place))
            seen[example.component] += 1
    chosen = sorted(ranked)[:max_rows]
    return [examples[place] for place in sorted(place for _, place in chosen)]
