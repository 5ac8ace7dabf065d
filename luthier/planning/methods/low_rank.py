"""LoRA, QLoRA and AdaLoRA: a product of two narrow matrices beside each layer."""

from luthier.planning.methods.base import Adaptation, Beside, Reads, beside, part_of_blocks
from luthier.planning.methods.targets import targets
from luthier.planning.shape import ModelShape
from luthier.spec import AdaloraSpec, LoraSpec, QloraSpec

_NF4_BYTES = 0.5
_BLOCK = 64  # weights that share a scale
_SCALES_PER_GROUP = 256  # scales that share a scale of their own, with double quantisation
_DORA_COPIES = 4
"""Of the widest matrix: that of the update, its product with the scale, its sum with the weight, and a unit matrix."""
_DORA_READS_AND_WRITES = 7
"""Of a matrix for the lengths of its rows, in each pass: the update is written, scaled (read, written) and added to the
weight (both read, the sum written), which is read."""


def lora(shape: ModelShape, section: LoraSpec) -> Adaptation:
    """r (in + out) for each layer (Hu et al., 2021), and its outputs once more with DoRA (Liu et al., 2024).

    DoRA's gradient of the magnitudes needs what the layer and what the update gives.
    """
    chosen = targets(shape, section.target_modules)
    num_added = sum(section.r * (part.num_in + part.num_out) for part in chosen)
    reads: Reads = "dropped" if section.lora_dropout else "shared"
    num_outputs = 2 if section.use_dora else 0
    decomposed = chosen if section.use_dora else []
    widest = max(part.num_in * part.num_out for part in chosen)
    matrices = 1 if shape.is_tied else 2
    if section.use_dora:
        num_added += sum(part.num_out for part in chosen)
    if section.added_tokens:
        num_added += matrices * len(section.added_tokens) * shape.hidden
    return Adaptation(
        num_frozen=shape.num_parameters,
        num_added=num_added,
        layers=beside(shape, chosen, lambda share: Beside(reads, section.r, num_outputs, share=share)),
        # PEFT puts the rows of added tokens into a copy of the whole matrix.
        num_merged=matrices * shape.vocabulary * shape.hidden if section.added_tokens else 0,
        num_transient=_DORA_COPIES * widest if section.use_dora else 0,
        # PEFT makes the update of a unit matrix.
        pass_flops=sum(2 * section.r * part.num_in * (part.num_in + part.num_out) for part in decomposed),
        pass_elements=sum(
            part.num_in * (2 * part.num_in + _DORA_READS_AND_WRITES * part.num_out) for part in decomposed
        ),
        num_control=num_added if section.borrows_start else 0,
        part_of_blocks=1.0 if section.added_tokens else part_of_blocks(shape, (part.name for part in chosen)),
    )


def qlora(shape: ModelShape, section: QloraSpec) -> Adaptation:
    """LoRA beside NF4: 4 bits a weight, and a scale for every 64 (Dettmers et al., 2023, section 3).

    A product reads its weight back in the compute dtype, one layer at a time.
    """
    plain = lora(shape, section.as_lora())
    num_packed = sum(part.num_in * part.num_out for part in shape.linears())
    scale = 1 + 4 / _SCALES_PER_GROUP if section.double_quant else 4
    return Adaptation(
        num_frozen=shape.num_parameters - num_packed,
        num_added=plain.num_added,
        packed_bytes=num_packed * (_NF4_BYTES + scale / _BLOCK),
        layers=plain.layers,
        num_merged=plain.num_merged,
        num_transient=plain.num_transient + max(part.num_in * part.num_out for part in shape.linears()),
        pass_flops=plain.pass_flops,
        pass_elements=plain.pass_elements,
        part_of_blocks=plain.part_of_blocks,
    )


def adalora(shape: ModelShape, section: AdaloraSpec) -> Adaptation:
    """r (in + out + 1) at the start (Zhang et al., 2023, section 3.1), and two averages of each for the allocator.

    They count to the end: ranks that are taken away are set to zero, and what they take up stays.
    """
    chosen = targets(shape, section.target_modules)
    num_added = sum(section.init_r * (part.num_in + part.num_out + 1) for part in chosen)
    reads: Reads = "dropped" if section.lora_dropout else "shared"
    return Adaptation(
        num_frozen=shape.num_parameters,
        num_added=num_added,
        layers=beside(shape, chosen, lambda share: Beside(reads, section.init_r, num_low_outputs=1, share=share)),
        num_control=3 * num_added,
        part_of_blocks=part_of_blocks(shape, (part.name for part in chosen)),
    )
