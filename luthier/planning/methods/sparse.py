"""SpIEL: some weights of each layer are changed, and which ones is found in training."""

from luthier.planning.methods.base import Adaptation, Beside, beside, part_of_blocks
from luthier.planning.methods.targets import targets
from luthier.planning.shape import ModelShape
from luthier.spec import SpielSpec

_POSITIONS = 4
"""fp32 numbers that take as much as the places of a change: 64 bits in the layer's matrix, and PEFT's two of 32."""
_WATCHED = 5
"""The same of a candidate: 64 bits of place, and sums of its gradients over a pass and a period, and of their
squares."""
_COPIES = 2
"""Of the widest matrix, in a backward pass: it with its changes, and its gradient."""
_RANKING = 9
"""The same while candidates are ranked: the gradient without signs, and an ordered pair of 16 bytes for each weight."""


def spiel(shape: ModelShape, section: SpielSpec) -> Adaptation:
    """r (in + out) for each layer (Ansell et al., 2024, section 3)."""
    chosen = targets(shape, section.target_modules)
    num_added = sum(section.r * (part.num_in + part.num_out) for part in chosen)
    widest = max(part.num_in * part.num_out for part in chosen)
    watches = section.selection == "accumulated_gradient"
    return Adaptation(
        num_frozen=shape.num_parameters,
        num_added=num_added,
        layers=beside(shape, chosen, lambda share: Beside("shared", share=share)),
        num_transient=(_COPIES + (_RANKING if watches else 0)) * widest,
        num_control=(_POSITIONS + (_WATCHED if watches else 0)) * num_added,
        part_of_blocks=part_of_blocks(shape, (part.name for part in chosen)),
    )
