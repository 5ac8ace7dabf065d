"""Which layers of a model get an adapter: one meaning of `target_modules` for every method that has it.

Refused here is what PEFT lets pass in silence: a name of a list that no layer has, and a rank that a layer has no room
for.
"""

import re
from collections.abc import Mapping

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from luthier.planning.suitability import did_you_mean
from workers.failures import ConfigError
from workers.models.linear import shape_of

ALL_LINEAR = "all-linear"


def target_layers(model: PreTrainedModel, targets: str | list[str]) -> dict[str, nn.Module]:
    """The linear layers that `method.target_modules` means, by their names in `model`.

    Raises:
        ConfigError: no layer has such a name, or it is an output layer that shares its weight with the embeddings.
    """
    linear: dict[str, nn.Module] = {
        name: part for name, part in model.named_modules() if isinstance(part, nn.Linear | Conv1D)
    }
    output = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if targets == ALL_LINEAR:
        return {name: part for name, part in linear.items() if part is not output}
    if isinstance(targets, str):
        found = {name: part for name, part in linear.items() if re.fullmatch(targets, name)}
        unknown = [] if found else [targets]
    else:
        found = {name: part for name, part in linear.items() if any(_is_called(name, target) for target in targets)}
        unknown = [target for target in targets if not any(_is_called(name, target) for name in linear)]
    if unknown:
        known = sorted({name.rsplit(".", 1)[-1] for name in linear})
        hint = "a regular expression must fit the whole name" if isinstance(targets, str) else ""
        raise ConfigError(
            f"method.target_modules {unknown[0]!r} does not fit this model; its linear layers are {', '.join(known)}, "
            f"the first of them {next(iter(linear))!r}; {hint or did_you_mean(unknown[0], known)}"
        )
    if model.config.tie_word_embeddings and any(part is output for part in found.values()):
        raise ConfigError(
            "method.target_modules has the output layer, whose weight is that of the embeddings too, so that an "
            "adapter of it cannot be merged; leave it out"
        )
    return found


def peft_targets(targets: str | list[str], layers: Mapping[str, nn.Module]) -> str | list[str]:
    """`targets` for PEFT, which would try a regular expression on layers that are not linear, too."""
    return targets if targets == ALL_LINEAR or isinstance(targets, list) else list(layers)


def check_rank(rank: int, layers: Mapping[str, nn.Module], field: str) -> None:
    """
    Raises:
        ConfigError: `rank`, which is `field` of the job file, is above the smaller side of a layer.
    """
    name = min(layers, key=lambda name: min(shape_of(layers[name])))
    room = min(shape_of(layers[name]))
    if rank > room:
        num_outputs, num_inputs = shape_of(layers[name])
        raise ConfigError(
            f"{field} {rank} is above the size of {name}, which is {num_outputs} x {num_inputs}; set {field} to "
            f"{room} or less, or leave that layer out of method.target_modules"
        )


def _is_called(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
