"""Which layers of a model a job file means, by name, as workers/training/methods/targets.py and blocks.py find them."""

import re

from luthier.errors import InvalidRequestError
from luthier.planning.methods.base import last_part
from luthier.planning.shape import Linear, ModelShape


def targets(shape: ModelShape, wanted: str | list[str]) -> list[Linear]:
    """Linear layers by the rules of PEFT: all but the output layer, ends of names, or one expression for whole names.

    Raises:
        InvalidRequestError: none fits.
    """
    layers = list(shape.linears())
    if wanted == "all-linear":
        return layers
    layers.append(Linear("lm_head", shape.hidden, shape.vocabulary))
    chosen = [part for part in layers if is_named(part.name, wanted)]
    if not chosen:
        kinds = dict.fromkeys(last_part(part.name) for part in layers)
        raise InvalidRequestError(f"method.target_modules {wanted!r} fits none of {', '.join(kinds)}")
    return chosen


def is_named(name: str, wanted: str | list[str]) -> bool:
    """Whether `wanted` means the module: one expression for its whole name, or a list of ends of names."""
    if isinstance(wanted, str):
        return re.fullmatch(wanted, name) is not None
    return any(f".{name}".endswith(f".{end}") for end in wanted)


def holders(module: str) -> list[str]:
    """The module and those that hold it: `a.b.c`, `a.b`, `a`."""
    parts = module.split(".")
    return [".".join(parts[:number]) for number in range(len(parts), 0, -1)]
