"""Peak memory of a training process: what it has in each phase of a run, and the phase that has most.

On a CPU it is the process's resident memory, with Python and its libraries; on an accelerator that of one device, and
of the host beside it. What stays from step to step stands in held.py, what is no tensor in process.py, and what is
divided among devices in sharding.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from luthier.planning.activations import activation_bytes, block_bytes, derived_bytes, passing_bytes
from luthier.planning.held import UPDATE_COPIES, Held, between_steps, held_by
from luthier.planning.loading import host_loading_bytes, loaded_bytes, reads_part
from luthier.planning.losses import kept_bytes, teacher_bytes, transient_bytes
from luthier.planning.process import MAPPED_APART, RUNNER_BYTES, empty_bytes, waste
from luthier.planning.question import Question
from luthier.planning.setting import Setting

GIB = 1 << 30

_CACHE_COPIES = 2
"""Keys and values of answers that grow are copied at each token, a block at a time; the old ones leave holes."""
_FP32 = 4


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


def estimate_memory(question: Question, setting: Setting) -> MemoryEstimate:
    """The peak of a run that takes more than one step and a checkpoint."""
    held = held_by(question, setting)
    always = between_steps(question, setting, held)
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


def _before(question: Question, setting: Setting, held: Held) -> dict[str, dict[str, float]]:
    """Phases outside of steps: the weights are read, a teacher is asked; answers are sampled."""
    shape, sharding, weights = question.shape, setting.sharding, held.weights + held.mapped
    runner = {"runner": float(empty_bytes(setting))}
    loaded = loaded_bytes(question, sharding, weights, setting.num_devices, on_cpu=setting.on_cpu)
    started = runner | {"weights": loaded["weights"]}
    # Weights that are used as they are stored are the file itself, but for those that a rank copies its part of.
    is_the_file = shape.stored_bytes == setting.compute_bytes and not reads_part(question, sharding)
    phases = {"load": started if is_the_file else runner | loaded}
    if question.num_sampled:
        cache = question.num_sampled * shape.num_layers * 2 * shape.key_width * setting.compute_bytes
        always = between_steps(question, setting, held)
        phases["answers"] = always | {"keys and values": _CACHE_COPIES * cache}
    if question.teacher is not None:
        phases["teacher"] = started | {"teacher": teacher_bytes(question.teacher, question.work, setting.compute_bytes)}
    return phases


def _phases(question: Question, setting: Setting, held: Held) -> dict[str, dict[str, float]]:
    """What a step holds beside what it always holds, at its highest points.

    Between the second and the third, activations go as gradients come; so the peak is at one of the ends.
    """
    shape, adaptation, work = question.shape, question.adaptation, question.work
    size, on_cpu, sharding = setting.compute_bytes, setting.on_cpu, setting.sharding
    wasted = waste(work, setting)
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
            "activations": wasted * (kept + (one if on_cpu else 0.0)),
            "casts": derived,
            "loss": kept_bytes(question.loss, shape, work, size, on_cpu=on_cpu) + passing,
            "gradients": before + first,
        },
        "backward pass of a block": {
            "activations": wasted * (kept + one),
            "casts": derived,
            "gradients of activations": passing_bytes(shape, adaptation, work, size),
            "gradients": before + first,
        },
        # The embeddings' second gradient comes last, and is added to the first.
        "end of the backward pass": {"gradients": gradients + late},
        # Sums of squares in fp64, once (guards.py).
        "first update": {"gradients": gradients, "fingerprint": 4 * largest if adaptation.num_masters else 0.0},
        **({"update": _update(question, setting, wasted * kept, gradients, largest)} if on_cpu else {}),
    }


def _update(
    question: Question, setting: Setting, activations: float, gradients: float, largest: float
) -> dict[str, float]:
    """An update on a CPU, where the heap is still as large as activations had made it. Gradients lie in it, but for
    those that are mapped apart, as the embeddings' is; so are copies of large parameters, such as an optimizer of 8
    bits makes.

    Args:
        question: the job.
        setting: how it is laid out.
        activations: bytes that they took.
        gradients: bytes of all.
        largest: bytes of the largest parameter in fp32.
    """
    shape, adaptation = question.shape, question.adaptation
    is_large = _FP32 * shape.hidden * shape.intermediate > MAPPED_APART
    apart = gradients if is_large or not adaptation.num_masters else min(gradients, largest)
    wide = setting.compute_bytes * question.work.row_tokens * shape.intermediate
    heap = max(activations if wide <= MAPPED_APART else 0.0, gradients - apart)
    copies = UPDATE_COPIES.get(question.training.optim, 0) if adaptation.num_masters and largest > MAPPED_APART else 0
    return {"left of activations": heap, "gradients": apart, "copies for the update": copies * largest}


def _host_bytes(question: Question, setting: Setting, held: Held) -> float:
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
    return RUNNER_BYTES * local + most
