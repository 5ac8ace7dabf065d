"""Whether a job fits the workers there are, told when it is submitted: a warning, or a refusal if the job asks for one.

Memory alone is looked at. A worker that runs out of it tries again with smaller passes by itself, so a warning is no
failure; but the time until then is lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.errors import InvalidRequestError
from luthier.planning.fit import as_asked, best, smallest
from luthier.planning.hardware import Hardware, HardwareTable
from luthier.planning.memory import GIB
from luthier.planning.question import Question, question_of
from luthier.planning.suitability import check_suits
from luthier.planning.workload import DataFigures
from luthier.spec import JobSpec

_LOW = 2  # bytes: with precision auto the least that it can be


@dataclass(frozen=True)
class Machine:
    """A registered worker."""

    worker_classes: Sequence[str]
    memory_bytes: int
    accelerator: str = ""
    num_accelerators: int = 0


def check_fit(spec: JobSpec, config: Mapping[str, Any], machines: Sequence[Machine], table: HardwareTable) -> str:
    """What to tell whoever submits the job; empty when it fits one of `machines`, or when nobody can say.

    Raises:
        UnsuitableError: it cannot run with this model anywhere.
        InvalidRequestError: it fits none, and `resources.when_too_large` is `refuse`.
    """
    check_suits(spec, config)
    found = [_hardware(machine, table) for machine in machines if spec.resources.worker_class in machine.worker_classes]
    known = [row for row in found if row is not None]
    if not known or len(known) < len(found):
        return ""
    try:
        question = question_of(spec, config, DataFigures())
    except InvalidRequestError:
        return ""
    size = 4 if spec.training.precision == "fp32" else _LOW
    if any(as_asked(question, row, size).memory.peak_bytes <= row.memory_bytes for row in known):
        return ""
    largest = max(known, key=lambda row: row.memory_bytes)
    text = (
        f"training needs about {as_asked(question, largest, size).memory.peak_bytes / GIB:.1f} GiB as the job file has "
        f"it, and the largest {spec.resources.worker_class} worker has {largest.memory_gib:.1f}; "
    ) + _remedy(question, largest, size)
    if spec.resources.when_too_large == "refuse":
        raise InvalidRequestError(text)
    return text


def _remedy(question: Question, hardware: Hardware, size: int) -> str:
    layout = best(question, hardware, size)
    if layout is None:
        least = smallest(question, hardware, size).memory.peak_bytes / GIB
        return f"no setting of its passes brings it below {least:.1f} GiB: see luthier plan for what would fit"
    fields = layout.job_file()
    return "it fits with " + ", ".join(f"{name}: {value}" for name, value in fields.items())


def _hardware(machine: Machine, table: HardwareTable) -> Hardware | None:
    """Its memory as a row of the table; None where it is not known, or the table does not know the accelerator."""
    if machine.num_accelerators and "gpu" in machine.worker_classes:
        return table.find(machine.accelerator, 1)
    if not machine.memory_bytes:
        return None
    memory = machine.memory_bytes / GIB
    return Hardware(
        name="worker", kind="cpu", memory_gib=memory, bf16_tflops=1, fp32_tflops=1, bandwidth_gb_s=1000, efficiency=1
    )
