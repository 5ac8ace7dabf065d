"""Whether fewer trips over the activations pay on a CPU: RMSNorm and SwiGLU as one autograd function each, or blocks
that torch.compile makes one program of, which needs a C++ compiler and some time for its warm-up.

A forward and a backward pass over one row with LoRA, in bf16, through some blocks of SmolLM2's shape with random
weights and a small vocabulary, so that nearly all of the time is theirs; the ways take turns in one process. What
counts is the processor's time, which other work on the machine changes least; the gain is that of the median of the
rounds. The losses must agree. One JSON object on stdout, a table on stderr.

Training uses none of this: docs/kernels.md says why. Its RMSNorm is that of workers/training/kernels/norms.py.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from support.figures import table
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, set_seed
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaMLP, LlamaRMSNorm

from luthier.spec import LoraSpec
from workers.training.attention import register
from workers.training.methods.lora import add_lora
from workers.training.objectives.sft import summed_loss
from workers.training.packing import Batch, make_batch

LENGTHS = (250, 200, 180, 120, 90, 60, 50, 40, 34)
_VOCABULARY = 4096
SMOLLM2 = {
    "vocab_size": _VOCABULARY,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
}


class RmsNorm(torch.autograd.Function):
    """Rows [T, width] in bf16, scale [width], epsilon: keeps the rows, and in fp32 one number for each alone."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, scale: torch.Tensor, epsilon: float) -> torch.Tensor:
        norm = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=torch.float32)
        factor = norm.square_().div_(rows.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(rows, scale, factor)
        return (rows * factor).to(rows.dtype).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, scale, factor = ctx.saved_tensors
        scaled = gradient * scale
        normed = rows * factor
        mean = (normed * scaled).mean(-1, keepdim=True)
        return normed.mul_(mean).neg_().add_(scaled).mul_(factor).to(rows.dtype), None, None


class SwiGlu(torch.autograd.Function):
    """silu(gate) * up, both [T, width] in bf16: keeps its inputs alone."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        gate_gradient = torch.ops.aten.silu_backward(gradient * up, gate)
        return gate_gradient, functional.silu(gate).mul_(gradient)


def main() -> int:
    """Runs all rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=list(WAYS))
    arguments = parser.parse_args()
    models = {name: make_model(arguments.layers) for name in arguments.ways}
    for name, model in models.items():
        WAYS[name](model)
    batch = make_row()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in arguments.ways}
    losses, warm_up = {}, {}
    for number in range(arguments.rounds + 1):
        for name, model in models.items():
            loss, cpu, wall = one_pass(model, batch)
            if number:
                seconds[name].append((cpu, wall))
            else:
                losses[name], warm_up[name] = loss, round(wall, 1)
    plain = seconds["plain"]
    rows = [
        {
            "way": name,
            "cpu_s": round(statistics.median(cpu for cpu, _ in found), 3),
            "wall_s": round(statistics.median(wall for _, wall in found), 3),
            "gain": round(1 - statistics.median(one[0] / other[0] for one, other in zip(found, plain, strict=True)), 3),
            "warm_up_s": warm_up[name],
            "loss": round(losses[name], 2),
        }
        for name, found in seconds.items()
    ]
    is_equal = all(abs(loss / losses["plain"] - 1) < 1e-3 for loss in losses.values())
    report = {"benchmark": "cpu_fusions", "num_layers": arguments.layers, "threads": torch.get_num_threads()}
    print(json.dumps(report | {"equal": is_equal, "rows": rows}))
    print(table(rows), file=sys.stderr)
    return 0 if is_equal else 1


def one_pass(model: nn.Module, batch: Batch) -> tuple[float, float, float]:
    """The loss, and seconds of the processor and of the clock, of a forward and a backward pass."""
    model.zero_grad()
    cpu, wall = time.process_time(), time.perf_counter()
    loss = summed_loss(model, batch, torch.bfloat16)
    loss.backward()
    return loss.item(), time.process_time() - cpu, time.perf_counter() - wall


def make_model(num_layers: int) -> PeftModel:
    """LoRA beside random weights in bf16."""
    set_seed(1)
    config = LlamaConfig(**SMOLLM2, num_hidden_layers=num_layers, attn_implementation=register())
    return add_lora(LlamaForCausalLM(config).to(torch.bfloat16), LoraSpec(r=8, lora_alpha=16)).train()


def make_row() -> Batch:
    """A row of 1,024 tokens, a third of them targets."""
    chance = np.random.default_rng(0)
    rows = [(chance.integers(0, _VOCABULARY, length), np.arange(length) >= length * 2 // 3) for length in LENGTHS]
    return make_batch([SimpleNamespace(input_ids=ids.astype(np.int32), trainable=learned) for ids, learned in rows])


def as_it_is(_: PeftModel) -> None:
    """As transformers has it."""


def with_norms(model: PeftModel) -> None:
    """One function for each RMSNorm."""
    for part in model.modules():
        if isinstance(part, LlamaRMSNorm):
            part.forward = partial(norm, part)


def with_gates(model: PeftModel) -> None:
    """One function for each SwiGLU."""
    for part in model.modules():
        if isinstance(part, LlamaMLP):
            part.forward = partial(gated, part)


def with_both(model: PeftModel) -> None:
    """Both."""
    with_norms(model)
    with_gates(model)


def compiled(model: PeftModel) -> None:
    """Each block compiled, for this one length of a row."""
    for part in model.modules():
        if isinstance(part, LlamaDecoderLayer):
            part.compile(dynamic=False)


WAYS: dict[str, Callable[[PeftModel], None]] = {
    "plain": as_it_is,
    "norms": with_norms,
    "gates": with_gates,
    "both": with_both,
    "compiled": compiled,
}


def norm(part: LlamaRMSNorm, hidden: torch.Tensor) -> torch.Tensor:
    """[1, T, width] of any dtype."""
    return RmsNorm.apply(hidden, part.weight, part.variance_epsilon)


def gated(part: LlamaMLP, hidden: torch.Tensor) -> torch.Tensor:
    """[1, T, width]"""
    return part.down_proj(SwiGlu.apply(part.gate_proj(hidden), part.up_proj(hidden)))


if __name__ == "__main__":
    sys.exit(main())
