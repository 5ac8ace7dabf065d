"""The plan of one job: what it needs as it stands, what is best on each hardware, what would fit if nothing does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from luthier.planning.fit import HEADROOM, Layout, as_asked, best, devices_needed, smallest
from luthier.planning.hardware import Hardware, HardwareTable
from luthier.planning.memory import GIB
from luthier.planning.methods import adapt
from luthier.planning.question import Question, question_of
from luthier.planning.sharding import CHOICES, sharding_of
from luthier.planning.workload import DataFigures
from luthier.spec import DistillationSpec, GrpoSpec, JobSpec, QloraSpec
from luthier.spec.plan import lessons_stage


@dataclass(frozen=True)
class JobPlan:
    """Numbers of parameters, and layouts."""

    num_parameters: int
    num_trainable: int
    data: DataFigures
    currency: str
    asked: tuple[Layout, ...]
    """The job file to the letter, on one device of each hardware."""
    best: tuple[Layout, ...]
    """The quickest layout that fits, of each hardware that has one."""
    cheapest: str | None
    """Name of the hardware; None: nothing fits, or no price or length is known."""
    quickest: str | None
    advice: tuple[str, ...]
    """What would fit, when nothing does."""
    notes: tuple[str, ...]
    """What is not known or not in the figures."""


def plan_job(
    spec: JobSpec,
    config: Mapping[str, Any],
    data: DataFigures,
    table: HardwareTable,
    teacher: Mapping[str, Any] | None = None,
    experts: Sequence[Mapping[str, Any]] = (),
) -> JobPlan:
    """The plan of `spec`; the arguments are those of `question_of`, and what to compare.

    Raises:
        UnknownModelError: there is no arithmetic for the model.
        UnknownMethodError: there is none for the method or the objective.
        InvalidRequestError: the job names layers that the model does not have.
    """
    question = question_of(spec, config, data, teacher, experts)
    asked = [as_asked(question, row, _compute_bytes(spec, row)) for row in table.hardware]
    found = [best(question, row, _compute_bytes(spec, row)) for row in table.hardware]
    fitting = tuple(layout for layout in found if layout is not None)
    priced = [layout for layout in fitting if layout.cost.price is not None]
    return JobPlan(
        num_parameters=question.shape.num_parameters,
        num_trainable=round(question.adaptation.num_trainable),
        data=data,
        currency=table.currency,
        asked=tuple(asked),
        best=fitting,
        cheapest=min(priced, key=lambda layout: layout.cost.price or 0.0).hardware if priced else None,
        quickest=max(fitting, key=lambda layout: layout.cost.tokens_per_second).hardware if fitting else None,
        advice=() if fitting else tuple(_advise(spec, question, table)),
        notes=tuple(_notes(spec, question, data)),
    )


def _notes(spec: JobSpec, question: Question, data: DataFigures) -> list[str]:
    """What is not known or not in the figures."""
    notes = []
    if not question.adaptation.is_exact:
        notes.append(f"{spec.method.title} chooses by lot; its numbers are those of the average")
    if isinstance(spec.objective, GrpoSpec):
        notes.append("how long answers are is not known before: their longest length counts, and time is not planned")
    elif question.work.num_steps is None:
        notes.append("time, cost and energy need the length of the data: give --data-report, or training.max_steps")
    if data.num_targets is None:
        notes.append("every token is taken for a target of the loss, because the data is not known")
    if lessons_stage(spec) == "teach":
        notes.append("the stage teach, in which the teacher answers, is not in the figures: they are of the training")
    elif isinstance(spec.objective, DistillationSpec) and question.teacher is None:
        notes.append(f"the memory of the teacher, {spec.objective.teacher}, is not counted: its config is not here")
    return notes


def _compute_bytes(spec: JobSpec, hardware: Hardware) -> int:
    """Of the dtype that the job gets there: with `auto` the faster one."""
    if spec.training.precision == "auto":
        return 2 if hardware.bf16_tflops >= hardware.fp32_tflops else 4
    return {"bf16": 2, "fp16": 2, "fp32": 4}[spec.training.precision]


def _advise(spec: JobSpec, question: Question, table: HardwareTable) -> list[str]:
    """For the hardware with most memory: shorter rows, weights in 4 bits, more devices; what is needed otherwise."""
    row = max(table.hardware, key=lambda each: each.memory_bytes * each.devices)
    size = _compute_bytes(spec, row)
    advice = [_shortage(smallest(question, row, size), row)]
    length = spec.training.pack_length
    while spec.training.packing and length // 2 >= max(8, question.work.document_tokens):
        length //= 2
        shorter = replace(question, work=question.work.resized(length / spec.training.pack_length))
        if best(shorter, row, size):
            advice.append(f"it fits with training.pack_length: {length}, if no row of the data is longer")
            break
    if spec.method.type != "qlora":
        packed = replace(question, adaptation=adapt(question.shape, QloraSpec(type="qlora")))
        layout = best(packed, row, size)
        if layout:
            need = layout.memory.peak_bytes / GIB
            advice.append(f"it fits with method.type: qlora, which needs {need:.1f} GiB there")
    divided = replace(question, choices=tuple(sharding_of(section) for section in CHOICES))
    if layout := best(divided, row, size):
        strategy = layout.setting.sharding
        advice.append(
            f"it fits with resources.distributed.type: {strategy.strategy}, which this job file is not accepted with: "
            f"that takes method.type lora or full, training.optim adamw and training.precision bf16 or fp32"
        )
    if row.kind == "gpu":
        number = devices_needed(question, row, size)
        if number:
            machines = number // row.devices
            advice.append(f"it fits on {number} such devices: resources.num_workers: {machines} of {row.name}")
    return advice


def _shortage(least: Layout, hardware: Hardware) -> str:
    """What is lacking, on the hardware with most memory: that of a device, or that of the machine around it."""
    memory, setting = least.memory, least.setting
    text = (
        f"the least that this job needs on {hardware.name} is {memory.peak_bytes / GIB:.1f} GiB of memory per device, "
        f"of {HEADROOM * hardware.memory_gib:.1f} GiB that a plan may use"
    )
    if hardware.kind == "gpu" and memory.host_bytes > HEADROOM * hardware.host_bytes:
        text += (
            f", and with {setting.sharding} {memory.host_bytes / GIB:.0f} GiB of the machine's memory, of "
            f"{HEADROOM * hardware.host_bytes / GIB:.0f} GiB"
        )
    return text
