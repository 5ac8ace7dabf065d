"""How fast training could be if nothing but its large matrix products took time. One JSON object on stdout.

Arguments: folder of the base model, `lora` or `full`, part of the tokens that are targets. Every linear layer's product
with 1,024 tokens in bf16: forward, gradient of the input, and with `full` gradient of the weight; the output layer for
the targets only.
"""

import json
import statistics
import sys
import time

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

NUM_TOKENS = 1024
_REPEATS = 11


def main() -> None:
    """Measures each shape once and multiplies."""
    folder, name, targets = sys.argv[1], sys.argv[2], float(sys.argv[3])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
    shapes: dict[tuple[int, int, int], int] = {}
    for path, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            rows = max(1, round(NUM_TOKENS * targets)) if path.endswith("lm_head") else NUM_TOKENS
            shape = (rows, layer.in_features, layer.out_features)
            shapes[shape] = shapes.get(shape, 0) + 1
    seconds = sum(count * products_seconds(*shape, with_weight=name == "full") for shape, count in shapes.items())
    print(json.dumps({"tokens_per_second": round(NUM_TOKENS / seconds, 1)}))


def products_seconds(rows: int, inner: int, outer: int, *, with_weight: bool) -> float:
    """Median of some times of forward and backward products of one layer: the arms have no luckier moments either."""
    left, weight, gradient = (
        torch.randn(shape, dtype=torch.bfloat16) for shape in ((rows, inner), (outer, inner), (rows, outer))
    )
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        left @ weight.T
        gradient @ weight
        if with_weight:
            gradient.T @ left
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
