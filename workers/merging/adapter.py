"""One LoRA adapter on disk: what it says of itself, and what it changes, one matrix at a time.

Refused is all that is not a low-rank change of linear layers of this base model, by what the config asks for and by
what the file holds. Weights are safetensors; nothing else is opened.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError, safe_open
from torch import nn

from workers.failures import ConfigError
from workers.models.linear import shape_of

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_KEY = re.compile(r"base_model\.model\.(.+)\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector)")
_A, _B, _MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"

_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Starts that leave the base model's weights alone. The others save an adapter for a changed base, unless they were
converted; then the config says true."""

_UNDERSTOOD = {
    *("peft_type", "peft_version", "task_type", "inference_mode", "auto_mapping", "runtime_config"),
    *("base_model_name_or_path", "revision", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora"),
    *("lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out"),
    *("use_dora", "init_lora_weights", "eva_config", "loftq_config", "corda_config", "lora_ga_config"),
    *("megatron_core", "qalora_group_size", "ensure_weight_tying"),
}
"""Keys of the config that are accounted for here, or that change nothing once the adapter is trained."""
_NOTHING: tuple[Any, ...] = (None, False, "none", [], {})


class LoraAdapter:
    """An adapter in `folder`; `name` is how people are told of it.

    Raises:
        ConfigError: it is no plain LoRA or DoRA adapter of linear layers, or was saved as a pickle.
    """

    def __init__(self, folder: Path, name: str, weight: float) -> None:
        self.name = name
        self.weight = weight
        """What its change counts."""
        document = _read_config(folder, name)
        self.base_model: str | None = document.get("base_model_name_or_path")
        self._config = LoraConfig(
            **{
                key: document[key]
                for key in ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")
                if key in document
            }
        )
        if not (folder / _WEIGHTS).is_file():
            raise ConfigError(
                f"adapter {name} has no {_WEIGHTS}; a pickle, which can run code when it is read, is never opened: "
                "load it once with PEFT and save it again"
            )
        self._file = _open(folder / _WEIGHTS, name)
        self._parts = _sorted_by_layer(self._file.keys(), name)

    @property
    def layers(self) -> list[str]:
        """Names of the linear layers that it changes."""
        return [*self._parts]

    def has_magnitude(self, layer: str) -> bool:
        """Whether the layer is weight-decomposed (DoRA), so that its change has no low rank."""
        return _MAGNITUDE in self._parts[layer]

    def factors(self, layer: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A, fp32 [r, in], and s B, fp32 [out, r]: the change is their product, but with DoRA.

        Raises:
            ConfigError: a number in them is not finite.
        """
        down, up = self._tensor(layer, _A), self._tensor(layer, _B)
        return down, up * self._scale(layer, len(down))

    def delta(self, layer: str, weight: torch.Tensor) -> torch.Tensor:
        """fp32 [out, in]: what the adapter adds to the layer's `weight`, which has that shape.

        With DoRA that is m (W + s B A) / ||W + s B A|| - W, the norm taken of each output's weights (Liu et al., 2024,
        arXiv:2402.09353, eq. 5).

        Raises:
            ConfigError: a number in it is not finite.
        """
        down, up = self.factors(layer)
        change = up @ down
        if not self.has_magnitude(layer):
            return change
        whole = weight.float() + change
        magnitude = self._tensor(layer, _MAGNITUDE).flatten()
        stretched: torch.Tensor = (magnitude / whole.norm(dim=1))[:, None] * whole
        return stretched - weight.float()

    def check_fits(self, model: nn.Module) -> None:
        """
        Raises:
            ConfigError: `model` has no such linear layers, or of another size.
        """
        modules = dict(model.named_modules())
        for layer in self.layers:
            shapes = [tuple(self._file.get_slice(self._key(layer, part)).get_shape()) for part in (_A, _B)]
            (rank, num_inputs), (num_outputs, other_rank) = shapes
            try:
                shape = shape_of(modules[layer])
            except (KeyError, AssertionError):
                raise ConfigError(
                    f"adapter {self.name} changes {layer}, and base_model has no linear layer of that name; it is of "
                    f"another model ({self.base_model or 'it does not say which'})"
                ) from None
            if shape != (num_outputs, num_inputs) or rank != other_rank:
                raise ConfigError(
                    f"adapter {self.name} changes {layer} as one of {num_outputs} x {num_inputs}, and it is "
                    f"{shape[0]} x {shape[1]} in base_model; the adapter is of another model "
                    f"({self.base_model or 'it does not say which'})"
                )

    def _scale(self, layer: str, rank: int) -> float:
        """alpha / r, or alpha / sqrt(r) where it is rank-stabilised, by the patterns of the config."""
        patterns = self._config.alpha_pattern or {}
        alpha = patterns.get(get_pattern_key(list(patterns), layer), self._config.lora_alpha)
        return float(alpha) / (rank**0.5 if self._config.use_rslora else rank)

    def _tensor(self, layer: str, part: str) -> torch.Tensor:
        tensor: torch.Tensor = self._file.get_tensor(self._key(layer, part)).float()
        if not tensor.isfinite().all():
            raise ConfigError(f"adapter {self.name}: {layer}.{part} is not finite; its training diverged, leave it out")
        return tensor

    def _key(self, layer: str, part: str) -> str:
        return self._parts[layer][part]


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    try:
        document = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"adapter {name}: {_CONFIG} is not JSON ({error}); restore the file") from error
    kind = document.get("peft_type") if isinstance(document, dict) else None
    if kind != "LORA":
        raise ConfigError(f"adapter {name} is of the kind {kind}; only LoRA adapters will do here, leave it out")
    start = document.get("init_lora_weights", True)
    if start not in _STARTS:
        raise ConfigError(
            f"adapter {name} was started with {start}, beside base weights that were changed for it; save it again "
            "with path_initial_model_for_weight_conversion, or leave it out"
        )
    for key, value in document.items():
        if key not in _UNDERSTOOD and value not in _NOTHING:
            raise ConfigError(
                f"adapter {name} has {key} in its config, which is more than a low-rank change of linear layers; "
                "leave it out"
            )
    return dict(document)


def _open(file: Path, name: str) -> Any:
    try:
        return safe_open(file, "pt")
    except SafetensorError as error:
        raise ConfigError(f"adapter {name}: {_WEIGHTS} is damaged ({error}); restore it from a copy") from error


def _sorted_by_layer(keys: list[str], name: str) -> Mapping[str, Mapping[str, str]]:
    """`{layer: {part: key in the file}}`"""
    found: dict[str, dict[str, str]] = {}
    for key in keys:
        match = _KEY.fullmatch(key)
        if match is None:
            raise ConfigError(f"adapter {name} holds {key}, which is no part of a linear layer's update; leave it out")
        found.setdefault(match[1], {})[match[2]] = key
    if not found:
        raise ConfigError(f"adapter {name} holds no weights in {_WEIGHTS}; restore it from a copy, or leave it out")
    for layer, parts in found.items():
        if not {_A, _B} <= parts.keys():
            raise ConfigError(f"adapter {name} holds one matrix of {layer} without the other; restore it from a copy")
    return found
