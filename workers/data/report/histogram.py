"""The picture of the report: how long the rows are."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

_COLOURS = {"train": "#3b6ea8", "validation": "#e0a458", "test": "#7aa874"}


def length_histogram(lengths: Mapping[str, npt.NDArray[np.int32]], max_length: int, path: Path) -> None:
    """Stacked histogram of the splits' row lengths in tokens, as an SVG file. Drawn without a display."""
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    shown = {name: values for name, values in lengths.items() if len(values)}
    longest = max((int(values.max()) for values in shown.values()), default=1)
    axes.hist(
        list(shown.values()),
        bins=np.linspace(0, longest + 1, 41).tolist(),
        stacked=True,
        color=[_COLOURS[name] for name in shown],
        label=list(shown),
        edgecolor="white",
        linewidth=0.4,
    )
    if longest >= 0.7 * max_length:
        axes.axvline(max_length, color="#b23a48", linewidth=1, linestyle="--", label="data.max_length")
    axes.set_xlabel("tokens in a row")
    axes.set_ylabel("rows")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    figure.legend(frameon=False, loc="outside upper center", ncols=4)
    # Without a date and random ids in it the same data gives the same file, and the artifact the same digest.
    with rc_context({"svg.hashsalt": "luthier"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
