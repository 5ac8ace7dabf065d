"""Adapters of the users' own: the function that a job file names, and what it trained, as a folder.

The function is code that runs on the worker, so it is called only if the worker's settings name it: here, on the way to
every call, for what a job file asks for and for what a folder says alike.

The folder has `adapter_config.json` (`peft_type`: `LUTHIER_CUSTOM`, the entry point, the options) and
`adapter_model.safetensors`: the trained parameters, by their names in the adapted model.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from workers.extensions import ExtensionPoint
from workers.failures import ConfigError

Adapt = Callable[[PreTrainedModel, Mapping[str, Any]], PreTrainedModel]
"""What a user writes: adds to the model what is to be trained, with `requires_grad`, and freezes the rest."""

METHOD_FUNCTIONS = ExtensionPoint("method.entry_point", "luthier.methods", "LUTHIER_CUSTOM_METHODS")
_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class CustomConfig:
    """Which function, and what it is given."""

    KIND: ClassVar[str] = "LUTHIER_CUSTOM"

    entry_point: str
    """As in the job file."""
    options: Mapping[str, Any]


def adapt_by(config: CustomConfig, model: PreTrainedModel) -> PreTrainedModel:
    """The model as the function leaves it. `METHOD_FUNCTIONS.check_allowed` comes before.

    Raises:
        ConfigError: there is no such function here, it raises, or it returns no model.
    """
    function = METHOD_FUNCTIONS.find(config.entry_point)
    try:
        adapted = function(model, config.options)
    # The border to code of others: whatever it raises is told to its author.
    except Exception as error:
        raise ConfigError(
            f"method.entry_point {config.entry_point!r} raised {type(error).__name__}: {error}; mend the function, or "
            f"method.options, which it was given"
        ) from error
    if not isinstance(adapted, PreTrainedModel):
        raise ConfigError(
            f"method.entry_point {config.entry_point!r} returned a {type(adapted).__name__}; it must return the model"
        )
    return adapted


def save_custom(model: nn.Module, config: CustomConfig, folder: Path) -> None:
    """Writes the new folder `folder`."""
    folder.mkdir(parents=True)
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in trained.items()}
    save_file(tensors, folder / _WEIGHTS)
    (folder / _CONFIG).write_text(json.dumps({"peft_type": config.KIND, **asdict(config)}, indent=1) + "\n")


def load_custom(model: PreTrainedModel, folder: Path, allowed: str) -> PreTrainedModel:
    """`model` with the adapter in `folder`, in its dtype.

    Raises:
        ConfigError: see `METHOD_FUNCTIONS` and `adapt_by`; or the function leaves other parameters than in training.
    """
    document = json.loads((folder / _CONFIG).read_text())
    config = CustomConfig(document["entry_point"], document["options"])
    METHOD_FUNCTIONS.check_allowed(config.entry_point, allowed)
    dtype = model.dtype
    adapted = adapt_by(config, model)
    tensors = load_file(folder / _WEIGHTS)
    trained = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    if trained.keys() != tensors.keys():
        raise ConfigError(
            f"method.entry_point {config.entry_point!r} leaves other parameters to train than it did in training; "
            f"install the version that the training had"
        )
    for name, weight in trained.items():
        weight.data = tensors[name].to(adapted.device, dtype)
    return adapted.eval()  # type: ignore[no-untyped-call, no-any-return]
