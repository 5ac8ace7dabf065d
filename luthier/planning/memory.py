"""Peak memory of a training process: what it holds in each phase of a run, and the phase that holds most.

On a CPU it is the process's resident memory, with Python and its libraries; on an accelerator that of one device, and
of the host beside it. ZeRO's shares are those of Rajbhandari et al., 2020 (arXiv:1910.02054), figure 1: stage 1 divides
the optimizer's state, 2 the gradients too, 3 the weights too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from luthier.planning.activations import activation_bytes, cast_bytes, loss_bytes, loss_transient_bytes
from luthier.planning.adaptation import Adaptation
from luthier.planning.shape import ModelShape
from luthier.planning.workload import Workload
from luthier.spec import TrainingSpec

Checkpointing = Literal["none", "selective", "full"]

MIB = 1 << 20
GIB = 1 << 30

_RUNNER_BYTES = 560 * MIB
"""Of a runner on a CPU that has imported PyTorch, transformers and PEFT: benchmarks/plan_accuracy.py, 2026-11-22."""
_CONTEXT_BYTES = 600 * MIB
"""CUDA context and kernels on a device."""
_CPU_WASTE = {2: 1.25, 4: 1.35}
"""What the allocator of the C library takes for a byte of activations, by bytes of the compute dtype: holes that
shorter-lived tensors leave between longer-lived ones. Measured as above."""
_GPU_WASTE = 1.05
"""The same for PyTorch's caching allocator."""
_FP32 = 4

OPTIMIZER_BYTES: dict[str, float] = {
    "adamw": 8,
    "lamb": 8,
    "sgd": 4,
    "adafactor": 0.01,
    "adamw_8bit": 2.03,
    "paged_adamw_8bit": 2.03,
}
"""Bytes of state per trained parameter. Of 8 bits: two moments and a scale of 4 bytes for each 256 values of each."""


@dataclass(frozen=True)
class Setting:
    """How the training is laid out."""

    compute_bytes: int = 2
    """Of the compute dtype: 2 for bf16, 4 for fp32."""
    device: Literal["cpu", "gpu"] = "cpu"
    num_devices: int = 1
    zero_stage: int = 0
    """0: every device holds everything."""
    offload: bool = False
    """The optimizer's state, and with stage 3 the weights, lie in the host's memory."""
    checkpointing: Checkpointing = "none"
    """As `training.gradient_checkpointing`."""

    @property
    def recomputed(self) -> float:
        """Part of the blocks that are computed again in the backward pass (workers/training/recompute.py)."""
        return {"none": 0.0, "selective": 0.5, "full": 1.0}[self.checkpointing]


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one process."""

    peak_bytes: int
    """Of the CPU process, or of one device."""
    peak_phase: str
    parts: Mapping[str, int]
    """What the peak consists of."""
    phases: Mapping[str, int]
    """The peak of each phase."""
    host_bytes: int
    """Of the host's memory for all devices of a machine; for a CPU the peak itself."""


def estimate_memory(
    shape: ModelShape, adaptation: Adaptation, work: Workload, training: TrainingSpec, setting: Setting
) -> MemoryEstimate:
    """The peak of a run that takes more than one step and a checkpoint."""
    on_cpu = setting.device == "cpu"
    shards = setting.num_devices
    weights = (
        adaptation.num_frozen * setting.compute_bytes
        + adaptation.packed_bytes
        + _FP32 * (adaptation.num_masters + adaptation.num_added)
    )
    gradients = _FP32 * adaptation.num_trainable
    per_parameter = 0.0 if training.optim == "sgd" and not training.sgd_momentum else OPTIMIZER_BYTES[training.optim]
    state = per_parameter * adaptation.num_trainable
    copy = _FP32 * adaptation.num_trainable + state
    held = {
        "runner": _RUNNER_BYTES if on_cpu else _CONTEXT_BYTES,
        "weights": weights / (shards if setting.zero_stage >= 3 else 1),
        "optimizer": 0.0 if setting.offload else state / (shards if setting.zero_stage >= 1 else 1),
        "checkpoint copy": copy if on_cpu else 0.0,
    }
    if setting.zero_stage >= 3:
        # What is computed with is gathered: a block at a time, or the embeddings.
        widest = max(shape.num_block_parameters / shape.num_layers, shape.vocabulary * shape.hidden)
        held["weights"] = (0.0 if setting.offload else held["weights"]) + widest * setting.compute_bytes
    gradients /= shards if setting.zero_stage >= 2 else 1
    phases = {
        name: held | extra
        for name, extra in _phases(shape, adaptation, work, setting, gradients, on_cpu=on_cpu).items()
    }
    loading = {"runner": held["runner"], "weights": held["weights"]}
    if on_cpu and shape.stored_bytes != setting.compute_bytes:
        loading["file"] = shape.num_parameters * shape.stored_bytes
    phases["load"] = loading
    totals = {name: round(sum(parts.values())) for name, parts in phases.items()}
    peak = max(totals, key=lambda name: totals[name])
    host = float(totals[peak])
    if not on_cpu:
        host = _RUNNER_BYTES * shards + copy + (state + (weights if setting.zero_stage >= 3 else 0)) * setting.offload
    return MemoryEstimate(
        peak_bytes=totals[peak],
        peak_phase=peak,
        parts={name: round(part) for name, part in phases[peak].items() if part},
        phases=totals,
        host_bytes=round(host),
    )


def _phases(
    shape: ModelShape, adaptation: Adaptation, work: Workload, setting: Setting, gradients: float, *, on_cpu: bool
) -> dict[str, dict[str, float]]:
    """What a step holds beside what it always holds, at its three highest points.

    Between the first two, activations go as gradients come; so the peak is at one of the ends.
    """
    waste = _CPU_WASTE[setting.compute_bytes] if on_cpu else _GPU_WASTE
    kept = activation_bytes(
        shape, adaptation, work, setting.compute_bytes, on_cpu=on_cpu, recomputed=setting.recomputed
    )
    table = _FP32 * shape.vocabulary * shape.hidden if adaptation.trains_embeddings else 0.0
    largest = max(table, _FP32 * shape.hidden * shape.intermediate)
    before = gradients if work.accumulation > 1 else table
    return {
        "start of the backward pass": {
            "activations": waste * kept,
            # With stage 3 of what is gathered only, which is counted with the weights.
            "casts": 0.0 if setting.zero_stage >= 3 else cast_bytes(adaptation, setting.compute_bytes),
            "loss": loss_bytes(shape, work) + loss_transient_bytes(shape, work),
            "gradients": before,
        },
        # The embeddings' second gradient comes last, and is added to the first.
        "end of the backward pass": {"gradients": gradients + table},
        # Sums of squares in fp64, once (guards.py).
        "first update": {"gradients": gradients, "fingerprint": 4 * largest if adaptation.num_masters else 0.0},
    }
