"""Every metric on both models, over all rows and over those of each source."""

from collections.abc import Mapping, Sequence

import numpy as np

from luthier.spec.evaluation import EvaluationSpec, MetricName
from workers.data.dataset import Example
from workers.evaluation.compare import Comparison, compare
from workers.evaluation.compare_counts import compare_counts
from workers.evaluation.metrics import METRICS, Prediction


def compare_all(
    base: Sequence[Prediction], tuned: Sequence[Prediction], names: Sequence[MetricName], spec: EvaluationSpec
) -> dict[MetricName, Comparison]:
    """Every metric on both models; rows that have no weight for a metric are left out of it."""
    comparisons: dict[MetricName, Comparison] = {}
    for name in names:
        metric = METRICS[name]
        if metric.count is not None:
            comparisons[name] = compare_counts(
                metric.count(base),
                metric.count(tuned),
                metric.finish,
                num_resamples=spec.num_bootstrap,
                confidence_level=spec.confidence_level,
                seed=spec.seed,
            )
            continue
        weights = np.array([metric.weigh(row) for row in base])
        rows = weights > 0
        comparisons[name] = compare(
            np.array([metric.measure(row) for row in base])[rows],
            np.array([metric.measure(row) for row in tuned])[rows],
            weights[rows],
            metric.finish,
            num_resamples=spec.num_bootstrap,
            confidence_level=spec.confidence_level,
            seed=spec.seed,
        )
    return comparisons


def compare_by_source(
    examples: Sequence[Example],
    base: Sequence[Prediction],
    tuned: Sequence[Prediction],
    names: Sequence[MetricName],
    spec: EvaluationSpec,
) -> dict[str, dict[MetricName, Comparison]]:
    """The same for each source with a name, by the metrics that its rows have a weight for."""
    compared = {}
    for source in dict.fromkeys(example.component for example in examples if example.component):
        places = [place for place, example in enumerate(examples) if example.component == source]
        own, other = [base[place] for place in places], [tuned[place] for place in places]
        measurable = [name for name in names if any(METRICS[name].weigh(row) > 0 for row in own)]
        compared[source] = compare_all(own, other, measurable, spec)
    return compared


def headline(comparisons: Mapping[MetricName, Comparison], source: str = "") -> dict[str, float]:
    """`<metric>_base`, `<metric>_tuned` and `<metric>_p_value` of every metric; of a source with its name behind."""
    ending = f"/{source}" if source else ""
    figures = {}
    for name, comparison in comparisons.items():
        figures[f"{name}_base{ending}"] = comparison.base.value
        figures[f"{name}_tuned{ending}"] = comparison.tuned.value
        figures[f"{name}_p_value{ending}"] = comparison.p_value
    return figures
