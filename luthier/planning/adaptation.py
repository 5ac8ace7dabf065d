"""What a method trains and what it holds, by the method's section of the job file: numbers, never weights.

A new method is one row in `ADAPTATIONS`; one without a row is named as not known instead of being guessed.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from luthier.errors import InvalidRequestError
from luthier.planning.shape import Linear, ModelShape
from luthier.spec import MethodSpec

_NF4_BYTES = 0.5
_BLOCK = 64  # weights that share a scale
_SCALES_PER_GROUP = 256  # scales that share a scale of their own, with double quantisation


class UnknownMethodError(InvalidRequestError):
    """There is no arithmetic for this method."""


@dataclass(frozen=True)
class Adaptation:
    """A model as a method leaves it. Numbers of parameters, and bytes where it says so."""

    num_frozen: float
    """Parameters of the base model in the compute dtype."""
    num_masters: float = 0
    """Parameters of the base model that are trained, in fp32."""
    num_added: float = 0
    """Trained parameters beside the base model, in fp32."""
    packed_bytes: float = 0
    """Of weights in fewer bits than the compute dtype."""
    num_cast: float = 0
    """Masters of matrices that are products: in bf16 a copy of each is made in every forward pass."""
    num_norms: float = 0
    """Norms as wide as the model, per block, whose scales are trained."""
    trains_embeddings: bool = False
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Rank of the update beside a layer, by the last part of its name."""
    trained: frozenset[str] = frozenset()
    """Linear layers that are trained themselves, by the last part of their names."""
    dropout: bool = False
    """Whether adapters drop part of their input."""
    part_of_blocks: float = 1.0
    """How many of the blocks, counted from the output, the gradient goes through."""
    is_exact: bool = True
    """False where the number is that of an average choice."""

    @property
    def num_trainable(self) -> float:
        """Everything that has a gradient."""
        return self.num_masters + self.num_added


def adapt(shape: ModelShape, method: MethodSpec) -> Adaptation:
    """What `method` makes of a model.

    Raises:
        UnknownMethodError: there is no arithmetic for it.
        InvalidRequestError: it names layers that the model does not have.
    """
    if method.type not in ADAPTATIONS:
        raise UnknownMethodError(f"no arithmetic for method.type {method.type!r} yet. The job runs all the same")
    return ADAPTATIONS[method.type](shape, method)


def _lora(shape: ModelShape, section: Any) -> Adaptation:
    """r (in + out) for each layer (Hu et al., 2021), and its outputs once more with DoRA (Liu et al., 2024)."""
    chosen = _targets(shape, section.target_modules)
    num_added = sum(section.r * (part.num_in + part.num_out) for part in chosen)
    if section.use_dora:
        num_added += sum(part.num_out for part in chosen)
    return Adaptation(
        num_frozen=shape.num_parameters,
        num_added=num_added,
        ranks={_last(part.name): section.r for part in chosen},
        dropout=section.lora_dropout > 0,
    )


def _qlora(shape: ModelShape, section: Any) -> Adaptation:
    """LoRA beside NF4: 4 bits a weight, and a scale for every 64 (Dettmers et al., 2023, section 3)."""
    beside = _lora(shape, section)
    num_packed = sum(part.num_in * part.num_out for part in shape.linears())
    scale = 1 + 4 / _SCALES_PER_GROUP if section.double_quant else 4
    return Adaptation(
        num_frozen=shape.num_parameters - num_packed,
        num_added=beside.num_added,
        packed_bytes=num_packed * (_NF4_BYTES + scale / _BLOCK),
        ranks=beside.ranks,
        dropout=beside.dropout,
    )


def _full(shape: ModelShape, _: Any) -> Adaptation:
    return _some_trained(shape, shape.parameters())


def _freeze(shape: ModelShape, section: Any) -> Adaptation:
    """The last blocks, further modules by name, and the embeddings."""
    first = shape.num_layers - section.num_trainable_layers
    wanted = section.trainable_modules
    chosen = set()
    for name in shape.parameters():
        module = name.rpartition(".")[0]
        is_late = name.startswith("model.layers.") and int(name.split(".")[2]) >= first
        is_embedding = section.train_embeddings and name == "model.embed_tokens.weight"
        if is_late or is_embedding or any(_names(holder, wanted) for holder in _holders(module)):
            chosen.add(name)
    return _some_trained(shape, chosen)


def _hft(shape: ModelShape, _: Any) -> Adaptation:
    """Half of each kind of matrix of every block; which ones, and so how large they are, is drawn by lot."""
    num_masters = shape.num_block_parameters / 2
    return Adaptation(
        num_frozen=shape.num_parameters - num_masters,
        num_masters=num_masters,
        num_cast=num_masters,
        num_norms=shape.num_norms / 2,
        trained=frozenset(_last(part.name) for part in shape.block_linears(0)),
        is_exact=False,
    )


ADAPTATIONS: dict[str, Callable[[ModelShape, Any], Adaptation]] = {
    "lora": _lora,
    "qlora": _qlora,
    "full": _full,
    "freeze": _freeze,
    "hft": _hft,
}


def _some_trained(shape: ModelShape, chosen: Iterable[str]) -> Adaptation:
    sizes = shape.parameters()
    names = set(chosen)
    num_masters = sum(math.prod(sizes[name]) for name in names)
    blocks = {int(name.split(".")[2]) for name in names if name.startswith("model.layers.")}
    embeddings = "model.embed_tokens.weight" in names
    first = 0 if embeddings else min(blocks, default=shape.num_layers)
    num_blocks = shape.num_layers - first
    norms = [name for name in names if name.endswith("layernorm.weight")]
    return Adaptation(
        num_frozen=shape.num_parameters - num_masters,
        num_masters=num_masters,
        num_cast=sum(math.prod(sizes[name]) for name in names if len(sizes[name]) == 2),
        num_norms=len(norms) / max(1, num_blocks),
        trains_embeddings=embeddings,
        trained=frozenset(_last(part.name) for part in shape.linears() if f"{part.name}.weight" in names),
        part_of_blocks=num_blocks / shape.num_layers,
    )


def _targets(shape: ModelShape, wanted: str | list[str]) -> list[Linear]:
    """Linear layers by the rules of PEFT: all but the output layer, ends of names, or one expression for whole names.

    Raises:
        InvalidRequestError: none fits.
    """
    layers = list(shape.linears())
    if wanted == "all-linear":
        return layers
    layers.append(Linear("lm_head", shape.hidden, shape.vocabulary))
    chosen = [part for part in layers if _names(part.name, wanted)]
    if not chosen:
        kinds = dict.fromkeys(_last(part.name) for part in layers)
        raise InvalidRequestError(f"method.target_modules {wanted!r} fits none of {', '.join(kinds)}")
    return chosen


def _names(name: str, wanted: str | list[str]) -> bool:
    """Whether `wanted` means the module: one expression for its whole name, or a list of ends of names."""
    if isinstance(wanted, str):
        return re.fullmatch(wanted, name) is not None
    return any(f".{name}".endswith(f".{end}") for end in wanted)


def _holders(module: str) -> list[str]:
    """The module and those that hold it: `a.b.c`, `a.b`, `a`."""
    parts = module.split(".")
    return [".".join(parts[:number]) for number in range(len(parts), 0, -1)]


def _last(name: str) -> str:
    return name.rpartition(".")[2]
