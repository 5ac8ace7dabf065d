"""Our arm of train_throughput.py: the engine as the train stage runs it. One JSON object on stdout.

Arguments: folder of the base model, file of the chats, `lora` or `full`, number of optimizer steps, learning rate, and
if need be the activation checkpointing.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from support.chats import read_chats
from support.engine_run import run_engine
from transformers import set_seed

from luthier.spec import FullSpec, JobSpec, LoraSpec, SftSpec, TrainingSpec
from workers.training.kernels.choice import use_kernels
from workers.training.methods import METHODS
from workers.training.objectives.sft import Sft
from workers.training.precision import choose_dtype
from workers.training.samples import Sample

METHOD_SPECS = {"lora": LoraSpec(r=8, lora_alpha=16), "full": FullSpec(type="full")}


def main() -> None:
    """Trains and prints seconds, losses and gradient norms by step."""
    folder, chats, name, num_steps, rate = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:6]
    device = torch.device("cpu")
    compute = choose_dtype("auto", device)
    section, method = METHOD_SPECS[name], METHODS[name]
    set_seed(1)
    model = method.adapt(method.load(folder, compute, device, section), section)
    job = {"name": "benchmark", "base_model": str(folder), "data": {"path": str(chats)}, "method": section}
    kernels = use_kernels(model, JobSpec.model_validate(job), compute, device)
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
        gradient_checkpointing=sys.argv[6] if len(sys.argv) > 6 else "none",  # type: ignore[arg-type]
    )
    print(json.dumps(run_engine(model, samples, spec, compute, Sft(SftSpec(), kernels.summed_loss))))


def _document(ids: Sequence[int], trainable: Sequence[int]) -> SimpleNamespace:
    return SimpleNamespace(input_ids=np.array(ids, np.int32), trainable=np.array(trainable, np.bool_))


if __name__ == "__main__":
    main()
