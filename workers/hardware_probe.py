"""`python -m workers.hardware_probe`: this machine as a row of the table in luthier/planning/hardware.yaml, as JSON.

Speed and bandwidth of a CPU are measured, in a second; those of an accelerator are in the table.
"""

import json
import time

import torch

from luthier.planning.hardware import Hardware
from workers.capabilities import memory_bytes
from workers.training.precision import gemm_seconds

GEMM_FLOP = 2 * 512 * 768 * 768
"""Of the product that `gemm_seconds` times."""
_COPIED = 1 << 26
"""Bytes: more than the caches hold, and little beside what training needs."""
_EFFICIENCY = 0.45
"""Part of that speed that training reaches; a run says in its summary what it was."""


def probe_cpu() -> Hardware:
    """The CPU of this machine, as busy as it is just now."""
    cpu = torch.device("cpu")
    source = torch.ones(_COPIED // 4)
    target = torch.empty_like(source)
    target.copy_(source)
    started = time.perf_counter()
    target.copy_(source)
    seconds = time.perf_counter() - started
    return Hardware(
        name="this machine",
        kind="cpu",
        memory_gib=memory_bytes() / (1 << 30),
        bf16_tflops=GEMM_FLOP / gemm_seconds(torch.bfloat16, cpu) / 1e12,
        fp32_tflops=GEMM_FLOP / gemm_seconds(torch.float32, cpu) / 1e12,
        bandwidth_gb_s=2 * _COPIED / seconds / 1e9,
        efficiency=_EFFICIENCY,
    )


if __name__ == "__main__":
    print(json.dumps(probe_cpu().model_dump()))  # noqa: T201
