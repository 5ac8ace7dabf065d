"""Full fine-tuning, freezing and half fine-tuning: weights of the base model itself are trained."""

import math
from collections.abc import Iterable

from luthier.planning.methods.base import Adaptation, Beside, beside, block_of, last_part, part_of_blocks
from luthier.planning.methods.targets import holders, is_named
from luthier.planning.shape import ModelShape
from luthier.spec import FreezeSpec, FullSpec, HftSpec

_EMBEDDINGS, _OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


def full(shape: ModelShape, _: FullSpec) -> Adaptation:
    """Every weight."""
    return _some_trained(shape, shape.parameters())


def freeze(shape: ModelShape, section: FreezeSpec) -> Adaptation:
    """The last blocks, further modules by name, and the embeddings."""
    first = shape.num_layers - section.num_trainable_layers
    chosen = set()
    for name in shape.parameters():
        block = block_of(name)
        is_late = block is not None and block >= first
        is_embedding = section.train_embeddings and name == _EMBEDDINGS
        module = name.rpartition(".")[0]
        if is_late or is_embedding or any(is_named(holder, section.trainable_modules) for holder in holders(module)):
            chosen.add(name)
    return _some_trained(shape, chosen)


def hft(shape: ModelShape, _: HftSpec) -> Adaptation:
    """Half of each kind of matrix of every block; which ones, and so how large they are, is drawn by lot."""
    num_masters = shape.num_block_parameters / 2
    return Adaptation(
        num_frozen=shape.num_parameters - num_masters,
        num_masters=num_masters,
        num_cast=num_masters,
        num_norms=shape.num_norms / 2,
        layers={last_part(part.name): Beside("own", share=0.5) for part in shape.block_linears(0)},
        is_exact=False,
    )


def _some_trained(shape: ModelShape, chosen: Iterable[str]) -> Adaptation:
    sizes = shape.parameters()
    names = set(chosen)
    num_masters = sum(math.prod(sizes[name]) for name in names)
    trains_embeddings = _EMBEDDINGS in names
    through = 1.0 if trains_embeddings else part_of_blocks(shape, names)
    norms = [name for name in names if name.endswith("layernorm.weight")]
    linears = [part for part in shape.linears() if f"{part.name}.weight" in names]
    layers = beside(shape, linears, lambda share: Beside("own", share=share))
    return Adaptation(
        num_frozen=shape.num_parameters - num_masters,
        num_masters=num_masters,
        num_cast=sum(math.prod(sizes[name]) for name in names if len(sizes[name]) == 2),
        num_norms=len(norms) / max(1.0, through * shape.num_layers),
        trains_embeddings=trains_embeddings,
        trains_output=(_EMBEDDINGS if shape.is_tied else _OUTPUT) in names,
        layers=layers,
        part_of_blocks=through,
    )
