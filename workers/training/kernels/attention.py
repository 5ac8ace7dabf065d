"""Who computes attention: one row per kernel, the quickest first, and the probe that decides.

A row says why it cannot run here, if it knows. What is left computes a small row of documents beside the plain kernel,
forwards and backwards, on the device and in the dtype of the run; the first that comes to the same numbers is taken. So
a build that fails, or computes something else, costs speed and never the result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from workers.training.kernels import flex, grouped, varlen
from workers.training.kernels.contract import Attend, Wanted
from workers.training.kernels.probe import TOLERANCES, described, foreign_errors, relative_error
from workers.training.layout import Documents, layout

_LENGTHS = (150, 150, 40, 7, 1)
_PREFIX_LENGTH = 20
_NUM_VIRTUAL = 3


@dataclass(frozen=True)
class AttentionKernel:
    """One way to compute attention."""

    attend: Attend
    lacks: Callable[[Wanted], str | None]
    """Why it cannot be used for that; None: it can be tried."""


def _nothing(_: Wanted) -> None:
    return None


EVERYWHERE = "grouped"
"""The kernel that always runs, and that the others are compared with."""

# The names become part of those of attention implementations, where transformers looks for the word "flash".
ATTENTION: dict[str, AttentionKernel] = {
    "torch_varlen": AttentionKernel(partial(varlen.attend, varlen.by_torch), varlen.lacks_torch),
    "fa_varlen": AttentionKernel(partial(varlen.attend, varlen.by_flash_attn), varlen.lacks_flash_attn),
    "flex": AttentionKernel(flex.attend, flex.lacks),
    EVERYWHERE: AttentionKernel(grouped.attend, _nothing),
}


def choose_attention(wanted: Wanted) -> tuple[str, dict[str, str]]:
    """The first kernel that does what is wanted, and why those before it do not, by name."""
    passed_over: dict[str, str] = {}
    for name, kernel in ATTENTION.items():
        reason = None if name == EVERYWHERE else kernel.lacks(wanted) or disagreement(kernel.attend, wanted)
        if reason is None:
            break
        passed_over[name] = reason
    return name, passed_over


def disagreement(attend: Attend, wanted: Wanted) -> str | None:
    """What is wrong with a kernel: its error, or how far output or gradients are from the plain kernel's in fp32."""
    try:
        error = _largest_error(attend, wanted)
    except foreign_errors() as failure:
        return described(failure)
    if error <= TOLERANCES[wanted.dtype]:
        return None
    return f"its numbers differ by {error:.1e} from those of plain PyTorch"


def _largest_error(attend: Attend, wanted: Wanted) -> float:
    """The largest difference of output and gradients, each as a part of its largest number."""
    documents = layout(_LENGTHS, _PREFIX_LENGTH, wanted.device)
    chance = torch.Generator().manual_seed(0)
    shapes = [
        (1, number, tokens, wanted.head_dim)
        for number, tokens in (
            (wanted.num_heads, sum(documents.stretches)),
            *((wanted.num_key_heads, sum(documents.stretches)),) * 2,
            *((wanted.num_key_heads, _NUM_VIRTUAL),) * 2,
        )
    ]
    values = [torch.randn(shape, generator=chance).to(wanted.device, wanted.dtype) for shape in shapes]
    ours = _results(attend, documents, values)
    expected = _results(grouped.attend, documents, [value.float() for value in values])
    return max(relative_error(our, other) for our, other in zip(ours, expected, strict=True))


def _results(attend: Attend, documents: Documents, values: list[torch.Tensor]) -> list[torch.Tensor]:
    """The output, and the gradients of query, key, value and the virtual pair."""
    leaves = [value.clone().requires_grad_() for value in values]
    query, key, value, *virtual = leaves
    with torch.enable_grad():
        output = attend(query, key, value, documents, (virtual[0], virtual[1]), query.shape[-1] ** -0.5, 0.0)
        # A plain sum would not notice outputs in the wrong places.
        weights = torch.linspace(-1.0, 1.0, output.shape[1], device=output.device)[None, :, None, None]
        gradients = torch.autograd.grad((output.float() * weights).sum(), leaves)
    return [output.detach(), *gradients]
