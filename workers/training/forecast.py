"""What the plan says of a run before it begins, and what the run was: both stand in its summary.

The plan is that of `luthier plan` (luthier/planning), told what only a worker knows: the lengths of the documents, the
dtype that was chosen, and how fast this machine multiplies.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from luthier.errors import InvalidRequestError
from luthier.planning.configs import find_experts, find_teacher, read_config
from luthier.planning.fit import Layout, lay_out
from luthier.planning.hardware import Hardware, load_hardware
from luthier.planning.memory import GIB
from luthier.planning.question import Question, question_of
from luthier.planning.setting import Setting
from luthier.planning.sharding import sharding_of
from luthier.planning.workload import DataFigures
from luthier.spec import GrpoSpec, JobSpec
from workers.hardware_probe import probe_cpu
from workers.training.beginnings import shared_prefix
from workers.training.packing import own_lengths
from workers.training.samples import Sample, documents_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Forecast:
    """Of one process. None: there is no arithmetic for this run, or the hardware is not in the table."""

    peak_memory_bytes: int | None
    tokens_per_second: float | None
    reason: str = ""
    """Why one is not there."""


class Trained(Protocol):
    """What a run did in its optimizer steps, over all attempts."""

    @property
    def num_trained_tokens(self) -> int:
        """Of its documents, or of prompts and answers."""

    @property
    def tokens_per_second(self) -> float:
        """More than zero."""


def forecast(
    spec: JobSpec,
    base: Path,
    samples: Sequence[Sample],
    dtype: torch.dtype,
    device: torch.device,
    *,
    num_ranks: int = 1,
    model_cache: Path | None = None,
) -> Forecast:
    """The plan for training on `samples` in `dtype`; says so in the log when it is more than the machine has.

    Args:
        spec: the job.
        base: its base model.
        samples: of the training split.
        dtype: of the matrix products.
        device: of this rank.
        num_ranks: that share the training.
        model_cache: where a teacher's config may be.
    """
    hardware = _hardware(device)
    try:
        config = read_config(base / "config.json")
        question = question_of(spec, config, figures_of(samples), find_teacher(spec, model_cache), find_experts(spec))
        layout = _layout(question, hardware, dtype, num_ranks)
    except InvalidRequestError as error:
        return Forecast(None, None, str(error))
    need = layout.memory.peak_bytes
    if need > hardware.memory_bytes:
        _log.warning(
            "this training needs about %.1f GiB by its plan, and there are %.1f: it will probably run out of memory",
            need / GIB,
            hardware.memory_gib,
        )
    if isinstance(spec.objective, GrpoSpec):
        return Forecast(need, None, "how long answers are is not known before, and so neither is the time")
    return Forecast(need, layout.cost.tokens_per_second if hardware.name else None)


def compared(planned: Forecast, trained: Trained, device: torch.device) -> dict[str, Any]:
    """`{"peak_memory_bytes": {"predicted", "actual"}, "training_seconds": {...}}`, for summary.json.

    The time is that spent in optimizer steps, over all attempts.
    """
    rate = planned.tokens_per_second
    return {
        "peak_memory_bytes": {"predicted": planned.peak_memory_bytes, "actual": peak_memory_bytes(device)},
        "training_seconds": {
            "predicted": trained.num_trained_tokens / rate if rate else None,
            "actual": trained.num_trained_tokens / trained.tokens_per_second,
        },
        "not_predicted": planned.reason or None,
    }


def peak_memory_bytes(device: torch.device) -> int:
    """The most that this process has had: resident on a CPU (VmHWM of proc(5)), allocated on a GPU.

    Not getrusage(2): its figure survives exec, so that a small runner would have the peak of whoever started it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) * 1024


def figures_of(samples: Sequence[Sample]) -> DataFigures:
    """What a plan wants to know of the data."""
    num_rows = num_tokens = num_targets = longest = 0
    for sample in samples:
        num_rows += len(sample.documents)
        num_tokens += sum(len(document.input_ids) for document in sample.documents)
        num_targets += sample.num_targets
        longest = max(longest, sample.longest)
    shared = shared_prefix(documents_of(samples)) if samples else 0
    repeated = num_tokens - num_rows * shared - sum(own_lengths(samples, shared))
    return DataFigures(num_rows, num_tokens, num_targets, longest, shared, repeated, source="the dataset")


def _layout(question: Question, hardware: Hardware, dtype: torch.dtype, num_ranks: int) -> Layout:
    setting = Setting(
        dtype.itemsize,
        hardware.kind,
        num_ranks,
        min(num_ranks, question.resources.num_workers),
        sharding_of(question.resources.distributed),
        question.training.gradient_checkpointing,
    )
    return lay_out(question, hardware, setting, question.rows)


def _hardware(device: torch.device) -> Hardware:
    """This machine's row; one without a name when the table has no such accelerator, whose speed means nothing."""
    if device.type == "cpu":
        return probe_cpu()
    found = load_hardware().find(torch.cuda.get_device_name(device), 1)
    if found is not None:
        return found
    size = torch.cuda.get_device_properties(device).total_memory / GIB
    return Hardware(name="", memory_gib=size, bf16_tflops=1, fp32_tflops=1, bandwidth_gb_s=1, efficiency=1)
