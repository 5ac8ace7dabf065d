"""`zero`: optimizer state (stage 1), gradients (2) and weights (3) are divided among the ranks, by DeepSpeed.

Rajbhandari et al., 2019, arXiv:1910.02054. DeepSpeed averages gradients over ranks; ours are summed, so each loss is
multiplied by the number of ranks first. Checkpoints are ours, with whole tensors under the names of the parameters: a
run may go on in another stage or on another number of ranks, and what is not there is noticed by its name.
"""

import math
from collections.abc import Mapping
from typing import Any

import deepspeed
import torch
from deepspeed.runtime.utils import combine_grad_norm_groups, is_invalid_grad_norm
from deepspeed.utils import (
    logger,
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_grad,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import nn

from luthier.spec.distributed import ZeroSpec
from workers.training.distributed.strategies.replicated import check_names
from workers.training.distributed.world import World

_STEP, _MOMENTS = "step", ("exp_avg", "exp_avg_sq")


class Zero:
    """A `Strategy`, for AdamW."""

    takes_every_round = True

    def __init__(self, world: World, spec: ZeroSpec) -> None:
        """`spec` is the section of the job file."""
        self._world = world
        self._spec = spec

    def attach(
        self,
        model: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        max_grad_norm: float,
    ) -> None:
        """Hands model and optimizer to DeepSpeed, which divides them."""
        self._world.share(parameters.values())
        self._model = model
        self._parameters = parameters
        self._optimizer = optimizer
        logger.setLevel("WARNING")
        # On a CPU, DeepSpeed would first compile a library for messages through shared memory; gloo does as well.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self._engine, self._zero, *_ = deepspeed.initialize(
            model=model,
            optimizer=optimizer,
            model_parameters=list(parameters.values()),
            config=_config(self._spec, max_grad_norm),
        )

    def backward(self, loss: torch.Tensor, *, is_last: bool) -> None:
        """With the last one, DeepSpeed sums the gradients; each rank keeps its part."""
        self._engine.set_gradient_accumulation_boundary(is_last)
        self._engine.backward(loss * self._world.size, scale_wrt_gas=False)
        self._zero.clear_backward_seen_flag()  # as its own forward pass does, which we do without

    def sum_gradients(self) -> None:
        """Done by the last `backward`."""

    def clip(self) -> float:
        """The norm alone: DeepSpeed clips as it steps."""
        stage3 = self._spec.stage == 3
        norm = combine_grad_norm_groups(self._zero._get_norm_groups()) if stage3 else self._zero.scaled_global_norm()
        return math.nan if is_invalid_grad_norm(norm) else float(norm)

    def step(self) -> None:
        """Each rank steps its part; stages 1 and 2 then hand the weights round."""
        self._engine.step()

    def forget(self, *, was_applied: bool) -> None:
        """DeepSpeed drops the gradients of a step that it took, or that has one which is no number."""
        if not was_applied:
            first = next(iter(self._parameters.values()))
            safe_set_full_grad(first, torch.full(_shape(first), math.nan))
            self._engine.step()

    def fingerprint(self) -> dict[str, float]:
        """Of the whole weights."""
        return {name: float(weight.double().square().sum()) for name, weight in self._gathered_weights()}

    def weights(self) -> Mapping[str, torch.Tensor]:
        """Gathered one by one; only rank 0 keeps them."""
        return {name: weight for name, weight in self._gathered_weights() if self._world.is_first}

    def optimizer_tensors(self) -> Mapping[str, torch.Tensor]:
        """Under the names that AdamW has on one rank."""
        tensors: dict[str, torch.Tensor] = {}
        for state in self._optimizer.state.values():
            step = state[_STEP]
            break
        else:
            return tensors
        for name, parameter in self._parameters.items():
            tensors[f"{name}/{_STEP}"] = step
            for key in _MOMENTS:
                whole = safe_get_full_optimizer_state(parameter, key)
                if self._world.is_first:
                    tensors[f"{name}/{key}"] = whole
        return tensors

    def load_weights(self, weights: Mapping[str, torch.Tensor]) -> None:
        """See `Strategy`."""
        check_names(weights, self._parameters)
        for name, parameter in self._parameters.items():
            if self._spec.stage == 3:
                part = self._part(parameter, weights[name])
                safe_set_local_fp32_param(parameter, part)
                parameter.ds_tensor.data.copy_(part)  # type: ignore[attr-defined]  # what the forward pass gathers
            else:
                safe_set_full_fp32_param(parameter, weights[name])
        if self._spec.stage < 3:
            self._zero.update_lp_params()

    def load_optimizer_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """See `Strategy`."""
        if not tensors:
            return
        self._begin_state(next(value for name, value in tensors.items() if name.endswith(f"/{_STEP}")))
        for name, parameter in self._parameters.items():
            for key in _MOMENTS:
                whole = tensors[f"{name}/{key}"]
                if self._spec.stage == 3:
                    safe_set_local_optimizer_state(parameter, self._part(parameter, whole), key)
                else:
                    safe_set_full_optimizer_state(parameter, whole, key)

    def finish(self) -> None:
        """In stage 3 the weights of the whole model come back to rank 0, one by one."""
        if self._spec.stage < 3:
            return
        for parameter in self._model.parameters():
            with deepspeed.zero.GatheredParameters([parameter]):
                whole = parameter.detach().clone() if self._world.is_first else None
            if whole is not None:
                parameter.data = whole

    def _gathered_weights(self) -> Any:
        """Names and whole weights."""
        return ((name, safe_get_full_fp32_param(parameter)) for name, parameter in self._parameters.items())

    def _begin_state(self, step: torch.Tensor) -> None:
        """Makes AdamW's state of this rank's part, which it would make with its first step."""
        stage3 = self._spec.stage == 3
        for flat in self._zero.fp32_partitioned_groups_flat if stage3 else self._zero.single_partition_of_fp32_groups:
            moments = {key: torch.zeros_like(flat) for key in _MOMENTS}
            self._optimizer.state[flat] = {_STEP: step.clone(), **moments}
        if not stage3:
            self._zero._lazy_init_hp_params_optimizer_state()

    def _part(self, parameter: nn.Parameter, whole: torch.Tensor) -> torch.Tensor:
        """This rank's part of a tensor of the size of `parameter`, which stage 3 divides evenly, filled up with 0."""
        size: int = parameter.ds_tensor.numel()  # type: ignore[attr-defined]
        part = whole.flatten()[size * self._world.rank : size * (self._world.rank + 1)]
        return nn.functional.pad(part, (0, size - part.numel()))


def _shape(parameter: nn.Parameter) -> torch.Size:
    """Of the whole parameter."""
    shape: torch.Size = getattr(parameter, "ds_shape", parameter.shape)
    return shape


def _config(spec: ZeroSpec, max_grad_norm: float) -> dict[str, Any]:
    """What DeepSpeed is told: https://www.deepspeed.ai/docs/config-json/."""
    zero: dict[str, Any] = {"stage": spec.stage}
    for name, device in (("offload_optimizer", spec.offload_optimizer), ("offload_param", spec.offload_param)):
        if device != "none":
            zero[name] = {"device": device} | ({"nvme_path": spec.nvme_path} if device == "nvme" else {})
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": max_grad_norm,
        "zero_optimization": zero,
        # The optimizer is ours, wherever its state lies.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
