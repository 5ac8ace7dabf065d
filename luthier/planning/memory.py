"""Peak memory of a training process: what it holds in each phase of a run, and the phase that holds most.

On a CPU it is the process's resident memory, with Python and its libraries; on an accelerator that of one device, and
of the host beside it. What is divided among devices stands in sharding.py.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from luthier.planning.activations import activation_bytes, block_bytes, derived_bytes, passing_bytes
from luthier.planning.loading import host_loading_bytes, loaded_bytes, reads_part
from luthier.planning.losses import kept_bytes, teacher_bytes, transient_bytes
from luthier.planning.question import Question
from luthier.planning.sharding import ALONE, LIVE_PARAMETERS, Sharding
from luthier.planning.workload import Workload

Checkpointing = Literal["none", "selective", "full"]

MIB = 1 << 20
GIB = 1 << 30

_RUNNER_BYTES = 600 * MIB
"""Of a runner on a CPU just before its model is touched: PyTorch, transformers, PEFT, the tokenizer, the rows."""
_KERNELS_BYTES = 110 * MIB
"""Of products in bf16 and fp16, which oneDNN compiles for each shape and keeps as many of as settings.py allows."""
_CONTEXT_BYTES = 600 * MIB
"""CUDA context and kernels on a device."""
_CPU_WASTE = {2: 1.25, 4: 1.35}
"""What the allocator of the C library takes for a byte of activations, by bytes of the compute dtype: holes that
shorter-lived tensors leave between longer-lived ones. After five passes; measured: benchmarks/plan_accuracy.py."""
_WASTE_GROWTH = 0.06
"""More of it with each doubling of the passes: rows differ in length, so that holes fit less and less."""
_WASTE_PASSES = (5, 128)
"""From where to where it grows: a run of a hundred hardly grew in its second half."""
_GPU_WASTE = 1.05
"""The same for PyTorch's caching allocator."""
_CACHE_COPIES = 2
"""Keys and values of answers that grow are copied at each token, a block at a time; the old ones leave holes."""
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
    """Of the compute dtype: 2 for bf16 and fp16, 4 for fp32."""
    device: Literal["cpu", "gpu"] = "cpu"
    num_devices: int = 1
    """Ranks, on all machines."""
    num_machines: int = 1
    sharding: Sharding = ALONE
    """How they share."""
    checkpointing: Checkpointing = "none"
    """As `training.gradient_checkpointing`."""

    @property
    def recomputed(self) -> float:
        """Part of the blocks that are computed again in the backward pass (workers/training/recompute.py)."""
        return {"none": 0.0, "selective": 0.5, "full": 1.0}[self.checkpointing]

    @property
    def num_local(self) -> int:
        """Ranks on one machine."""
        return -(-self.num_devices // self.num_machines)

    @property
    def on_cpu(self) -> bool:
        """Whether the process's own memory is what counts."""
        return self.device == "cpu"


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
    """Of one machine's memory, for all its ranks."""


@dataclass(frozen=True)
class _Held:
    """Bytes that a run has from its first update to its end, undivided."""

    weights: float
    gradients: float
    state: float
    """Of the optimizer, and the average of the weights."""
    control: float
    """Of the method."""
    mapped: float
    """Pages of the weights' file beyond what is used of them, which a CPU's process keeps."""

    @property
    def copy(self) -> float:
        """What a checkpoint copies before it is written: `workers/training/host_copy.py`."""
        return self.gradients + self.state + self.control


def estimate_memory(question: Question, setting: Setting) -> MemoryEstimate:
    """The peak of a run that takes more than one step and a checkpoint."""
    held = _held(question, setting)
    always = _always(question, setting, held)
    phases = {name: always | extra for name, extra in _phases(question, setting, held).items()}
    phases |= _before(question, setting, held)
    totals = {name: round(sum(parts.values())) for name, parts in phases.items()}
    peak = max(totals, key=lambda name: totals[name])
    host = totals[peak] * setting.num_local if setting.on_cpu else _host_bytes(question, setting, held)
    return MemoryEstimate(
        peak_bytes=totals[peak],
        peak_phase=peak,
        parts={name: round(part) for name, part in phases[peak].items() if part},
        phases=totals,
        host_bytes=round(host),
    )


def _held(question: Question, setting: Setting) -> _Held:
    shape, adaptation, training = question.shape, question.adaptation, question.training
    per_parameter = 0.0 if training.optim == "sgd" and not training.sgd_momentum else OPTIMIZER_BYTES[training.optim]
    average = 0 if training.ema_decay is None else _FP32
    frozen = adaptation.num_frozen * setting.compute_bytes
    # Frozen weights that are used as they are stored are the file itself, mapped: all of it, once it was read.
    is_mapped = setting.on_cpu and frozen and shape.stored_bytes == setting.compute_bytes
    return _Held(
        weights=frozen + adaptation.packed_bytes + _FP32 * adaptation.num_trainable,
        gradients=_FP32 * adaptation.num_trainable,
        state=(per_parameter + average) * adaptation.num_trainable,
        control=_FP32 * adaptation.num_control,
        mapped=shape.stored_bytes * (shape.num_parameters - adaptation.num_frozen) if is_mapped else 0.0,
    )


def _always(question: Question, setting: Setting, held: _Held) -> dict[str, float]:
    """Between two steps, on one device."""
    sharding, shards = setting.sharding, setting.num_devices
    weights = held.weights
    copy = 0.0 if sharding.writes_in_place else held.copy / (shards if sharding.stage >= 1 else 1)
    if sharding.stage >= 3:
        own = 0.0 if sharding.offloads_weights else held.weights / shards
        weights = own + _gathered_bytes(question, setting)
    state = 0.0 if sharding.offloads_state else held.state / (shards if sharding.stage >= 1 else 1)
    return {
        "runner": _started(setting),
        "weights": weights + held.mapped,
        "optimizer": state + held.control,
        "messages": 0.0 if setting.on_cpu else float(sharding.bucket_bytes),
        "checkpoint copy": copy if setting.on_cpu else 0.0,
    }


def _gathered_bytes(question: Question, setting: Setting) -> float:
    """Of weights that are whole on a device at a time, where they are divided.

    FSDP gathers what is around the blocks as it is kept, for the whole step, and blocks in the compute dtype; DeepSpeed
    all as it is kept.
    """
    shape, sharding = question.shape, setting.sharding
    each = _FP32 if question.adaptation.num_masters else setting.compute_bytes
    if not sharding.gathers_blocks:
        return float(each * min(shape.num_parameters, LIVE_PARAMETERS))
    blocks = shape.num_block_parameters if sharding.keeps_gathered else shape.num_block_parameters / shape.num_layers
    return each * (shape.num_parameters - shape.num_block_parameters) + setting.compute_bytes * blocks


def _started(setting: Setting) -> float:
    if not setting.on_cpu:
        return _CONTEXT_BYTES
    return _RUNNER_BYTES + (_KERNELS_BYTES if setting.compute_bytes < _FP32 else 0)


def _before(question: Question, setting: Setting, held: _Held) -> dict[str, dict[str, float]]:
    """Phases outside of steps: the weights are read, a teacher is asked; answers are sampled."""
    shape, sharding, weights = question.shape, setting.sharding, held.weights + held.mapped
    runner = {"runner": float(_RUNNER_BYTES if setting.on_cpu else _CONTEXT_BYTES)}
    loaded = loaded_bytes(question, sharding, weights, setting.num_devices, on_cpu=setting.on_cpu)
    started = runner | {"weights": loaded["weights"]}
    # Weights that are used as they are stored are the file itself, but for those that a rank copies its part of.
    is_the_file = shape.stored_bytes == setting.compute_bytes and not reads_part(question, sharding)
    phases = {"load": started if is_the_file else runner | loaded}
    if question.num_sampled:
        cache = question.num_sampled * shape.num_layers * 2 * shape.key_width * setting.compute_bytes
        always = _always(question, setting, held)
        phases["answers"] = always | {"keys and values": _CACHE_COPIES * cache}
    if question.teacher is not None:
        phases["teacher"] = started | {"teacher": teacher_bytes(question.teacher, question.work, setting.compute_bytes)}
    return phases


def _phases(question: Question, setting: Setting, held: _Held) -> dict[str, dict[str, float]]:
    """What a step holds beside what it always holds, at its four highest points.

    Between the second and the third, activations go as gradients come; so the peak is at one of the ends.
    """
    shape, adaptation, work = question.shape, question.adaptation, question.work
    size, on_cpu, sharding = setting.compute_bytes, setting.on_cpu, setting.sharding
    waste = _cpu_waste(work, size) if on_cpu else _GPU_WASTE
    kept = activation_bytes(shape, adaptation, work, size, on_cpu=on_cpu, recomputed=setting.recomputed)
    one = block_bytes(shape, adaptation, work, size, on_cpu=on_cpu) if setting.recomputed else 0.0
    # FSDP gathers what autocast would have cast.
    derived = 0.0 if sharding.gathers_blocks else derived_bytes(adaptation, size)
    table = _FP32 * shape.vocabulary * shape.hidden
    late = table if adaptation.trains_embeddings else 0.0
    largest = max(late, _FP32 * shape.hidden * shape.intermediate)
    largest /= setting.num_devices if sharding.stage >= 3 else 1
    shards = setting.num_devices if sharding.stage >= 2 else 1
    gradients = 0.0 if sharding.offloads_weights else held.gradients / shards
    before = gradients if work.accumulation > 1 else 0.0
    first = table if adaptation.trains_output and work.accumulation == 1 else 0.0
    passing = max(transient_bytes(question.loss, shape, work, on_cpu=on_cpu), size * adaptation.num_transient)
    return {
        "start of the backward pass": {
            # Where blocks are computed again, the C library keeps what the last one had.
            "activations": waste * (kept + (one if on_cpu else 0.0)),
            "casts": derived,
            "loss": kept_bytes(question.loss, shape, work, size, on_cpu=on_cpu) + passing,
            "gradients": before + first,
        },
        "backward pass of a block": {
            "activations": waste * (kept + one),
            "casts": derived,
            "gradients of activations": passing_bytes(shape, adaptation, work, size),
            "gradients": before + first,
        },
        # The embeddings' second gradient comes last, and is added to the first.
        "end of the backward pass": {"gradients": gradients + late},
        # Sums of squares in fp64, once (guards.py).
        "first update": {"gradients": gradients, "fingerprint": 4 * largest if adaptation.num_masters else 0.0},
    }


def _cpu_waste(work: Workload, compute_bytes: int) -> float:
    """Of the whole run; of a long one where its length is not known."""
    first, last = _WASTE_PASSES
    passes = last if work.num_steps is None else work.num_steps * work.accumulation
    return _CPU_WASTE[compute_bytes] + _WASTE_GROWTH * math.log2(min(max(passes, first), last) / first)


def _host_bytes(question: Question, setting: Setting, held: _Held) -> float:
    """Of a machine whose ranks train on accelerators: while they load, or later, whichever is more.

    After the last step divided weights are whole on rank 0, to be saved, when there are no gradients any more.
    """
    sharding, local = setting.sharding, setting.num_local
    part = local / setting.num_devices
    offloaded = held.weights * part if sharding.offloads_weights else 0.0
    kept = offloaded if sharding.writes_in_place else held.copy * (part if sharding.stage >= 1 else 1) + offloaded
    if sharding.offloads_state:
        kept += held.state * part
    most = max(
        host_loading_bytes(question, sharding, local, offloaded),
        kept + (held.gradients * part if sharding.offloads_weights else 0.0),
        kept + (held.weights if sharding.stage >= 3 else 0.0),
    )
    return _RUNNER_BYTES * local + most
