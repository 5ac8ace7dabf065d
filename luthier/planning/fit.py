"""The search for a layout that fits: micro-batch and accumulation, activation checkpointing, ZeRO stage, offload.

What is learned stays the same: the rows of an optimizer step are those that the job file asks for, on any hardware.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import get_args

from luthier.planning.adaptation import Adaptation
from luthier.planning.hardware import Hardware
from luthier.planning.memory import Checkpointing, MemoryEstimate, Setting, estimate_memory
from luthier.planning.shape import ModelShape
from luthier.planning.speed import Cost, estimate_cost
from luthier.planning.workload import Workload
from luthier.spec import TrainingSpec

HEADROOM = 0.9
"""Part of the memory that a plan may use: the estimate may be 10 % off."""
_FURTHEST = 1024  # devices


@dataclass(frozen=True)
class Layout:
    """One way to run the job on one machine."""

    hardware: str
    setting: Setting
    micro_rows: int
    """Rows of one forward pass on one device: `training.per_device_train_batch_size`."""
    accumulation: int
    """`training.gradient_accumulation_steps`, at one device; divided among the devices."""
    memory: MemoryEstimate
    fits: bool
    cost: Cost


@dataclass(frozen=True)
class Question:
    """What is to be run."""

    shape: ModelShape
    adaptation: Adaptation
    work: Workload
    """Of one pass with `rows` rows, one device."""
    training: TrainingSpec

    @property
    def rows(self) -> int:
        """Of one forward pass as the job file has it."""
        return self.training.per_device_train_batch_size


def lay_out(question: Question, hardware: Hardware, setting: Setting, micro_rows: int) -> Layout:
    """What that way needs and costs."""
    rows = question.rows * question.work.accumulation
    accumulation = max(1, -(-rows // (micro_rows * setting.num_devices)))
    work = _resized(question.work, question.rows, micro_rows, accumulation)
    memory = estimate_memory(question.shape, question.adaptation, work, question.training, setting)
    return Layout(
        hardware=hardware.name,
        setting=setting,
        micro_rows=micro_rows,
        accumulation=accumulation,
        memory=memory,
        fits=memory.peak_bytes <= HEADROOM * hardware.memory_bytes
        and memory.host_bytes <= HEADROOM * hardware.host_bytes,
        cost=estimate_cost(
            question.shape, question.adaptation, work, setting, hardware, min(setting.num_devices, rows)
        ),
    )


def as_asked(question: Question, hardware: Hardware, compute_bytes: int) -> Layout:
    """The job file to the letter, on the first device alone."""
    setting = Setting(compute_bytes, hardware.kind, 1, checkpointing=question.training.gradient_checkpointing)
    return lay_out(question, hardware, setting, question.rows)


def best(question: Question, hardware: Hardware, compute_bytes: int) -> Layout | None:
    """The quickest layout that fits, on all devices; None: none does."""
    fitting = [layout for layout in _layouts(question, hardware, compute_bytes) if layout.fits]
    return max(fitting, key=_goodness, default=None)


def smallest(question: Question, hardware: Hardware, compute_bytes: int) -> Layout:
    """The layout that needs least."""
    return min(_layouts(question, hardware, compute_bytes), key=lambda layout: layout.memory.peak_bytes)


def devices_needed(question: Question, hardware: Hardware, compute_bytes: int) -> int | None:
    """The smallest power of two of such devices on which the job fits; None: not even a thousand."""
    number = hardware.devices
    while number <= _FURTHEST:
        if best(question, hardware.model_copy(update={"devices": number}), compute_bytes):
            return number
        number *= 2
    return None


def _goodness(layout: Layout) -> tuple[float, int, int, int]:
    """Quickest first; among equals the one with less machinery, then that with larger passes."""
    setting = layout.setting
    return layout.cost.tokens_per_second, -setting.offload, -setting.zero_stage, layout.micro_rows


def _layouts(question: Question, hardware: Hardware, compute_bytes: int) -> Iterator[Layout]:
    total = question.rows * question.work.accumulation
    shares = [rows for rows in range(1, total + 1) if total % rows == 0 and rows <= max(1, total // hardware.devices)]
    asked = question.training.gradient_checkpointing
    ways: tuple[Checkpointing, ...] = get_args(Checkpointing)
    for checkpointing in ways[ways.index(asked) :]:
        for stage, offload in _shardings(hardware):
            setting = Setting(compute_bytes, hardware.kind, hardware.devices, stage, offload, checkpointing)
            for rows in shares:
                yield lay_out(question, hardware, setting, rows)


def _shardings(hardware: Hardware) -> list[tuple[int, bool]]:
    if hardware.kind == "cpu":
        return [(0, False)]
    stages = [0, 1, 2, 3] if hardware.devices > 1 else [0]
    return [(stage, False) for stage in stages] + [(max(stages[-1], 1), True)]


def _resized(work: Workload, rows: int, micro_rows: int, accumulation: int) -> Workload:
    share = micro_rows / rows
    return replace(
        work,
        row_tokens=max(1, round(work.row_tokens * share)),
        num_targets=max(1, round(work.num_targets * share)),
        accumulation=accumulation,
    )
