"""IA3 and OFT: what goes into a layer or comes out of it is multiplied, by a vector or by small rotations."""

from luthier.errors import InvalidRequestError
from luthier.planning.methods.base import Adaptation, Beside, beside, part_of_blocks
from luthier.planning.methods.targets import is_named, targets
from luthier.planning.shape import Linear, ModelShape
from luthier.spec import Ia3Spec, OftSpec

_FP32, _LOW = 4, 2
_FEED_FORWARD = ["down_proj"]
_AUTO: dict[str, str] = dict.fromkeys(("llama", "mistral"), "k_proj") | dict.fromkeys(
    ("qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"), "q_proj"
)
"""What PEFT names for a family beside `v_proj` and `down_proj` (peft/utils/constants.py); else the job file has to."""


def ia3(shape: ModelShape, section: Ia3Spec) -> Adaptation:
    """One number per output, or per input of the layers of the feed-forward part (Liu et al., 2022, section 3.3).

    The gradient of a scale needs what it scales: an output, or an input in fp32.

    Raises:
        InvalidRequestError: `target_modules` is `auto`, and PEFT does not know the family.
    """
    is_auto = section.target_modules == "auto"
    if is_auto and shape.family not in _AUTO:
        raise InvalidRequestError(f"method.target_modules 'auto' is not known for {shape.family}; name the layers")
    chosen = targets(shape, [_AUTO[shape.family], "v_proj", *_FEED_FORWARD] if is_auto else section.target_modules)
    inputs = _FEED_FORWARD if is_auto else section.feedforward_modules or []

    def scales_input(part: Linear) -> bool:
        return is_named(part.name, inputs)

    layers = beside(shape, (part for part in chosen if scales_input(part)), lambda share: Beside("exact", share=share))
    layers |= beside(
        shape,
        (part for part in chosen if not scales_input(part)),
        lambda share: Beside("nothing", num_outputs=1, share=share),
    )
    return Adaptation(
        num_frozen=shape.num_parameters,
        num_added=sum(part.num_in if scales_input(part) else part.num_out for part in chosen),
        layers=layers,
        part_of_blocks=part_of_blocks(shape, (part.name for part in chosen)),
    )


def oft(shape: ModelShape, section: OftSpec) -> Adaptation:
    """b (b - 1) / 2 for each block of b inputs (Qiu et al., 2023, section 3.4).

    Kept are the powers of the skew-symmetric blocks that the sum is made of (with an inverse: what solves it), and the
    rotation; in fewer bits a cast of each factor of each product.
    """
    chosen = targets(shape, section.target_modules)
    side = section.oft_block_size
    num_blocks = {part.name: 1 if section.block_share else part.num_in // side for part in chosen}
    entries = sum(num_blocks.values()) * side * side
    rotations = sum(part.num_in * side for part in chosen) if section.block_share else entries
    if section.use_cayley_neumann:
        terms = section.num_cayley_neumann_terms
        exact, low = (terms - 2) * entries, 2 * (terms - 2) * entries
    else:
        exact, low = 3 * entries, 6 * entries  # in fp32 in both
    return Adaptation(
        num_frozen=shape.num_parameters,
        num_added=sum(number * side * (side - 1) // 2 for number in num_blocks.values()),
        layers=beside(shape, chosen, lambda share: Beside("own", share=share)),
        rotation_bytes={_FP32: _FP32 * (exact + rotations), _LOW: _LOW * (low + rotations)},
        part_of_blocks=part_of_blocks(shape, (part.name for part in chosen)),
    )
