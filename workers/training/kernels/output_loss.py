"""Output layer and cross-entropy in one: for many tokens and a large vocabulary the logits need more than the layers.

Both ways here take the targets in chunks and compute the gradient while a chunk's logits are there, so the logits never
are as a whole (Wijmans et al., 2024, arXiv:2411.09009, and Liger, arXiv:2410.10989, say why that pays). It buys memory
for time, so it is for passes whose logits may need more than `_WORTH_BYTES`. One row per way, the quickest first; what
is chosen came to the loss and the gradient of the plain way on the run's own output layer.

Only supervised fine-tuning and pre-training ask nothing of the logits but this loss. Rows with weights of their own
take the plain way.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from luthier.spec import TrainingSpec
from workers.models.inner import inner_model
from workers.training.forward import logits_at
from workers.training.kernels.probe import TOLERANCES, described, foreign_errors, relative_error
from workers.training.objectives.sft import SummedLoss, summed_loss, target_weights
from workers.training.packing import Batch, make_batch

PLAIN = "logits"
_WORTH_BYTES = 1 << 30
_LOGIT_BYTES = 12  # an fp32 logit, its exponential and its gradient
_NUM_PROBED = 24

LossKernel = Callable[[torch.Tensor, nn.Linear, torch.Tensor], torch.Tensor]
"""Hidden states [N, width], output layer, targets [N] -> negative log-likelihood in nats, summed, fp32 scalar."""


def by_liger(hidden: torch.Tensor, layer: nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    """Liger's kernel; needs CUDA."""
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy  # here: it is an extra

    loss: torch.Tensor = liger_fused_linear_cross_entropy(
        hidden, _weight(layer, hidden), targets, layer.bias, reduction="sum", accum_dtype=torch.float32
    )
    return loss


def by_torch(hidden: torch.Tensor, layer: nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    """torch's own, a part of it since 2.13; runs on a CPU too."""
    return functional.linear_cross_entropy(
        hidden,
        _weight(layer, hidden),
        targets,
        linear_bias=layer.bias,
        reduction="sum",
        options=nn.LinearCrossEntropyOptions(),
    ).float()


def lacks_liger(device: torch.device) -> str | None:
    """Why `by_liger` cannot be used; None: it can be tried."""
    if device.type != "cuda":
        return f"runs on CUDA only, not on {device.type}"
    return None if find_spec("liger_kernel") else "the package liger-kernel is not installed"


def lacks_torch(device: torch.device) -> str | None:
    """The same for `by_torch`. It would run on a CPU, where memory is less dear than time."""
    return None if device.type == "cuda" else f"is not worth its time on {device.type}"


LOSSES: dict[str, tuple[LossKernel, Callable[[torch.device], str | None]]] = {
    "liger": (by_liger, lacks_liger),
    "torch_chunked": (by_torch, lacks_torch),
}


def choose_loss(model: nn.Module, spec: TrainingSpec, compute: torch.dtype) -> tuple[str, dict[str, str]]:
    """The way to compute the loss of `model`, and why others are not taken, by name."""
    layer = output_layer(model)
    reason = _is_not_worth_it(layer, spec) or _lacks_range(compute)
    passed_over: dict[str, str] = {}
    for name, (kernel, lacks) in LOSSES.items():
        why = lacks(_device(model)) or reason or disagreement(kernel, model, compute)
        if why is None:
            return name, passed_over
        passed_over[name] = why
    return PLAIN, passed_over


def loss_by(name: str) -> SummedLoss:
    """That way to compute the loss."""
    return summed_loss if name == PLAIN else partial(fused_loss, LOSSES[name][0])


def fused_loss(kernel: LossKernel, model: nn.Module, batch: Batch, compute: torch.dtype) -> torch.Tensor:
    """`summed_loss` without the logits."""
    if target_weights(batch) is not None:
        return summed_loss(model, batch, compute)
    layer = output_layer(model)
    assert isinstance(layer, nn.Linear)
    with _passing_through(layer):
        hidden = logits_at(model, batch, batch.predicting, compute)
    with torch.autocast(hidden.device.type, enabled=False):
        return kernel(hidden.to(compute), layer, batch.targets)


def output_layer(model: nn.Module) -> nn.Module | None:
    """What makes logits of hidden states."""
    layer: nn.Module | None = inner_model(model).get_output_embeddings()  # type: ignore[no-untyped-call]
    return layer


def disagreement(kernel: LossKernel, model: nn.Module, compute: torch.dtype) -> str | None:
    """What is wrong with a kernel: its error, or how far it is from the plain loss of this model, or from its gradient.

    Some models do more with their logits than their output layer says; their losses differ.
    """
    layer, device = output_layer(model), _device(model)
    assert isinstance(layer, nn.Linear)
    chance = torch.Generator().manual_seed(0)
    ids = torch.randint(layer.out_features, (_NUM_PROBED,), generator=chance)
    batch = make_batch([_Probed(ids.numpy().astype(np.int32), np.ones(_NUM_PROBED, bool))]).to(device)
    hidden = torch.randn(_NUM_PROBED, layer.in_features, generator=chance).to(device, compute)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            losses = [loss(model, batch, compute) for loss in (partial(fused_loss, kernel), summed_loss)]
        gradients = [_gradient(one, hidden, layer, ids.to(device)) for one in (kernel, _plainly)]
        errors = [relative_error(*losses), relative_error(*gradients)]
    except foreign_errors() as failure:
        return described(failure)
    finally:
        model.train(training)
    return (
        None
        if max(errors) <= TOLERANCES[compute]
        else f"loss and gradient differ by {errors[0]:.1e} and {errors[1]:.1e}"
    )


class _Probed(NamedTuple):
    """A `Document`."""

    input_ids: NDArray[np.int32]
    trainable: NDArray[np.bool_]


def _plainly(hidden: torch.Tensor, layer: nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    logits = functional.linear(hidden, _weight(layer, hidden), layer.bias)
    return functional.cross_entropy(logits.float(), targets, reduction="sum")


def _gradient(kernel: LossKernel, hidden: torch.Tensor, layer: nn.Linear, targets: torch.Tensor) -> torch.Tensor:
    """Of the loss in the hidden states."""
    leaf = hidden.clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(kernel(leaf, layer, targets), leaf)
    return gradient.float()


def _is_not_worth_it(layer: nn.Module | None, spec: TrainingSpec) -> str | None:
    if type(layer) is not nn.Linear:
        return "the output layer is more than a linear layer"
    num_bytes = _LOGIT_BYTES * layer.out_features * spec.pack_length * spec.per_device_train_batch_size
    if num_bytes < _WORTH_BYTES:
        return f"the logits of a pass need {num_bytes / (1 << 30):.2f} GiB at most, which is not worth its time"
    return None


def _lacks_range(compute: torch.dtype) -> str | None:
    """Gradients that are computed in the forward pass are there before a loss scale can lift them."""
    return "gradients would be lost in fp16 before the loss is scaled" if compute == torch.float16 else None


def _weight(layer: nn.Linear, hidden: torch.Tensor) -> torch.Tensor:
    return layer.weight.to(hidden.dtype)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


@contextmanager
def _passing_through(layer: nn.Linear) -> Iterator[None]:
    """Lets the layer put out what it is given."""
    layer.forward = lambda hidden: hidden  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        del layer.forward
