"""X-LoRA: LoRA adapters that are there, mixed by a network that is trained. What they are stands in their own files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from luthier.planning.methods.base import Adaptation, Beside, UnknownMethodError, block_of, last_part
from luthier.planning.methods.targets import targets
from luthier.planning.shape import Linear, ModelShape
from luthier.spec import XloraSpec


@dataclass(frozen=True)
class Expert:
    """One of the adapters, as its adapter_config.json has it."""

    rank: int
    target_modules: str | list[str]


def read_expert(config: Mapping[str, Any]) -> Expert:
    """The adapter that an adapter_config.json describes.

    Raises:
        UnknownMethodError: it does not say what there is arithmetic for.
    """
    rank, wanted = config.get("r"), config.get("target_modules")
    if not isinstance(rank, int) or not isinstance(wanted, str | list) or config.get("rank_pattern"):
        raise UnknownMethodError(
            "no arithmetic for an adapter of method.experts whose adapter_config.json has no single r, or no "
            "target_modules. The job runs all the same"
        )
    return Expert(rank, wanted)


def xlora(shape: ModelShape, section: XloraSpec, experts: Sequence[Expert]) -> Adaptation:
    """Layers of the network: from the width of the model to as many outputs as adapters, for each layer that has any
    (Buehler & Buehler, 2024, section 2).

    Kept are its inputs and its outputs, and beside each layer what each adapter's first matrix gives; if adapters are
    trained too, also that times its share, and the layer's input.
    """
    beside = [(part, expert.rank) for expert in experts for part in targets(shape, expert.target_modules)]
    in_experts = sum(rank * (part.num_in + part.num_out) for part, rank in beside)
    mixed = {part.name: part for part, _ in beside}
    num_outputs = len(experts) * (len(mixed) if section.layerwise_scalings else 1)
    widths = [shape.hidden, *[section.xlora_size] * (section.xlora_depth - 1), num_outputs]
    network = sum((wide + 1) * narrow for wide, narrow in pairwise(widths))
    trained = section.use_trainable_adapters
    return Adaptation(
        num_frozen=shape.num_parameters + (0 if trained else in_experts),
        num_added=network + (in_experts if trained else 0),
        layers=_layers(shape, mixed.values(), beside, trained=trained),
        # The outputs before and behind the softmax, and as they are handed to the layers.
        extra_width=(sum(widths) + 2 * num_outputs) / shape.num_layers,
    )


def _layers(
    shape: ModelShape, mixed: Iterable[Linear], beside: Sequence[tuple[Linear, int]], *, trained: bool
) -> dict[str, Beside]:
    """Of the blocks' layers, by the last part of their names; their ranks are means over the blocks."""
    ranks: dict[str, float] = {}
    for part, rank in beside:
        if block_of(part.name) is not None:
            ranks[last_part(part.name)] = ranks.get(last_part(part.name), 0.0) + rank
    numbers: dict[str, int] = {}
    for part in mixed:
        numbers[last_part(part.name)] = numbers.get(last_part(part.name), 0) + 1
    return {
        name: Beside(
            "shared" if trained else "nothing",
            rank=(2 if trained else 1) * total / numbers[name],
            share=numbers[name] / shape.num_layers,
        )
        for name, total in ranks.items()
    }
