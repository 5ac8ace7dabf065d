"""The search for a layout that fits: micro-batch and accumulation, activation checkpointing, strategy, offload.

What is learned stays the same: the rows of an optimizer step are those that the job file asks for, on any hardware.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import get_args

from luthier.planning.hardware import Hardware
from luthier.planning.memory import MemoryEstimate, estimate_memory
from luthier.planning.question import Question
from luthier.planning.setting import Checkpointing, Setting
from luthier.planning.sharding import Sharding, sharding_of
from luthier.planning.speed import Cost, estimate_cost
from luthier.planning.workload import Workload

HEADROOM = 0.9
"""Part of the memory that a plan may use: the estimate may be 10 % off."""
_FURTHEST = 1024  # devices


@dataclass(frozen=True)
class Layout:
    """One way to run the job on one kind of machine."""

    hardware: str
    setting: Setting
    micro_rows: int
    """Rows of one forward pass on one device: `training.per_device_train_batch_size`."""
    accumulation: int
    """Forward passes of one device in an optimizer step."""
    memory: MemoryEstimate
    fits: bool
    cost: Cost

    def job_file(self) -> dict[str, object]:
        """What a job file says to be run so, by the names of its fields."""
        setting = self.setting
        fields: dict[str, object] = {
            "training.per_device_train_batch_size": self.micro_rows,
            "training.gradient_accumulation_steps": self.accumulation * setting.num_devices,
            "training.gradient_checkpointing": setting.checkpointing,
        }
        if not setting.on_cpu:
            fields["resources.worker_class"] = setting.device
        if setting.num_local > 1:
            fields["resources.num_ranks"] = setting.num_local
        if setting.num_machines > 1:
            fields["resources.num_workers"] = setting.num_machines
        if setting.sharding.stage:
            fields["resources.distributed"] = setting.sharding.section
        return fields


def lay_out(question: Question, hardware: Hardware, setting: Setting, micro_rows: int) -> Layout:
    """What that way needs and costs."""
    rows = question.rows * question.work.accumulation
    num_passes = -(-rows // micro_rows)
    accumulation = -(-num_passes // setting.num_devices)
    whole = replace(question.work.resized(micro_rows / question.rows), accumulation=accumulation)
    is_even = num_passes % setting.num_devices == 0
    share = 1.0 if is_even else rows / (micro_rows * accumulation * setting.num_devices)
    dealt = _dealt(whole, share, question.longest_sample)
    # What DeepSpeed and FSDP keep for their messages is not counted; beside a whole pass there is room for it.
    memory = estimate_memory(replace(question, work=whole if setting.sharding.stage else dealt), setting)
    # On a CPU the ranks of a machine share its memory.
    need = memory.host_bytes if setting.on_cpu else memory.peak_bytes
    return Layout(
        hardware=hardware.name,
        setting=setting,
        micro_rows=micro_rows,
        accumulation=accumulation,
        memory=memory,
        fits=need <= HEADROOM * hardware.memory_bytes and memory.host_bytes <= HEADROOM * hardware.host_bytes,
        cost=estimate_cost(
            question.shape,
            question.adaptation,
            dealt,
            setting,
            hardware,
            question.work.counted_tokens * question.work.accumulation,
        ),
    )


def _dealt(whole: Workload, share: float, longest_sample: int) -> Workload:
    """A pass where those of a step do not come out even among the ranks, so that its samples are dealt anew
    (workers/training/distributed/deal.py): that share of a whole one, but no sample is divided."""
    own = whole.row_tokens - whole.num_shared
    return whole if share == 1 else whole.resized(min(1.0, max(share, longest_sample / own)))


def as_asked(question: Question, hardware: Hardware, compute_bytes: int) -> Layout:
    """The job file to the letter: with as many ranks as it asks for and the machine has."""
    resources = question.resources
    ranks = resources.num_ranks if hardware.kind == "cpu" else min(resources.num_ranks, hardware.devices)
    sharding = sharding_of(resources.distributed)
    setting = Setting(
        compute_bytes,
        hardware.kind,
        ranks * resources.num_workers,
        resources.num_workers,
        sharding,
        question.training.gradient_checkpointing,
    )
    return lay_out(question, hardware, setting, question.rows)


def best(question: Question, hardware: Hardware, compute_bytes: int) -> Layout | None:
    """The quickest layout that fits, on all devices; None: none does."""
    fitting = [layout for layout in _layouts(question, hardware, compute_bytes) if layout.fits]
    return max(fitting, key=_goodness, default=None)


def smallest(question: Question, hardware: Hardware, compute_bytes: int) -> Layout:
    """The layout that needs least."""
    return min(_layouts(question, hardware, compute_bytes), key=lambda layout: layout.memory.peak_bytes)


def devices_needed(question: Question, hardware: Hardware, compute_bytes: int) -> int | None:
    """The smallest number of such devices, on whole machines, on which the job fits, doubling them each time; None:
    not even a thousand."""
    machines = 1
    while machines * hardware.devices <= _FURTHEST:
        resources = question.resources.model_copy(update={"num_workers": machines})
        if best(replace(question, resources=resources), hardware, compute_bytes):
            return machines * hardware.devices
        machines *= 2
    return None


def _goodness(layout: Layout) -> tuple[float, int, int, int]:
    """Quickest first; among equals the one with less machinery, then that with larger passes."""
    sharding = layout.setting.sharding
    return layout.cost.tokens_per_second, -sharding.offloads_state, -sharding.stage, layout.micro_rows


def _layouts(question: Question, hardware: Hardware, compute_bytes: int) -> Iterator[Layout]:
    machines = question.resources.num_workers
    devices = hardware.devices * machines
    total = question.rows * question.work.accumulation
    shares = [rows for rows in range(1, total + 1) if total % rows == 0 and rows <= max(1, total // devices)]
    asked = question.training.gradient_checkpointing
    ways: tuple[Checkpointing, ...] = get_args(Checkpointing)
    for checkpointing in ways[ways.index(asked) :]:
        for sharding in _shardings(question, hardware, devices):
            setting = Setting(compute_bytes, hardware.kind, devices, machines, sharding, checkpointing)
            for rows in shares:
                yield lay_out(question, hardware, setting, rows)


def _shardings(question: Question, hardware: Hardware, devices: int) -> list[Sharding]:
    """Dividing needs several devices; offloading needs a device whose memory is not the host's."""
    can_offload = hardware.kind == "gpu"
    return [
        each
        for each in question.choices
        if (devices > 1 or each.stage == 0 or (each.stage < 3 and each.offloads_state))
        and (can_offload or not each.offloads_state)
    ]
