"""The language-model loss of a batch, summed over its targets.

A sum, not a mean: a step may consist of several batches, and every target of the step counts the same.
"""

import torch
from peft.helpers import disable_input_dtype_casting
from torch import nn
from torch.nn import functional

from workers.training.attention import layout
from workers.training.packing import Batch


def summed_loss(model: nn.Module, batch: Batch, compute: torch.dtype) -> torch.Tensor:
    """Negative log-likelihood of the batch's targets in nats, summed, fp32 scalar.

    Only positions that predict a target go through the output layer: with a large vocabulary the others would be
    most of its cost. In bf16 trained weights, which are fp32, are cast for the products alone, once per batch
    (autocast), instead of the activations being cast up to fp32 around every adapter.

    Args:
        model: causal LM on one device, with or without adapters, with the `luthier_documents` attention.
        batch: on the same device.
        compute: dtype of the matrix products.
    """
    device = batch.input_ids.device
    low = compute != torch.float32
    with disable_input_dtype_casting(model, active=low), torch.autocast(device.type, dtype=compute, enabled=low):
        logits = model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            documents=layout(batch.lengths, batch.prefix_length, device),
            logits_to_keep=batch.predicting,
            use_cache=False,
        ).logits
    return functional.cross_entropy(logits[0].float(), batch.targets, reduction="sum")
