"""How a base model becomes trainable and what is left of it afterwards, by the name that the job file uses.

A new method is one file with `adapt`, and with `load`, `control` and `save` where the common ones do not do, one row
here, and its section in `luthier/spec/method`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from luthier.settings import WorkerSettings
from workers.models.tuned import TunedModel
from workers.task import Task
from workers.training.methods import (
    adalora,
    bottleneck,
    custom,
    freeze,
    full,
    hft,
    ia3,
    lora,
    oft,
    prefix_tuning,
    prompt_tuning,
    qlora,
    spiel,
    xlora,
)
from workers.training.methods.adapter import save_adapter
from workers.training.methods.base import Control, NoControl, load_base
from workers.training.methods.partial import adapt_for, load_for, save_over_base


def _allowed_everywhere(spec: object, settings: WorkerSettings) -> None:
    """Every worker runs it."""


def _as_it_is(spec: object, task: Task, base: Path) -> Any:
    """It names nothing that would have to be found."""
    return spec


def _no_control(model: TunedModel, spec: object, num_steps: int) -> Control:
    return NoControl()


@dataclass(frozen=True)
class Method:
    """One method."""

    adapt: Callable[[PreTrainedModel, Any], TunedModel]
    """By the method's section, makes trainable what is to be trained, in fp32, and freezes the rest."""
    save: Callable[[Any, Path, Path], None]
    """Writes the trained model, whose base lies in the first folder, into a train artifact, the second."""
    load: Callable[[Path, torch.dtype, torch.device, Any], PreTrainedModel] = load_base
    """The base model in a folder, for matrix products in that dtype, on that device, by the method's section."""
    load_unread: Callable[[Path, torch.dtype, torch.device, Any], PreTrainedModel] | None = None
    """The same with weights that are still in their files (workers/models/unread.py), for ranks that divide them; None:
    no strategy divides what this method trains, or `adapt` looks at them."""
    control: Callable[[Any, Any, int], Control] = _no_control
    """What happens beside the optimizer, for an adapted model, the method's section and the number of steps."""
    locate: Callable[[Any, Task, Path], Any] = _as_it_is
    """The section, with local folders for what it names, by the task and the folder of the base model."""
    check: Callable[[Any, WorkerSettings], None] = _allowed_everywhere
    """Before anything else: raises ConfigError if a worker with such settings does not run it."""


METHODS: dict[str, Method] = {
    "lora": Method(
        adapt=lora.add_lora, save=save_adapter, load_unread=lora.load_unless_looked_at, control=lora.control_lora
    ),
    "adalora": Method(adapt=adalora.add_adalora, save=adalora.save_adalora, control=adalora.Allocation),
    "ia3": Method(adapt=ia3.add_ia3, save=save_adapter),
    "oft": Method(adapt=oft.add_oft, save=save_adapter),
    "full": Method(
        adapt=full.train_all, save=full.save_whole, load=full.load_masters, load_unread=full.load_masters_unread
    ),
    "freeze": Method(adapt=adapt_for(freeze.select_layers), save=save_over_base, load=load_for(freeze.select_layers)),
    "bottleneck": Method(adapt=bottleneck.add_bottlenecks, save=bottleneck.save_adapters),
    "prompt_tuning": Method(adapt=prompt_tuning.add_prompt, save=save_adapter),
    "prefix_tuning": Method(adapt=prefix_tuning.add_prefix, save=save_adapter),
    "qlora": Method(
        adapt=qlora.add_to_quantised, save=save_adapter, load=qlora.load_in_4_bits, control=qlora.control_qlora
    ),
    "custom": Method(adapt=custom.adapt_custom, save=custom.save_adapter, check=custom.allow_custom),
    "spiel": Method(adapt=spiel.add_spiel, save=save_adapter, control=spiel.control_spiel),
    "xlora": Method(adapt=xlora.add_xlora, save=xlora.save_xlora, locate=xlora.locate_experts),
    "hft": Method(adapt=adapt_for(hft.select_half), save=save_over_base, load=load_for(hft.select_half)),
}
