"""What a method makes of a model: how much is trained and held, and what an adapter keeps of the layers it sits beside.

Numbers alone, never weights. `layers` is by the last part of a layer's name (`q_proj`), because blocks are equal.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from luthier.errors import InvalidRequestError
from luthier.planning.shape import Linear, ModelShape


class UnknownMethodError(InvalidRequestError):
    """There is no arithmetic for this method."""


Reads = Literal["nothing", "shared", "own", "dropped", "exact"]
"""What of a layer's input is kept for the gradient of what is trained there: nothing; the input itself, once for all
layers that read it; the same, but in fewer bits a copy for each layer; what dropout left of it, and the mask; the input
in fp32."""


@dataclass(frozen=True)
class Beside:
    """What the backward pass keeps of one kind of linear layer that is trained or has an adapter."""

    reads: Reads
    rank: float = 0
    """Width of a low-rank update between its two matrices."""
    num_outputs: float = 0
    """How many tensors as wide as the layer's output."""
    num_low_outputs: float = 0
    """The same when matrices are multiplied in fewer bits than fp32."""
    share: float = 1.0
    """Part of the blocks that the gradient goes through in which there is one."""


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
    trains_output: bool = False
    """Whether the output layer has a gradient."""
    layers: Mapping[str, Beside] = field(default_factory=dict)
    num_merged: float = 0
    """Weights in the compute dtype that each forward pass makes of frozen and trained ones, and keeps."""
    rotation_bytes: Mapping[int, float] = field(default_factory=dict)
    """Of small matrices that each forward pass makes of trained ones and keeps, by bytes of the compute dtype."""
    num_transient: float = 0
    """Weights of the widest layer that are there in the compute dtype only while it is computed with."""
    pass_flops: float = 0
    """Operations of a forward pass that do not depend on its tokens."""
    pass_elements: float = 0
    """Of matrices in the compute dtype that it reads and writes for them."""
    extra_width: float = 0
    """Elements per token and block that networks behind the parts of a block keep."""
    num_virtual_tokens: int = 0
    """Tokens that every document sees before its own."""
    lengthens_row: bool = False
    """Whether these go through the blocks as tokens of the row."""
    num_control: float = 0
    """fp32 numbers that the method keeps beside the optimizer's state."""
    part_of_blocks: float = 1.0
    """How many of the blocks, counted from the output, the gradient goes through."""
    is_exact: bool = True
    """False where the number is that of an average choice."""

    @property
    def num_trainable(self) -> float:
        """Everything that has a gradient."""
        return self.num_masters + self.num_added


def last_part(name: str) -> str:
    """`q_proj` of `model.layers.3.self_attn.q_proj`."""
    return name.rpartition(".")[2]


def block_of(name: str) -> int | None:
    """Index of the block that a module or parameter lies in; None: in none."""
    return int(name.split(".")[2]) if name.startswith("model.layers.") else None


def part_of_blocks(shape: ModelShape, names: Iterable[str]) -> float:
    """Part of the blocks from the first one that has any of these modules or parameters to the output."""
    blocks = [block for name in names if (block := block_of(name)) is not None]
    return (shape.num_layers - min(blocks, default=shape.num_layers)) / shape.num_layers


def beside(shape: ModelShape, chosen: Iterable[Linear], make: Callable[[float], Beside]) -> dict[str, Beside]:
    """`Adaptation.layers` for layers that are all treated alike; `make` is given the share of each kind."""
    parts = [part for part in chosen if block_of(part.name) is not None]
    through = part_of_blocks(shape, (part.name for part in parts)) * shape.num_layers
    counts: dict[str, int] = {}
    for part in parts:
        counts[last_part(part.name)] = counts.get(last_part(part.name), 0) + 1
    return {name: make(number / through) for name, number in counts.items()}
