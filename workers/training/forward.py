"""One forward pass over a batch, up to the logits that a loss looks at. Every objective that reads tokens uses it."""

import torch
from peft.helpers import disable_input_dtype_casting
from torch import nn
from torch.nn import functional

from workers.training.kernels.cross_entropy import target_nll
from workers.training.layout import layout, padding_of
from workers.training.packing import Batch


def target_logits(model: nn.Module, batch: Batch, compute: torch.dtype) -> torch.Tensor:
    """fp32 [N, vocabulary]: what the model predicts at the place of each of the batch's targets.

    Only positions that predict a target go through the output layer: with a large vocabulary the others would be
    most of its cost. In bf16 trained weights, which are fp32, are cast for the products alone, once per batch
    (autocast), instead of the activations being cast up to fp32 around every adapter.

    Args:
        model: causal LM on one device, with or without adapters, with the `luthier_documents` attention.
        batch: on the same device.
        compute: dtype of the matrix products.
    """
    return logits_at(model, batch, batch.predicting, compute).float()


def logits_at(model: nn.Module, batch: Batch, places: torch.Tensor, compute: torch.dtype) -> torch.Tensor:
    """[len(places), outputs]: what the output layer says at these places of the row, int64, in its own dtype."""
    device = batch.input_ids.device
    padding = padding_of(batch.input_ids.shape[1])
    low = compute != torch.float32
    with disable_input_dtype_casting(model, active=low), torch.autocast(device.type, dtype=compute, enabled=low):
        logits: torch.Tensor = model(
            # Zero is a token and a position that every model has.
            input_ids=functional.pad(batch.input_ids, (0, padding)),
            position_ids=functional.pad(batch.position_ids, (0, padding)),
            documents=layout(batch.lengths, batch.prefix_length, device, padding, batch.beginnings),
            logits_to_keep=places,
            use_cache=False,
        ).logits.squeeze(0)  # whose gradient is a view as well; that of an index is a copy among zeros
    return logits


def target_losses(model: nn.Module, batch: Batch, compute: torch.dtype) -> torch.Tensor:
    """fp32 [N]: negative log-likelihood of each of the batch's targets in nats."""
    return target_nll(logits_at(model, batch, batch.predicting, compute), batch.targets)


def document_log_probs(model: nn.Module, batch: Batch, compute: torch.dtype) -> torch.Tensor:
    """fp32 [D]: log-probability of the targets of each document, summed, in the order of `batch.documents`."""
    return -by_document(target_losses(model, batch, compute), batch)


def by_document(values: torch.Tensor, batch: Batch) -> torch.Tensor:
    """fp32 [D]: `values`, fp32 [N], of the targets of each document, summed, in the order of `batch.documents`."""
    # A product, not a scatter: the order in which it adds up is fixed, whatever the number of threads.
    return values @ functional.one_hot(batch.owners, batch.num_documents).to(values.dtype)
