"""What a run holds from one step to the next: weights, gradients, state, and their copy for checkpoints.

All of it as one device would hold it (`Held`), and a device's part of it where several share (`between_steps`).
"""

from dataclasses import dataclass

from luthier.planning.process import working_bytes
from luthier.planning.question import Question
from luthier.planning.setting import Setting
from luthier.planning.sharding import LIVE_PARAMETERS

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
UPDATE_COPIES = {"lamb": 2, "adafactor": 1, "adamw_8bit": 5}
"""Tensors in fp32 as large as a parameter that its update on a CPU makes: LAMB's update and denominator, Adafactor's
update; of 8 bits both moments, the gradient, a root and a quotient (bitsandbytes/backends/cpu/ops.py). Others work in
place, and so does a GPU's kernel."""


@dataclass(frozen=True)
class Held:
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


def held_by(question: Question, setting: Setting) -> Held:
    """What the job's run holds."""
    shape, adaptation, training = question.shape, question.adaptation, question.training
    per_parameter = 0.0 if training.optim == "sgd" and not training.sgd_momentum else OPTIMIZER_BYTES[training.optim]
    average = 0 if training.ema_decay is None else _FP32
    frozen = adaptation.num_frozen * setting.compute_bytes
    # Frozen weights that are used as they are stored are the file itself, mapped: all of it, once it was read.
    is_mapped = setting.on_cpu and frozen and shape.stored_bytes == setting.compute_bytes
    return Held(
        weights=frozen + adaptation.packed_bytes + _FP32 * adaptation.num_trainable,
        gradients=_FP32 * adaptation.num_trainable,
        state=(per_parameter + average) * adaptation.num_trainable,
        control=_FP32 * adaptation.num_control,
        mapped=shape.stored_bytes * (shape.num_parameters - adaptation.num_frozen) if is_mapped else 0.0,
    )


def between_steps(question: Question, setting: Setting, held: Held) -> dict[str, float]:
    """Bytes that one device, or one process on a CPU, has between two steps."""
    sharding, shards = setting.sharding, setting.num_devices
    weights = held.weights
    copy = 0.0 if sharding.writes_in_place else held.copy / (shards if sharding.stage >= 1 else 1)
    if sharding.stage >= 3:
        own = 0.0 if sharding.offloads_weights else held.weights / shards
        weights = own + _gathered_bytes(question, setting)
    state = 0.0 if sharding.offloads_state else held.state / (shards if sharding.stage >= 1 else 1)
    return {
        "runner": float(working_bytes(setting)),
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
