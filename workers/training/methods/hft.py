"""Half fine-tuning (Hui et al., 2024, arXiv:2404.18466): one half of every block learns, the other remembers.

The choice is made within each kind of part: of a Llama block two of the four matrices of attention, one or two of the
three of the MLP, one of the two norms. Where the number is odd, half of the blocks train one more than the others.
What lies outside the blocks (embeddings, last norm, output layer) stays frozen.
"""

import random
from collections import defaultdict
from collections.abc import Mapping

from torch import nn
from transformers import PreTrainedModel

from luthier.spec import HftSpec
from workers.training.methods.blocks import blocks_of, names_of_parameters


def select_half(model: PreTrainedModel, spec: HftSpec) -> set[str]:
    """The parameters to train, the same ones for the same seed."""
    chooser = random.Random(spec.seed)  # noqa: S311  # nothing secret
    blocks = [_kinds(block) for block in blocks_of(model)]
    chosen: list[nn.Module] = []
    for kind in dict.fromkeys(kind for block in blocks for kind in block):
        generous = set(chooser.sample(range(len(blocks)), len(blocks) // 2))
        for number, block in enumerate(blocks):
            parts = block.get(kind, [])
            half = (len(parts) + (number in generous)) // 2
            chosen += chooser.sample(parts, half)
    return names_of_parameters(model, chosen)


def _kinds(block: nn.Module) -> Mapping[tuple[str, int], list[nn.Module]]:
    """The modules of a block that have weights of their own: matrices of attention, matrices of the MLP, norms.

    A kind is the part of the block that a module lies in, and the number of dimensions of its weights.
    """
    kinds: dict[tuple[str, int], list[nn.Module]] = defaultdict(list)
    for name, part in block.named_modules():
        own = [parameter.ndim for parameter in part.parameters(recurse=False)]
        if own:
            kinds[name.rpartition(".")[0], max(own)].append(part)
    return kinds
