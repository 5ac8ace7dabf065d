"""`loss.svg`: training loss, its running mean, validation loss and learning rate over the steps."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

_INK, _BLUE, _ORANGE, _GREY = "#22272e", "#2f6fb3", "#d9742b", "#9aa4af"


def write_loss_plot(history: Sequence[dict[str, float]], best_step: int, path: Path) -> None:
    """Draws one row of `history` per step: `step`, `learning_rate`; where measured, `loss` and `validation_loss`."""
    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    loss_axes = figure.add_subplot()
    steps = [row["step"] for row in history]
    measured = [row for row in history if "loss" in row]
    at, losses = [row["step"] for row in measured], [row["loss"] for row in measured]
    loss_axes.plot(at, losses, color=_BLUE, alpha=0.25, linewidth=1, label="training loss of the step")
    loss_axes.plot(at, _running_mean(losses), color=_BLUE, linewidth=2, label="running mean")
    validated = [row for row in history if "validation_loss" in row]
    if validated:
        at, values = [row["step"] for row in validated], [row["validation_loss"] for row in validated]
        loss_axes.plot(at, values, color=_ORANGE, marker="o", markersize=4, linewidth=2, label="validation loss")
        best = next(row["validation_loss"] for row in validated if row["step"] == best_step)
        loss_axes.annotate(
            f"best: {best:.4f}\nstep {best_step}",
            (best_step, best),
            xytext=(0, 18),
            textcoords="offset points",
            ha="right",
            color=_INK,
            arrowprops={"arrowstyle": "-", "color": _GREY},
        )
    loss_axes.set_yscale("log")
    loss_axes.set_xlabel("optimizer step")
    loss_axes.set_ylabel("loss (nats per target token)")
    loss_axes.grid(visible=True, which="both", axis="y", color=_GREY, alpha=0.25, linewidth=0.5)
    rate_axes = loss_axes.twinx()
    rate_axes.plot(steps, [row["learning_rate"] for row in history], color=_GREY, linestyle=":", label="learning rate")
    rate_axes.set_ylabel("learning rate", color=_GREY)
    rate_axes.set_ylim(bottom=0)
    rate_axes.tick_params(axis="y", colors=_GREY)
    rate_axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for axes in (loss_axes, rate_axes):
        axes.spines["top"].set_visible(False)
    lines = [*loss_axes.get_lines(), *rate_axes.get_lines()]
    loss_axes.legend(lines, [str(line.get_label()) for line in lines], frameon=False, loc="upper right")
    figure.savefig(path)


def _running_mean(values: Sequence[float]) -> list[float]:
    """Exponential mean over about a twentieth of the run, corrected for its start at zero (Kingma & Ba, 2014,
    arXiv:1412.6980, section 3)."""
    keep = 1 - 1 / max(5.0, len(values) / 20)
    means, total = [], 0.0
    for count, value in enumerate(values, start=1):
        total = keep * total + (1 - keep) * value
        means.append(total / (1 - keep**count))
    return means
