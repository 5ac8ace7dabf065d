"""What a process takes that no tensor of its model accounts for: its libraries, and what allocators waste.

These figures are measured and not derived; benchmarks/plan_accuracy.py says by which runs.
"""

import math

from luthier.planning.setting import Setting
from luthier.planning.workload import Workload

MIB = 1 << 20

RUNNER_BYTES = 600 * MIB
"""Of a runner on a CPU just before its model is touched: PyTorch, transformers, PEFT, the tokenizer, the rows."""
_KERNELS_BYTES = 110 * MIB
"""Of products in bf16 and fp16, which oneDNN compiles for each shape and keeps as many of as settings.py allows."""
_CONTEXT_BYTES = 600 * MIB
"""CUDA context and kernels on a device."""
_CPU_WASTE = {2: 1.25, 4: 1.35}
"""What the allocator of the C library takes for a byte of activations, by bytes of the compute dtype: holes that
shorter-lived tensors leave between longer-lived ones. After five passes."""
_WASTE_GROWTH = 0.06
"""More of it with each doubling of the passes: rows differ in length, so that holes fit less and less."""
_WASTE_PASSES = (5, 128)
"""From where to where it grows: a run of a hundred hardly grew in its second half."""
MAPPED_APART = 32 * MIB
"""A larger tensor on a CPU has pages of its own, which go back when it does; smaller ones share the heap, which is not
given back (mallopt(3), M_MMAP_THRESHOLD: it moves up to there by itself)."""
_GPU_WASTE = 1.05
"""The same for PyTorch's caching allocator."""
_FP32 = 4


def empty_bytes(setting: Setting) -> int:
    """Of a process, or on a device, before there is a model."""
    return RUNNER_BYTES if setting.on_cpu else _CONTEXT_BYTES


def working_bytes(setting: Setting) -> int:
    """The same once it computes."""
    compiles = setting.on_cpu and setting.compute_bytes < _FP32
    return empty_bytes(setting) + (_KERNELS_BYTES if compiles else 0)


def waste(work: Workload, setting: Setting) -> float:
    """Bytes of memory for a byte of activations, over the whole run; of a long one where its length is not known."""
    if not setting.on_cpu:
        return _GPU_WASTE
    first, last = _WASTE_PASSES
    passes = last if work.num_steps is None else work.num_steps * work.accumulation
    return _CPU_WASTE[setting.compute_bytes] + _WASTE_GROWTH * math.log2(min(max(passes, first), last) / first)
