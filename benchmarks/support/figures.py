"""Times as figures, and figures as a table."""

from collections.abc import Mapping, Sequence

import numpy as np


def percentiles(values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """`{"p50": ..., "p99": ..., "max": ...}` of at least one value, by linear interpolation."""
    p50, p99, highest = np.percentile(values, [50, 99, 100])
    return {"p50": round(float(p50), digits), "p99": round(float(p99), digits), "max": round(float(highest), digits)}


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows with the same keys, in columns; the keys are the heads."""
    heads = list(rows[0])
    lines = [heads, *([str(row[head]) for head in heads] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])
