"""Our arm of train_throughput.py: the engine as the train stage runs it. One JSON object on stdout.

Arguments: folder of the base model, file of the chats, `lora` or `full`, number of optimizer steps, learning rate.
"""

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from support.chats import read_chats
from transformers import set_seed

from luthier.artifacts import ArtifactRef
from luthier.spec import FullSpec, LoraSpec, SftSpec, TrainingSpec
from workers.training.checkpoints import CheckpointStore
from workers.training.engine import Engine
from workers.training.methods import METHODS
from workers.training.objectives import OBJECTIVES
from workers.training.precision import choose_dtype
from workers.training.samples import Sample

METHOD_SPECS = {"lora": LoraSpec(r=8, lora_alpha=16), "full": FullSpec(type="full")}


class Watch:
    """A `Report` that notes when each step is over."""

    def __init__(self) -> None:
        self.moments = [time.perf_counter()]
        self.rows: dict[int, dict[str, float]] = {}

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        """A step is over."""
        self.moments.append(time.perf_counter())

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


def main() -> None:
    """Trains and prints seconds, losses and gradient norms by step."""
    folder, chats, name, num_steps, rate = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:6]
    device = torch.device("cpu")
    compute = choose_dtype("auto", device)
    section, method = METHOD_SPECS[name], METHODS[name]
    set_seed(1)
    model = method.adapt(method.load(folder, compute, device, section), section)
    samples = [
        Sample(number, (_document(row["input_ids"], row["trainable"]),)) for number, row in enumerate(read_chats(chats))
    ]
    spec = TrainingSpec(
        learning_rate=float(rate),
        lr_scheduler_type="constant",
        warmup_ratio=0.0,
        num_train_epochs=float(num_steps),
        pack_length=1024,
        gradient_accumulation_steps=len(samples),
        eval_steps=1_000_000,
    )
    watch = Watch()
    with tempfile.TemporaryDirectory() as scratch:
        store = CheckpointStore(f"{scratch}/checkpoints", 1, Path(scratch) / "scratch", keep=2, key=b"", report=watch)
        engine = Engine(
            model,
            samples,
            [],
            spec,
            objective=OBJECTIVES["sft"](SftSpec()),
            compute=compute,
            report=watch,
            checkpoints=store,
        )
        watch.moments = [time.perf_counter()]
        summary = engine.run()
    rows = [watch.rows[step] for step in sorted(watch.rows)]
    print(
        json.dumps(
            {
                "step_seconds": [round(float(one), 4) for one in np.diff(watch.moments)],
                "losses": [row["loss"] for row in rows],
                "grad_norms": [row["grad_norm"] for row in rows],
                "num_trainable_parameters": summary.num_trainable_parameters,
                "compute": str(compute).removeprefix("torch."),
            }
        )
    )


def _document(ids: Sequence[int], trainable: Sequence[int]) -> SimpleNamespace:
    return SimpleNamespace(input_ids=np.array(ids, np.int32), trainable=np.array(trainable, np.bool_))


if __name__ == "__main__":
    main()
