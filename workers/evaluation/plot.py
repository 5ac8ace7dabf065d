"""The picture of an evaluation: base and tuned with their intervals, one panel per metric."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from luthier.spec.evaluation import MetricName
from workers.evaluation.compare import Comparison
from workers.evaluation.metrics import METRICS

_COLOURS = {"base": "#8c8c8c", "tuned": "#1f6fb4"}
_PANEL_INCHES = (2.4, 2.6)


def plot_comparisons(comparisons: Mapping[MetricName, Comparison], confidence_level: float, path: Path) -> None:
    """Writes an SVG to `path`: panels of their own, because the metrics have different scales."""
    figure = Figure(figsize=(_PANEL_INCHES[0] * len(comparisons), _PANEL_INCHES[1]), layout="constrained")
    panels = figure.subplots(1, len(comparisons), squeeze=False)[0]
    for axes, (name, comparison) in zip(panels, comparisons.items(), strict=True):
        _draw(axes, name, comparison)
    figure.supxlabel(f"bars: {confidence_level:.0%} bootstrap intervals", fontsize=8, color="#555555")
    # Fixed ids and no date: the same figures give the same bytes.
    with rc_context({"svg.hashsalt": "luthier"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw(axes: Axes, name: MetricName, comparison: Comparison) -> None:
    metric = METRICS[name]
    estimates = {"base": comparison.base, "tuned": comparison.tuned}
    for place, (who, estimate) in enumerate(estimates.items()):
        axes.vlines(place, estimate.low, estimate.high, color=_COLOURS[who], linewidth=2.5)
        axes.plot(place, estimate.value, "o", color=_COLOURS[who], markersize=7)
        axes.annotate(
            f"{estimate.value:.3g}",
            (place, estimate.value),
            (9, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_title(f"{metric.label} ({'higher' if metric.higher_is_better else 'lower'} is better)", fontsize=8)
    axes.set_xticks([0, 1], list(estimates))
    axes.set_xlim(-0.5, 1.8)
    if metric.higher_is_better:
        axes.set_ylim(-0.05, 1.05)
    else:
        axes.set_ylim(bottom=0.0)
    axes.grid(axis="y", color="#e5e5e5")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
