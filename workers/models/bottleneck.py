"""Bottleneck adapters (Houlsby et al., 2019, arXiv:1902.00751): a part of a block gives h + U a(D h) instead of h.

U starts at zero, so that a fresh adapter changes nothing. No library that is used here knows this kind, so the format
is our own: a folder with `adapter_config.json` (`peft_type`: `LUTHIER_BOTTLENECK`, the names of the adapted parts, the
width, the activation) and `adapter_model.safetensors`, whose tensors are `<part>.bottleneck.<down|up>.<weight|bias>`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
}
_CHILD = "bottleneck"
_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"
_INITIAL_DEVIATION = 0.01


@dataclass(frozen=True)
class BottleneckConfig:
    """What a folder says beside the weights."""

    KIND: ClassVar[str] = "LUTHIER_BOTTLENECK"

    parts: Sequence[str]
    """Modules of the base model whose output is adapted."""
    width: int
    activation: str

    def to_json(self) -> dict[str, Any]:
        """As `adapter_config.json` has it."""
        return {"peft_type": self.KIND, **asdict(self)}

    @classmethod
    def of_json(cls, document: dict[str, Any]) -> "BottleneckConfig":
        """The inverse of `to_json`."""
        return cls(**{name: document[name] for name in ("parts", "width", "activation")})


class Bottleneck(nn.Module):
    """One adapter. Its weights are fp32 until they are cast."""

    def __init__(self, size: int, width: int, activation: str, device: torch.device) -> None:
        super().__init__()
        self.down = nn.Linear(size, width, device=device, dtype=torch.float32)
        self.up = nn.Linear(width, size, device=device, dtype=torch.float32)
        self.activation = activation
        nn.init.trunc_normal_(
            self.down.weight, std=_INITIAL_DEVIATION, a=-2 * _INITIAL_DEVIATION, b=2 * _INITIAL_DEVIATION
        )
        for weight in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(weight)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., size] -> [..., size]"""
        changed: torch.Tensor = hidden + self.up(_ACTIVATIONS[self.activation](self.down(hidden)))
        return changed


def insert_bottlenecks(model: PreTrainedModel, config: BottleneckConfig) -> None:
    """Adds a fresh adapter behind each of `config.parts`, on the device of the model."""
    for name in config.parts:
        part = model.get_submodule(name)
        part.add_module(_CHILD, Bottleneck(model.config.hidden_size, config.width, config.activation, model.device))
        part.register_forward_hook(_adapt_output)


def bottleneck_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of all adapters in `model`, by name."""
    return {name: weight for name, weight in model.named_parameters() if f".{_CHILD}." in name}


def save_bottlenecks(model: PreTrainedModel, folder: Path) -> None:
    """Writes the adapters of `model` into the new folder `folder`."""
    adapters = {name: part for name, part in model.named_modules() if isinstance(part, Bottleneck)}
    first = next(iter(adapters.values()))
    parts = [name.removesuffix(f".{_CHILD}") for name in adapters]
    config = BottleneckConfig(parts, first.down.out_features, first.activation)
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in bottleneck_weights(model).items()}
    folder.mkdir(parents=True)
    save_file(tensors, folder / _WEIGHTS)
    (folder / _CONFIG).write_text(json.dumps(config.to_json(), indent=1) + "\n")


def load_bottlenecks(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """`model` with the adapters in `folder`, in its dtype."""
    config = BottleneckConfig.of_json(json.loads((folder / _CONFIG).read_text()))
    insert_bottlenecks(model, config)
    tensors = load_file(folder / _WEIGHTS)
    weights = bottleneck_weights(model)
    assert weights.keys() == tensors.keys(), "the adapter is of another base model"
    for name, weight in weights.items():
        weight.data = tensors[name].to(model.device, model.dtype)
    return model.eval()  # type: ignore[no-untyped-call, no-any-return]


def _adapt_output(part: nn.Module, _: object, output: Any) -> Any:
    """A hook: attention returns a tuple whose first member is the hidden state, other parts the hidden state."""
    adapter = part.get_submodule(_CHILD)
    return (adapter(output[0]), *output[1:]) if isinstance(output, tuple) else adapter(output)
