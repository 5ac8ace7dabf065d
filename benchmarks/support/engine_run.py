"""One run of our engine, as the train stage does it, timed by step."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from luthier.artifacts import ArtifactRef
from luthier.spec import SftSpec, TrainingSpec
from workers.training.checkpoints import CheckpointStore
from workers.training.engine import Engine
from workers.training.forecast import peak_memory_bytes
from workers.training.objectives import Objective
from workers.training.objectives.sft import Sft
from workers.training.samples import Sample


class Watch:
    """A `Report` that notes when each step is over."""

    def __init__(self) -> None:
        self.moments = [time.perf_counter()]
        self.cpu_seconds = [time.process_time()]
        self.rows: dict[int, dict[str, float]] = {}

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        """A step is over."""
        self.moments.append(time.perf_counter())
        self.cpu_seconds.append(time.process_time())

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Of a step."""
        self.rows.setdefault(step, {}).update(values)

    def checkpoint(self, ref: ArtifactRef, step: int) -> None:
        """Nobody resumes this."""

    def retire(self, uris: Sequence[str]) -> None:
        """The folder goes as a whole."""

    def should_stop(self) -> bool:
        """Never."""
        return False


def run_engine(
    model: nn.Module,
    samples: Sequence[Sample],
    spec: TrainingSpec,
    compute: torch.dtype,
    objective: Objective | None = None,
) -> dict[str, Any]:
    """Trains; returns seconds, losses and gradient norms by step, the processor's seconds of a usual step, not the
    first, the peak of the process and the number of trained parameters."""
    watch = Watch()
    with tempfile.TemporaryDirectory() as scratch:
        store = CheckpointStore(f"{scratch}/checkpoints", 1, Path(scratch) / "scratch", keep=2, key=b"", report=watch)
        engine = Engine(
            model,
            samples,
            [],
            spec,
            objective=objective or Sft(SftSpec()),
            compute=compute,
            report=watch,
            checkpoints=store,
        )
        watch.moments, watch.cpu_seconds = [time.perf_counter()], [time.process_time()]
        summary = engine.run()
    rows = [watch.rows[step] for step in sorted(watch.rows)]
    return {
        "step_seconds": [round(float(one), 4) for one in np.diff(watch.moments)],
        "step_cpu_seconds": round(float(np.median(np.diff(watch.cpu_seconds)[1:])), 4),
        "peak_memory_bytes": peak_memory_bytes(next(model.parameters()).device),
        "losses": [row["loss"] for row in rows],
        "grad_norms": [row["grad_norm"] for row in rows],
        "num_trainable_parameters": summary.num_trainable_parameters,
        "compute": str(compute).removeprefix("torch."),
    }
