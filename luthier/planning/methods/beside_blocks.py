"""Bottleneck adapters, prompt and prefix tuning: what is trained stands behind parts of a block, or before a row."""

from luthier.planning.methods.base import Adaptation
from luthier.planning.shape import ModelShape
from luthier.spec import BottleneckSpec, PrefixTuningSpec, PromptTuningSpec


def bottleneck(shape: ModelShape, section: BottleneckSpec) -> Adaptation:
    """2 h w + h + w behind each part (Houlsby et al., 2019, section 2.1).

    Kept are its input, and what stands before and behind the activation: one tensor where the activation needs no more
    than its result.
    """
    num_parts = 2 if section.after == "both" else 1
    width, hidden = section.bottleneck_size, shape.hidden
    num_inner = 1 if section.activation == "relu" else 2
    # Before the first of them nothing has a gradient.
    untouched = 1.0 if section.after == "feed_forward" else 0.5
    return Adaptation(
        num_frozen=shape.num_parameters,
        num_added=shape.num_layers * num_parts * (2 * hidden * width + hidden + width),
        extra_width=num_parts * (hidden + num_inner * width),
        part_of_blocks=1 - untouched / shape.num_layers,
    )


def prompt_tuning(shape: ModelShape, section: PromptTuningSpec) -> Adaptation:
    """h for each virtual token (Lester et al., 2021); they are tokens of every row."""
    return Adaptation(
        num_frozen=shape.num_parameters,
        num_added=section.num_virtual_tokens * shape.hidden,
        num_virtual_tokens=section.num_virtual_tokens,
        lengthens_row=True,
    )


def prefix_tuning(shape: ModelShape, section: PrefixTuningSpec) -> Adaptation:
    """Keys and values of all blocks for each virtual token (Li & Liang, 2021), or a network that makes them.

    Of the network PEFT has an embedding as wide as the keys of a block, and two linear layers.
    """
    kept, width = 2 * shape.num_layers * shape.key_width, shape.key_width
    num_added = section.num_virtual_tokens * kept
    if section.prefix_projection:
        inner = section.encoder_hidden_size or width
        num_added = section.num_virtual_tokens * width + (width + 1) * inner + (inner + 1) * kept
    return Adaptation(
        num_frozen=shape.num_parameters, num_added=num_added, num_virtual_tokens=section.num_virtual_tokens
    )
