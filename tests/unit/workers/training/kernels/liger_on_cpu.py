"""A process that runs Liger's kernels on the CPU, through Triton's interpreter: prints one JSON object of errors.

The interpreter is chosen by an environment variable that Triton reads when it is imported, so this is no pytest module.
"""

import json

import torch
import triton
import triton.language as tl
from liger_kernel.ops import geglu, rms_norm
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from triton.runtime import interpreter

from luthier.spec import LoraSpec
from tests.unit.workers.training.tiny_run import make_documents
from workers.training.attention import register
from workers.training.kernels import layers, output_loss
from workers.training.kernels.contract import Wanted
from workers.training.kernels.probe import relative_error
from workers.training.methods.lora import add_lora
from workers.training.objectives.sft import summed_loss
from workers.training.packing import make_batch

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma", "gemma3_text", "phi3")
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "sliding_window": 64,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}


class Scalar(float):
    """A number that Triton's compiler makes of a float, and its interpreter does not."""

    def to(self, _: object) -> "Scalar":
        return self


@triton.jit
def root(x):  # type: ignore[no-untyped-def]
    """The reciprocal square root."""
    return 1.0 / tl.sqrt(x)


@triton.jit
def tanh(x):  # type: ignore[no-untyped-def]
    """By the logistic function."""
    return 2.0 / (1.0 + tl.exp(-2.0 * x)) - 1.0


def fill_gaps() -> None:
    """What the interpreter lacks of the compiler: scalars, and functions that CUDA brings along."""
    convert = interpreter._implicit_cvt
    interpreter._implicit_cvt = lambda value: Scalar(value) if type(value) is float else convert(value)
    rms_norm.rsqrt = root
    geglu.tanh = tanh


def main() -> None:
    """Prints what is wrong with each kernel, and how far each family is from itself with Liger's layers."""
    fill_gaps()
    wanted = Wanted(torch.device("cpu"), torch.float32, num_heads=4, num_key_heads=2, head_dim=8, has_dropout=False)
    found = {
        "layers": layers.disagreement(wanted, 32),
        "loss": output_loss.disagreement(output_loss.by_liger, make_model("llama"), torch.float32),
        "families": {family: error_of(family) for family in FAMILIES},
    }
    print(json.dumps(found))


def error_of(family: str) -> float:
    """Of the loss and of the gradients of all adapters, the largest."""
    model = add_lora(make_model(family), LoraSpec(r=4, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    before = loss_and_gradients(model)
    layers.replace_layers(model.get_base_model())
    return max(relative_error(*pair) for pair in zip(loss_and_gradients(model), before, strict=True))


def make_model(family: str) -> PreTrainedModel:
    """Two layers of random weights."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES)
    return AutoModelForCausalLM.from_config(config, attn_implementation=register()).eval()


def loss_and_gradients(model: torch.nn.Module) -> list[torch.Tensor]:
    """Of a batch of short documents."""
    model.zero_grad()
    loss = summed_loss(model, make_batch(make_documents(6)), torch.float32)
    loss.backward()
    return [loss.detach(), *(one.grad for one in model.parameters() if one.grad is not None)]


if __name__ == "__main__":
    main()
