"""X-LoRA through PEFT: LoRA adapters that are there, mixed by a network that is trained (Buehler & Buehler, 2024,
arXiv:2402.07148). How the forward pass mixes them stands in workers/models/mixture.py.

The adapters stay as they are unless the job trains them too; then they are saved as they have become.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftModel, XLoraConfig
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from transformers import PreTrainedModel

from luthier.spec import XloraSpec
from workers.failures import ConfigError
from workers.merging.adapter import LoraAdapter
from workers.merging.origin import check_base
from workers.merging.sources import find_adapter
from workers.models.mixture import add_mixture, config_of
from workers.models.tuned import ADAPTER
from workers.task import Task

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NETWORK = "internal_xlora_classifier"


def locate_experts(spec: XloraSpec, task: Task, base: Path) -> XloraSpec:
    """`spec` with local folders as `experts`; `base` is the folder of the base model.

    Raises:
        ConfigError: a folder may not be read, holds no LoRA adapter, or one of another base model.
        DataError: an artifact is damaged.
    """
    folders = [
        find_adapter(path, f"method.experts.{number}", task, task.work_dir / f"expert-{number}")
        for number, path in enumerate(spec.experts)
    ]
    adapters = [LoraAdapter(folder, path, 1.0) for folder, path in zip(folders, spec.experts, strict=True)]
    check_base(adapters, task.spec.base_model, base)
    return spec.model_copy(update={"experts": [str(folder) for folder in folders]})


def add_xlora(model: PreTrainedModel, spec: XloraSpec) -> PeftModel:
    """Freezes `model`, adds the adapters and a fresh network in fp32 that mixes them.

    Raises:
        ConfigError: an adapter does not fit the model, or is weight-decomposed; or PEFT mixes nothing in such a model.
    """
    for path in spec.experts:
        _check_expert(model, LoraAdapter(Path(path), path, 1.0))
    config = XLoraConfig(
        task_type="CAUSAL_LM",
        hidden_size=model.config.get_text_config().hidden_size,
        adapters={str(number): path for number, path in enumerate(spec.experts)},
        layerwise_scalings=spec.layerwise_scalings,
        xlora_depth=spec.xlora_depth,
        xlora_size=spec.xlora_size,
        xlora_dropout_p=spec.xlora_dropout_p,
        softmax_temperature=spec.softmax_temperature,
        top_k_lora=spec.top_k_lora,
        use_trainable_adapters=spec.use_trainable_adapters,
    )
    dtype = model.dtype
    try:
        adapted = add_mixture(model, config)
    except ValueError as error:
        raise ConfigError(f"PEFT cannot mix adapters in base_model ({type(model).__name__}): {error}") from error
    for parameter in adapted.parameters():
        parameter.data = parameter.data.float() if parameter.requires_grad else parameter.data.to(dtype)
    return adapted


def save_xlora(model: PeftModel, _: Path, folder: Path) -> None:
    """Writes `adapter/` as plain PEFT loads it: the network, and each adapter in a folder of its own.

    Not by PEFT's `save_pretrained`, which takes the adapters' names, numbers that they must be, for those of layers: it
    leaves parts of the network out, and writes the base model into the adapters' folders.
    """
    config = config_of(model)
    out = folder / ADAPTER
    out.mkdir()
    config.save_pretrained(str(out))
    document = json.loads((out / _CONFIG).read_text())
    del document["adapters"]  # where they lay on this machine
    document["inference_mode"] = True
    (out / _CONFIG).write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    weights = {name: weight for name, weight in model.state_dict().items() if _NETWORK in name}
    _write(weights, out)
    for name, path in config.adapters.items():
        (out / name).mkdir()
        shutil.copyfile(Path(path) / _CONFIG, out / name / _CONFIG)
        if config.use_trainable_adapters:
            _write(_weights_of(model, name), out / name)
        else:
            shutil.copyfile(Path(path) / _WEIGHTS, out / name / _WEIGHTS)


def _weights_of(model: PeftModel, adapter: str) -> dict[str, torch.Tensor]:
    """A and B of every layer that has this adapter, under the names that PEFT gives them in a file."""
    inner = model.get_base_model()
    layers = {name: layer for name, layer in inner.named_modules() if isinstance(layer, LoraLayer)}
    return {
        f"base_model.model.{name}.{part}.weight": factors[adapter].get_parameter("weight")
        for name, layer in layers.items()
        for part, factors in (("lora_A", layer.lora_A), ("lora_B", layer.lora_B))
        if adapter in factors
    }


def _write(weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    tensors = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})


def _check_expert(model: PreTrainedModel, adapter: LoraAdapter) -> None:
    adapter.check_fits(model)
    decomposed = [layer for layer in adapter.layers if adapter.has_magnitude(layer)]
    if decomposed:
        raise ConfigError(
            f"adapter {adapter.name} is weight-decomposed (DoRA), which PEFT does not mix; leave it out of "
            f"method.experts"
        )
