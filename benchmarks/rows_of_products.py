"""What a matrix product in bf16 costs by its number of rows: many are dearer than the next multiple of 8.

A forward product with a weight of SmolLM2-135M's feed-forward part and the gradient of its input, one thread. What
counts is the processor's time, the least of the rounds; all sizes take turns. The reason why rows end with padding
(workers/training/layout.py). One JSON object on stdout, a table on stderr.
"""

import argparse
import json
import sys
import time

import torch
from support.figures import table

_INNER, _OUTER = 576, 1536
_NUM_WEIGHTS = 10  # as many as there are layers nearby: one alone would stay in the cache


def main() -> int:
    """Measures each size, and the size that a row of it is padded to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[301, 509, 629, 803, 1003, 1007, 1021, 1642])
    parser.add_argument("--multiple", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    unit = arguments.multiple
    padded = {rows: -(-rows // unit) * unit for rows in arguments.rows}
    best = least_seconds(sorted({*padded, *padded.values()}), arguments.rounds)
    lines = [
        {
            "rows": rows,
            "ms": round(1e3 * best[rows], 2),
            "padded_to": more,
            "padded_ms": round(1e3 * best[more], 2),
            "saved": f"{1 - best[more] / best[rows]:.0%}",
        }
        for rows, more in padded.items()
    ]
    print(json.dumps({"benchmark": "rows_of_products", "torch": torch.__version__, "rows": lines}))
    print(table(lines), file=sys.stderr)
    return 0


def least_seconds(sizes: list[int], rounds: int) -> dict[int, float]:
    """By number of rows: seconds of both products."""
    weights = [torch.randn(_OUTER, _INNER).bfloat16() for _ in range(_NUM_WEIGHTS)]
    inputs = {rows: (torch.randn(rows, _INNER).bfloat16(), torch.randn(rows, _OUTER).bfloat16()) for rows in sizes}
    best = dict.fromkeys(sizes, float("inf"))
    for number in range(rounds):
        for rows, (values, gradient) in inputs.items():
            weight = weights[number % _NUM_WEIGHTS]
            started = time.process_time()
            values @ weight.T
            gradient @ weight
            best[rows] = min(best[rows], time.process_time() - started)
    return best


if __name__ == "__main__":
    sys.exit(main())
