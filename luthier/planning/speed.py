"""Time, cost and energy of a run from its floating-point operations and the table of hardware.

A token costs 2 operations per parameter forwards; backwards as many again for the gradient of what flows, and as many
again for that of weights that are trained: 6 N in all, 4 N with frozen weights (Kaplan et al., 2020, arXiv:2001.08361,
section 2.1). Attention adds 4 d per layer for each token that a token looks at, forwards, and twice that backwards.
The output layer works on targets alone (workers/training/forward.py).
"""

from dataclasses import dataclass

from luthier.planning.hardware import Hardware
from luthier.planning.methods import Adaptation
from luthier.planning.setting import Setting
from luthier.planning.shape import ModelShape
from luthier.planning.workload import Workload

_HOST_GB_S = 25.0
"""Between a device and the host's memory: PCIe 4.0 with 16 lanes carries 31.5 GB/s, of which some 80 % are reached."""


@dataclass(frozen=True)
class Cost:
    """Of a whole run; what the table does not say is None."""

    tokens_per_second: float
    """Over all devices."""
    seconds: float | None
    price: float | None
    kilowatt_hours: float | None


def flops_per_token(shape: ModelShape, adaptation: Adaptation, work: Workload, recomputed: float = 0.0) -> float:
    """Floating-point operations for one token of a row; `recomputed` is the part of the blocks with checkpointing."""
    matrices = shape.num_matrix_parameters
    head = shape.vocabulary * shape.hidden * work.num_targets / work.row_tokens
    trained = min(1.0, adaptation.num_cast / matrices)
    through = adaptation.part_of_blocks
    forwards = 2 * (matrices + head)
    backwards = 2 * (matrices * through + head) + 2 * trained * matrices
    if adaptation.trains_embeddings:
        backwards += 2 * head
    if adaptation.layers and not adaptation.num_masters:
        forwards += 2 * adaptation.num_added
        backwards += 4 * adaptation.num_added
    # Causal: half of the document on average, and all that stands before it.
    attention = 4 * shape.num_layers * shape.query_width * work.unfolded * (work.num_shared + work.document_tokens / 2)
    again = (2 * matrices + attention) * through * recomputed
    return forwards + backwards + attention * (1 + 2 * through) + again


def communicated_bytes(shape: ModelShape, adaptation: Adaptation, setting: Setting) -> float:
    """That one device sends in one optimizer step: a gradient all-reduce is twice its size; ZeRO 3 gathers the weights
    twice and scatters the gradients (Rajbhandari et al., 2020, section 7)."""
    if setting.num_devices == 1:
        return 0.0
    weights = setting.compute_bytes * shape.num_parameters
    gradients = 4 * adaptation.num_trainable
    return gradients + 2 * weights if setting.sharding.stage == 3 else 2 * gradients


def estimate_cost(
    shape: ModelShape, adaptation: Adaptation, work: Workload, setting: Setting, hardware: Hardware, step_tokens: float
) -> Cost:
    """The run on that hardware.

    `work` is the longest pass of any device, and `step_tokens` are those of the documents of an optimizer step on all
    devices, what they share counted for each.

    Loading, validation, checkpoints and what comes after training are not in it.
    """
    devices = setting.num_devices
    per_token = flops_per_token(shape, adaptation, work, setting.recomputed)
    tokens = work.row_tokens * work.accumulation
    seconds = tokens * per_token / hardware.flops(setting.compute_bytes)
    # What DoRA makes of every weight is bound by the memory, its products are not.
    again = work.accumulation * (1 + setting.recomputed)
    seconds += again * adaptation.pass_flops / hardware.flops(setting.compute_bytes)
    seconds += again * setting.compute_bytes * adaptation.pass_elements / (1e9 * hardware.bandwidth_gb_s)
    # The weights are read for each of the two or three products of a pass, the state once per step.
    traffic = 3 * setting.compute_bytes * shape.num_parameters * work.accumulation + 16 * adaptation.num_trainable
    seconds = max(seconds, traffic / devices / (1e9 * hardware.bandwidth_gb_s))
    if setting.sharding.offloads_state:
        # Gradients go to the host and weights come back (Ren et al., 2021, arXiv:2101.06840).
        seconds += 8 * adaptation.num_trainable / devices / (1e9 * _HOST_GB_S)
    if hardware.link_gb_s:
        seconds += communicated_bytes(shape, adaptation, setting) / (1e9 * hardware.link_gb_s)
    rate = step_tokens / seconds
    if work.num_tokens is None:
        return Cost(rate, None, None, None)
    total = work.num_tokens / rate
    machines = setting.num_machines
    price = None if hardware.price_per_hour is None else machines * hardware.price_per_hour * total / 3600
    energy = None if hardware.watts is None else hardware.watts * devices * total / 3.6e6
    return Cost(rate, total, price, energy)
