"""Bottleneck adapters (Houlsby et al., 2019, arXiv:1902.00751). What they are stands in workers/models/bottleneck.py.

Unlike in the paper, norms stay frozen.
"""

from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from luthier.spec import BottleneckSpec
from workers.failures import ConfigError
from workers.models.bottleneck import BottleneckConfig, insert_bottlenecks, save_bottlenecks
from workers.models.tuned import ADAPTER
from workers.training.methods.blocks import blocks_of

_ATTENTION = ("self_attn", "attn", "attention", "self_attention")
_FEED_FORWARD = ("mlp", "feed_forward", "ffn", "block_sparse_moe")
_PARTS = {"attention": _ATTENTION, "feed_forward": _FEED_FORWARD}
"""How architectures call the parts of a block."""


def add_bottlenecks(model: PreTrainedModel, spec: BottleneckSpec) -> PreTrainedModel:
    """Freezes `model` and adds the adapters in fp32.

    Raises:
        ConfigError: an adapter would be as wide as the model, or the blocks are not built of parts that are known.
    """
    if spec.bottleneck_size >= model.config.hidden_size:
        raise ConfigError(
            f"method.bottleneck_size {spec.bottleneck_size} is no bottleneck of base_model, whose width is "
            f"{model.config.hidden_size}; lower it"
        )
    parts = _parts(model, spec)
    model.requires_grad_(False)
    insert_bottlenecks(model, BottleneckConfig(parts, spec.bottleneck_size, spec.activation))
    return model


def save_adapters(model: PreTrainedModel, _: Path, folder: Path) -> None:
    """Writes `adapter/`, as `workers.models.tuned` loads it."""
    save_bottlenecks(model, folder / ADAPTER)


def _parts(model: PreTrainedModel, spec: BottleneckSpec) -> list[str]:
    names = {part: name for name, part in model.named_modules()}
    kinds = list(_PARTS) if spec.after == "both" else [spec.after]
    return [names[_part(block, kind, model)] for block in blocks_of(model) for kind in kinds]


def _part(block: nn.Module, kind: str, model: PreTrainedModel) -> nn.Module:
    for name, part in block.named_children():
        if name in _PARTS[kind]:
            return part
    children = ", ".join(name for name, _ in block.named_children())
    raise ConfigError(
        f"base_model ({model.config.model_type}) has blocks of {children}, "
        f"none of which is known as {kind.replace('_', '-')}; use another method, or method.after"
    )
