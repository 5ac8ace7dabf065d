"""Where the parts of a decoder are: its blocks, and modules by name."""

import re
from collections.abc import Iterable

from torch import nn
from transformers import PreTrainedModel

from workers.failures import ConfigError


def blocks_of(model: PreTrainedModel) -> list[nn.Module]:
    """The blocks, from the input to the output.

    Raises:
        ConfigError: the model is not built of as many equal blocks as its config says.
    """
    number = getattr(model.config, "num_hidden_layers", None)
    for part in model.modules():
        if isinstance(part, nn.ModuleList) and len(part) == number:
            return list(part)
    raise ConfigError(f"base_model ({model.config.model_type}) has no list of {number} blocks; use another method")


def find_modules(model: nn.Module, wanted: list[str] | str) -> dict[str, nn.Module]:
    """Modules by name.

    Args:
        model: where to look.
        wanted: names, or ends of names that begin at a dot; or one regular expression for whole names.

    Raises:
        ConfigError: one of them matches nothing.
    """
    modules = {name: part for name, part in model.named_modules() if name}
    if isinstance(wanted, str):
        found = {name: part for name, part in modules.items() if re.fullmatch(wanted, name)}
        missing = [] if found else [wanted]
    else:
        found = {name: part for name, part in modules.items() if any(f".{name}".endswith(f".{end}") for end in wanted)}
        missing = [end for end in wanted if not any(f".{name}".endswith(f".{end}") for name in found)]
    if missing:
        last_parts = sorted({name.rsplit(".", 1)[-1] for name in modules} - {str(number) for number in range(1000)})
        raise ConfigError(
            f"method.trainable_modules: {missing[0]!r} is not in this model; its modules are {', '.join(last_parts)}"
        )
    return found


def names_of_parameters(model: nn.Module, modules: Iterable[nn.Module]) -> set[str]:
    """The parameters of these modules, as `model.named_parameters()` calls them: shared ones have one name."""
    inside = {id(parameter) for module in modules for parameter in module.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in inside}
