"""Our arm of train_throughput.py on a GPU: the engine with the kernels that a train stage chooses there.

Arguments: shape (support/shapes.py), file of the documents, number of optimizer steps, learning rate, device. One JSON
object on stdout, with the kernels and the operations per token of the model.
"""

import json
import sys
from pathlib import Path

import torch
from support.engine_run import run_engine
from support.shapes import random_model, read_samples

from luthier.spec import JobSpec
from workers.training.attention import register
from workers.training.kernels.choice import use_kernels
from workers.training.methods import METHODS
from workers.training.objectives.sft import Sft
from workers.training.utilisation import flops_per_token, utilisation

PACK_LENGTH = 4096


def main() -> None:
    """Trains and prints what it was like."""
    shape, documents, num_steps, rate, name = sys.argv[1:6]
    device, compute = torch.device(name), torch.bfloat16
    samples = read_samples(Path(documents))
    spec = JobSpec.model_validate(
        {
            "name": "throughput",
            "base_model": "random",
            "data": {"path": documents},
            "method": {"type": "lora", "r": 16, "lora_alpha": 32},
            "training": {
                "learning_rate": float(rate),
                "lr_scheduler_type": "constant",
                "warmup_ratio": 0.0,
                "num_train_epochs": float(num_steps),
                "pack_length": PACK_LENGTH,
                "gradient_accumulation_steps": len(samples),
                "eval_steps": 1_000_000,
            },
        }
    )
    model = METHODS["lora"].adapt(random_model(shape, device, register()), spec.method)
    kernels = use_kernels(model, spec, compute, device)
    per_token = flops_per_token(model, samples)
    result = run_engine(model, samples, spec.training, compute, Sft(spec.objective, kernels.summed_loss))
    result |= {
        "kernels": kernels.to_json(),
        "flops_per_token": per_token,
        "seconds_per_flop_at_peak": utilisation(1.0, 1.0, compute, device, 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
