"""Model FLOPs utilisation: which part of a GPU's peak went into what the model has to compute.

Tokens per second times operations per token, over the peak (Chowdhery et al., 2022, arXiv:2204.02311, appendix B). What
is computed twice to save memory does not count. The operations are those of the modules that are there, adapters among
them: a product of [1, in] and [in, out] costs 2 in out forwards, as much for the gradient of its input, and as much
again only if its weight is trained. So full fine-tuning comes to the paper's 6 N and LoRA to about 4 N.

Kept low on purpose where it is a matter of taste: attention counts the pairs of tokens that see each other, half of the
paper's; the output layer works on targets alone; what all documents begin with counts as not computed, and what those
of a sample begin with as computed once.
"""

from collections.abc import Sequence

import torch
from torch import nn

from luthier.planning.hardware import load_hardware
from workers.models.inner import inner_model
from workers.models.tuned import TunedModel
from workers.training.beginnings import shared_prefix
from workers.training.packing import own_lengths
from workers.training.samples import Sample, documents_of


def flops_per_token(model: TunedModel, samples: Sequence[Sample]) -> float:
    """Floating-point operations of training for one token of `samples`; `model` is as the method left it."""
    lengths = [len(document.input_ids) for document in documents_of(samples)]
    num_tokens = sum(lengths)
    num_targets = sum(sample.num_targets for sample in samples)
    part_computed = sum(own_lengths(samples, shared_prefix(documents_of(samples)))) / num_tokens
    seen = sum(length * length for length in lengths) / num_tokens / 2
    return part_computed * (_linear_flops(model, num_targets / num_tokens) + _attention_flops(model, seen))


def utilisation(
    flops_per_token: float, tokens_per_second: float, compute: torch.dtype, device: torch.device, num_ranks: int
) -> float | None:
    """The part of the peak of `num_ranks` such devices; None on a CPU, or a GPU that luthier/planning/hardware.yaml
    does not have.

    Args:
        flops_per_token: see there.
        tokens_per_second: of all ranks together.
        compute: dtype of the matrix products.
        device: of this rank.
        num_ranks: how many there are.
    """
    row = load_hardware().find(torch.cuda.get_device_name(device), 1) if device.type == "cuda" else None
    if row is None:
        return None
    tflops = row.fp32_tflops if compute == torch.float32 else row.bf16_tflops
    return flops_per_token * tokens_per_second / (tflops * 1e12 * num_ranks)


def _linear_flops(model: TunedModel, target_part: float) -> float:
    """Of all matrix products; modules come in the order of the forward pass, and before the first that is trained
    nothing flows back."""
    output = inner_model(model).get_output_embeddings()  # type: ignore[no-untyped-call]
    flows_back, total = False, 0.0
    for part in model.modules():
        trained = any(parameter.requires_grad for parameter in part.parameters(recurse=False))
        flows_back |= trained
        if isinstance(part, nn.Linear):
            product = 2.0 * part.in_features * part.out_features * (target_part if part is output else 1.0)
            total += product * (1 + flows_back + trained)
    return total


def _attention_flops(model: TunedModel, seen: float) -> float:
    """Scores and weighted sums over so many tokens, forwards and twice as much backwards."""
    config = inner_model(model).config.get_text_config()
    num_heads = config.num_attention_heads
    width: int = num_heads * (getattr(config, "head_dim", None) or config.hidden_size // num_heads)
    num_layers: int = config.num_hidden_layers
    return 3 * 4.0 * num_layers * width * seen
