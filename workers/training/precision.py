"""Which dtype the frozen base and the matrix products get. Some CPUs emulate bf16 at a fiftieth of the speed: measured,
never guessed from a name.

What is fp32 is computed in fp32: TensorFloat-32, which keeps ten bits, stays off, as it is by PyTorch's default.
"""

import time

import torch

from luthier.spec.training import Precision
from workers.failures import ConfigError

_REPEATS = 5
_SHAPE = (512, 768, 768)


def choose_dtype(precision: Precision, device: torch.device, *, may_scale: bool = True) -> torch.dtype:
    """The dtype that the job asks for; with `auto` the one whose matrix product is fastest on `device`.

    But fp16, which needs a scaled loss, only where bf16 is slower than fp32 (GPUs before Ampere, some Arm CPUs), and
    never without `may_scale`: strategies that divide the state cannot take a step back as our loss scale does.
    """
    if precision != "auto":
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    exact = gemm_seconds(torch.float32, device)
    for dtype in (torch.bfloat16, torch.float16) if may_scale else (torch.bfloat16,):
        if gemm_seconds(dtype, device) < exact:
            return dtype
    return torch.float32


def recorded_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype in which an earlier attempt computed: a run stays in it, whatever is faster here.

    Raises:
        ConfigError: `device` cannot compute in it.
    """
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}.get(name)
    try:
        if dtype is not None:
            gemm_seconds(dtype, device)
            return dtype
        reason = "it is not known here"
    except RuntimeError as error:
        reason = str(error)
    raise ConfigError(
        f"this run began in {name}, in which the {device.type} of this worker cannot compute ({reason}); run it on a "
        f"worker like the first one, or start the job anew with training.precision: fp32"
    )


def gemm_seconds(dtype: torch.dtype, device: torch.device) -> float:
    """Shortest of five times, in seconds, of one [512, 768] x [768, 768] product."""
    rows, inner, columns = _SHAPE
    left, right = (
        torch.ones(rows, inner, dtype=dtype, device=device),
        torch.ones(inner, columns, dtype=dtype, device=device),
    )
    times = []
    for _ in range(_REPEATS + 1):
        started = time.perf_counter()
        # Reading one number back waits for the device.
        (left @ right)[0, 0].item()
        times.append(time.perf_counter() - started)
    return min(times[1:])
