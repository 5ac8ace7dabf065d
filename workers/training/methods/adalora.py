"""AdaLoRA through PEFT: W x + (alpha / r0) P E Q x, and less and less of E (Zhang et al., 2023, arXiv:2303.10512).

PEFT has the layers and the allocator, and leaves to the loop when it is asked. Two things are done here because that
loop is ours: the penalty that keeps P and Q orthogonal, which PEFT adds only to a loss that the model itself computes;
and the allocator's memory, which goes into checkpoints. A third because PEFT takes factors without a row for those of a
sharded model, and warns of them: a layer that has no rank left is saved as one that has no adapter.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from peft import AdaLoraConfig, PeftModel
from peft.tuners.adalora import AdaLoraLayer, AdaLoraModel
from transformers import PreTrainedModel

from luthier.spec import AdaloraSpec
from workers.failures import ConfigError
from workers.training.methods.adapter import attach, save_adapter
from workers.training.methods.targets import check_rank, peft_targets, target_layers

_ADAPTER = "default"
_log = logging.getLogger(__name__)


def add_adalora(model: PreTrainedModel, spec: AdaloraSpec) -> PeftModel:
    """Freezes `model` and adds updates of rank `init_r` with E at zero.

    Raises:
        ConfigError: `target_modules` names a layer that the model does not have, or one smaller than `init_r`.
    """
    layers = target_layers(model, spec.target_modules)
    check_rank(spec.init_r, layers, "method.init_r")
    config = AdaLoraConfig(
        task_type="CAUSAL_LM",
        init_r=spec.init_r,
        target_r=spec.target_r,
        lora_alpha=spec.lora_alpha,  # type: ignore[arg-type, unused-ignore]
        lora_dropout=spec.lora_dropout,
        target_modules=peft_targets(spec.target_modules, layers),
        deltaT=spec.delta_t,
        beta1=spec.beta1,
        beta2=spec.beta2,
        orth_reg_weight=spec.orth_reg_weight,
        total_step=1,  # PEFT wants one; Allocation, which knows the number of steps, sets it
    )
    return attach(model, config)


def save_adalora(model: PeftModel, base: Path, folder: Path) -> None:
    """As `save_adapter`, after training. Layers of rank 0 lose their adapter, and stand in `exclude_modules`."""
    config, inner = model.peft_config[_ADAPTER], model.get_base_model()
    assert isinstance(config, AdaLoraConfig)
    kept = {name: pattern for name, pattern in (config.rank_pattern or {}).items() if any(pattern)}
    empty = sorted(name.partition(".lora_E")[0] for name in (config.rank_pattern or {}).keys() - kept.keys())
    for name in empty:
        layer = inner.get_submodule(name)
        assert isinstance(layer, AdaLoraLayer)
        inner.set_submodule(name, layer.get_base_layer())
    config.rank_pattern, config.exclude_modules = kept, empty or None
    save_adapter(model, base, folder)


class Allocation:
    """A `Control` that shares the ranks out after every optimizer step."""

    rate_ratios: Mapping[str, float] = MappingProxyType({})

    def __init__(self, model: PeftModel, spec: AdaloraSpec, num_steps: int) -> None:
        """
        Raises:
            ConfigError: the steps leave none in which ranks could be taken away.
        """
        config, tuner = model.peft_config[_ADAPTER], model.base_model
        assert isinstance(config, AdaLoraConfig)
        assert isinstance(tuner, AdaLoraModel)
        config.total_step = self._num_steps = num_steps
        try:
            config.tinit, config.tfinal = spec.fixed_steps(num_steps)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        self._config, self._tuner, self._allocator = config, tuner, tuner.rankallocator

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Nothing."""

    def before_step(self, step: int) -> None:
        """Adds the gradient of the mean over all P and Q of |P' P - I| and |Q Q' - I| (Frobenius), as PEFT does."""
        if self._config.orth_reg_weight == 0:
            return
        factors = [
            (name, parameter)
            for name, parameter in self._tuner.named_parameters()
            if parameter.requires_grad and (".lora_A." in name or ".lora_B." in name)
        ]
        for name, parameter in factors:
            rows = parameter if ".lora_A." in name else parameter.T
            distance = torch.linalg.matrix_norm(rows @ rows.T - torch.eye(len(rows), device=rows.device))
            (self._config.orth_reg_weight / len(factors) * distance).backward()

    def after_step(self, step: int) -> None:
        """Measures what every weight means to the loss, and allocates where it is due.

        The last allocation is not missed, though the step at which it was due may have been skipped.
        """
        last = self._num_steps - self._config.tfinal
        number = step + 1  # counted from 1, so that the last step is not after the last allocation
        if number >= last and not self._is_settled():
            number = last
            if not self._allocator.exp_avg_ipt:
                self._allocator.update_ipt(self._tuner.model)  # type: ignore[no-untyped-call]
        self._tuner.update_and_allocate(number)  # type: ignore[no-untyped-call]

    def _is_settled(self) -> bool:
        """Whether the last allocation was made: it forgets what led to it."""
        return self._config.rank_pattern is not None and not self._allocator.exp_avg_ipt

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """fp32 `sensitivity/<parameter>` and `uncertainty/<parameter>`, and bool `kept/<parameter>` once ranks were
        allocated."""
        kept = self._config.rank_pattern or {}
        return {
            **{f"sensitivity/{name}": tensor for name, tensor in self._allocator.exp_avg_ipt.items()},
            **{f"uncertainty/{name}": tensor for name, tensor in self._allocator.exp_avg_unc.items()},
            **{f"kept/{name}": torch.tensor(pattern) for name, pattern in kept.items()},
        }

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Goes on from such a state."""
        parameters = dict(self._tuner.model.named_parameters())
        kept: dict[str, list[bool]] = {}
        for key, tensor in tensors.items():
            kind, name = key.split("/", 1)
            if kind == "kept":
                kept[name] = tensor.tolist()
                continue
            memory = self._allocator.exp_avg_ipt if kind == "sensitivity" else self._allocator.exp_avg_unc
            memory[name] = tensor.to(parameters[name].device, copy=True)
            self._allocator.ipt[name] = torch.zeros_like(memory[name])
        self._config.rank_pattern = kept or None

    def finish(self) -> None:
        """Writes into the adapter's config which singular values there are: those of the best weights."""
        values = {name: value for name, value in self._tuner.model.named_parameters() if ".lora_E." in name}
        kept = {name: (value != 0).flatten().tolist() for name, value in values.items()}
        self._config.rank_pattern = kept
        mean = sum(sum(pattern) for pattern in kept.values()) / len(kept)
        if mean > self._config.target_r:
            _log.warning(
                "the best weights are from before the ranks were all taken away: %.1f on average, not method.target_r "
                "(%d); raise method.tfinal, so that more of the training has the final ranks",
                mean,
                self._config.target_r,
            )
