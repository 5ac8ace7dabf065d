"""What it saves that the two answers of a pair share their prompt: DPO with LoRA on SmolLM2-135M, with and without.

One pack of random pairs, a forward and a backward pass; both ways take turns in one process. Tokens are those of the
row that the model computes, padding aside; what counts is the processor's time, the median of the rounds and of the
ratio within a round. Prompts and answers are of random lengths, on average equal ones, so that a third of all tokens
are repeated ones: other data save more or less. The losses must agree. One JSON object on stdout, a table on stderr.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
from support.figures import table
from torch import nn

from luthier.settings import WorkerSettings
from luthier.spec import DpoSpec, JobSpec, LoraSpec
from workers.models import resolve_base_model
from workers.training.beginnings import shared_prefix
from workers.training.kernels.choice import use_kernels
from workers.training.methods.base import load_base
from workers.training.methods.lora import add_lora
from workers.training.objectives.dpo import make_dpo
from workers.training.objectives.pairs import Pairs
from workers.training.packing import Batch, batch_of, make_batch, own_lengths
from workers.training.samples import Sample, documents_of

_SHORTEST, _LONGEST = 16, 240
_NUM_TOKENS = 40_000
"""Of the vocabulary, that are drawn from."""
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
_TOLERANCES = {"bf16": 0.1, "fp32": 1e-5}
"""Of the losses. Log-probabilities of random answers are about a thousand, and the loss is of their differences, so in
bf16 either way is some percent off what fp32 says."""


def main() -> int:
    """Runs all rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-model", default="smollm2-135m-instruct")
    parser.add_argument("--pack-length", type=int, default=2048)
    parser.add_argument("--precision", choices=tuple(_DTYPES), default="bf16")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    compute = _DTYPES[arguments.precision]
    samples = one_pack(arguments.pack_length)
    base = load_base(resolve_base_model(arguments.base_model, WorkerSettings()), compute, torch.device("cpu"))
    model = add_lora(base, LoraSpec(type="lora", r=8))
    job = {"name": "bench", "base_model": arguments.base_model, "data": {"path": "/unused"}}
    use_kernels(model, JobSpec.model_validate(job | {"objective": {"type": "dpo"}}), compute, torch.device("cpu"))
    objective = make_dpo(DpoSpec(type="dpo"))
    objective.prepare(model, samples, one_by_one, compute)
    batches = {"each": make_batch([*documents_of(samples)]), "shared": batch_of(samples)}
    batches = {how: replace(batch, samples=tuple(samples)) for how, batch in batches.items()}
    seconds: dict[str, list[float]] = {how: [] for how in batches}
    losses: dict[str, float] = {}
    for number in range(arguments.rounds + 1):
        for how, batch in batches.items():
            losses[how], spent = one_pass(objective, model, batch, compute)
            seconds[how] += [spent] if number else []
    rows = [
        {
            "prompts": how,
            "pairs": len(samples),
            "useful_tokens": batch.num_tokens,
            "computed_tokens": batch.input_ids.numel(),
            "cpu_s": round(statistics.median(seconds[how]), 3),
            "to_each": round(
                statistics.median(one / other for one, other in zip(seconds[how], seconds["each"], strict=True)), 3
            ),
            "loss": round(losses[how], 6),
        }
        for how, batch in batches.items()
    ]
    is_equal = abs(losses["shared"] / losses["each"] - 1) < _TOLERANCES[arguments.precision]
    report = {"benchmark": "shared_prompts", "torch": torch.__version__, "precision": arguments.precision}
    print(json.dumps(report | {"equal": is_equal, "rows": rows}))
    print(table(rows), file=sys.stderr)
    return 0 if is_equal else 1


def one_pack(pack_length: int) -> list[Sample]:
    """Random pairs, one after the other while they fit."""
    rng = np.random.default_rng(0)
    samples = [random_pair(rng, number) for number in range(pack_length // _SHORTEST)]
    room = pack_length - np.cumsum(own_lengths(samples, 0))
    return samples[: int((room >= 0).argmin())]


def random_pair(rng: np.random.Generator, number: int) -> Sample:
    """A prompt and two answers to it."""
    prompt, *answers = (
        rng.integers(100, _NUM_TOKENS, length, dtype=np.int32) for length in rng.integers(_SHORTEST, _LONGEST, 3)
    )
    documents = tuple(
        SimpleNamespace(
            input_ids=np.concatenate([prompt, answer]),
            trainable=np.arange(len(prompt) + len(answer)) >= len(prompt),
        )
        for answer in answers
    )
    assert shared_prefix(documents) == len(prompt) - 1
    return Sample(number, documents)


def one_by_one(samples: Sequence[Sample]) -> Iterator[Batch]:
    """Passes of one pair each."""
    return (batch_of([sample]) for sample in samples)


def one_pass(objective: Pairs, model: nn.Module, batch: Batch, compute: torch.dtype) -> tuple[float, float]:
    """The loss, and the processor's seconds for it and its gradients."""
    model.zero_grad()
    started = time.process_time()
    loss = objective.measure(model, batch, compute).loss
    loss.backward()
    return loss.item(), time.process_time() - started


if __name__ == "__main__":
    sys.exit(main())
