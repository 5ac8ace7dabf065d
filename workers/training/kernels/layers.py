"""RMSNorm, SwiGLU and rotary positions as one kernel each: Liger's (Hsu et al., 2024, arXiv:2410.10989), on CUDA.

Liger's own function for the model's family replaces them in the model that is given; families that it does not know,
and models whose blocks a method has rebuilt, stay as transformers has them. Before that, its kernels are compared with
the formulas on the device and in the dtype of the run. Rotary positions are replaced in the module of the family, so
for every model of it in this process.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from workers.training.kernels.contract import Wanted
from workers.training.kernels.probe import TOLERANCES, described, foreign_errors, relative_error

PLAIN, LIGER = "transformers", "liger"
_NUM_ROWS, _EPSILON, _BASE = 40, 1e-6, 10_000.0


def choose_layers(model: PreTrainedModel, wanted: Wanted) -> tuple[str, dict[str, str]]:
    """Gives `model`, which has no adapter around it, quicker layers where there are any.

    Returns:
        `liger`, or `transformers` and why not the other.
    """
    reason = _lacks(model, wanted.device) or disagreement(wanted, model.config.get_text_config().hidden_size)
    if reason is not None:
        return PLAIN, {LIGER: reason}
    replace_layers(model)
    return LIGER, {}


def replace_layers(model: PreTrainedModel) -> None:
    """Liger's layers in place of those of `model`, with the same weights and adapters. The loss stays ours."""
    from liger_kernel.transformers import _apply_liger_kernel_to_instance  # as transformers' Trainer calls it

    _apply_liger_kernel_to_instance(model, cross_entropy=False, fused_linear_cross_entropy=False)


def disagreement(wanted: Wanted, width: int) -> str | None:
    """What is wrong with the kernels: an error, or how far they are from the formulas. `width` is that of the model."""
    try:
        errors = _errors(wanted, width)
    except foreign_errors() as failure:
        return described(failure)
    wrong = [f"{name} by {error:.1e}" for name, error in errors.items() if error > TOLERANCES[wanted.dtype]]
    return f"its numbers differ: {', '.join(wrong)}" if wrong else None


def _lacks(model: PreTrainedModel, device: torch.device) -> str | None:
    if device.type != "cuda":
        return f"runs on CUDA only, not on {device.type}"
    if not find_spec("liger_kernel"):
        return "the package liger-kernel is not installed"
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN  # here: it is an extra

    if model.config.model_type not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        return f"knows no models of type {model.config.model_type}"
    rebuilt = [name for name, part in model.named_modules() if _is_rebuilt(name, part)]
    return f"the method has rebuilt {rebuilt[0]}" if rebuilt else None


def _is_rebuilt(name: str, part: nn.Module) -> bool:
    """Whether what the family's code expects to be its own is something else."""
    return name.endswith((".mlp", "norm")) and not type(part).__module__.startswith("transformers.")


def _errors(wanted: Wanted, width: int) -> dict[str, float]:
    """By layer: how far values and gradients are from those of the formulas in fp32."""
    from liger_kernel.transformers import functional as liger  # here: it is an extra

    chance = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=chance).to(wanted.device, wanted.dtype)

    rows, gate, scale = draw(_NUM_ROWS, width), draw(_NUM_ROWS, width), draw(width)
    queries, keys = (draw(1, number, _NUM_ROWS, wanted.head_dim) for number in (wanted.num_heads, wanted.num_key_heads))
    cos, sin = (part.to(wanted.device, wanted.dtype) for part in _angles(wanted.head_dim))
    pairs = {
        "RMSNorm": (lambda x, w: liger.liger_rms_norm(x, w, _EPSILON), _rms_norm, (rows, scale)),
        "SwiGLU": (liger.liger_swiglu, _swiglu, (gate, rows)),
        "rotary positions": (
            lambda q, k: torch.cat(liger.liger_rope(q, k, cos, sin), dim=1),
            lambda q, k: _rotated(torch.cat([q, k], dim=1), cos.to(q.dtype), sin.to(q.dtype)),
            (queries, keys),
        ),
    }
    return {
        name: max(
            relative_error(ours, expected)
            for ours, expected in zip(
                _results(kernel, values), _results(formula, [value.float() for value in values]), strict=True
            )
        )
        for name, (kernel, formula, values) in pairs.items()
    }


def _results(compute: Callable[..., torch.Tensor], values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The output and the gradients of `values`."""
    leaves = [value.clone().requires_grad_() for value in values]
    with torch.enable_grad():
        # Kernels work in place on what they are given: the leaves stay whole behind a copy.
        output = compute(*(leaf.clone() for leaf in leaves))
        weights = torch.linspace(-1.0, 1.0, output.numel(), device=output.device).view(output.shape)
        gradients = torch.autograd.grad((output.float() * weights).sum(), leaves)
    return [output.detach(), *gradients]


def _rms_norm(rows: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Zhang & Sennrich, 2019, arXiv:1910.07467."""
    return functional.rms_norm(rows, scale.shape, scale, _EPSILON)


def _swiglu(gate: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Shazeer, 2020, arXiv:2002.05202."""
    return functional.silu(gate) * rows


def _angles(head_dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [1, rows, head_dim] of the first positions (Su et al., 2021, arXiv:2104.09864)."""
    frequencies = _BASE ** -(torch.arange(0, head_dim, 2) / head_dim)
    angles = (torch.arange(_NUM_ROWS)[:, None] * frequencies).repeat(1, 2)[None]
    return angles.cos(), angles.sin()


def _rotated(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """[1, heads, rows, head_dim], each pair of halves turned by the angle of its row."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], dim=-1) * sin
