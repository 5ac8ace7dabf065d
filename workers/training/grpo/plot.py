"""`reward.svg`: the mean reward of a step's answers, with their spread, over the steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

_BLUE, _GREY = "#2f6fb3", "#9aa4af"


def write_reward_plot(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Draws the rows of `history` that have a `reward`: those of steps whose answers were sampled."""
    rows = [row for row in history if "reward" in row]
    steps, means = [row["step"] for row in rows], [row["reward"] for row in rows]
    spreads = [row.get("reward_std", 0.0) for row in rows]
    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    lows = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
    highs = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
    axes.fill_between(steps, lows, highs, color=_BLUE, alpha=0.15, linewidth=0, label="± standard deviation")
    axes.plot(steps, means, color=_BLUE, linewidth=2, label="mean reward of the answers")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("reward")
    axes.grid(visible=True, axis="y", color=_GREY, alpha=0.25, linewidth=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, loc="best")
    figure.savefig(path)
