"""Loads what training left. Apart from load.py, because importing PEFT takes seconds.

A train artifact has an adapter beside its base model or a model of its own, and `load_tuned` is the only place that
tells the two apart.
"""

import json
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from workers.models.bottleneck import BottleneckConfig, load_bottlenecks
from workers.models.custom import CustomConfig, load_custom
from workers.models.load import load_model
from workers.models.mixture import KIND, load_mixture
from workers.models.virtual_tokens import open_virtual_tokens

ADAPTER, MODEL = "adapter", "model"
"""Folders of a train artifact; it has one of them."""

TunedModel = PeftModel | PreTrainedModel


def load_tuned(base: Path, trained: Path, dtype: torch.dtype, custom_methods: str = "") -> TunedModel:
    """The tuned model in the train artifact `trained`, in evaluation mode, on the CPU, weights in `dtype`.

    Args:
        base: folder of the base model; not read when the artifact has a model of its own.
        trained: what the train stage published.
        dtype: of base and adapter alike: what autocast makes of the trained float32 weights in training.
        custom_methods: the worker's setting; an adapter of another function is refused.

    Raises:
        ConfigError: see `load_custom`.
    """
    if (trained / MODEL).is_dir():
        return load_model(trained / MODEL, dtype)
    return load_adapted(base, trained / ADAPTER, dtype, custom_methods)


def load_adapted(base: Path, adapter: Path, dtype: torch.dtype, custom_methods: str = "") -> TunedModel:
    """The base model with an adapter beside it, as `load_tuned` returns it.

    `adapter` is as PEFT saves it, a mixture with its adapters in folders of its own, or of one of the two kinds that
    PEFT does not know: bottleneck adapters, and those of a function of the user's own.
    """
    kind = json.loads((adapter / "adapter_config.json").read_text())["peft_type"]
    if kind == BottleneckConfig.KIND:
        return load_bottlenecks(load_model(base, dtype), adapter)
    if kind == CustomConfig.KIND:
        return load_custom(load_model(base, dtype), adapter, custom_methods)
    if kind == KIND:
        return load_mixture(load_model(base, dtype), adapter)
    model = PeftModel.from_pretrained(
        load_model(base, dtype), str(adapter), autocast_adapter_dtype=False, local_files_only=True
    )
    model.eval()
    return open_virtual_tokens(model)
