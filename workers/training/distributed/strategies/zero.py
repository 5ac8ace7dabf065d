"""`zero`: optimizer state (stage 1), gradients (2) and weights (3) are divided among the ranks, by DeepSpeed.

Rajbhandari et al., 2019, arXiv:1910.02054. DeepSpeed averages gradients over ranks; ours are summed, so each loss is
multiplied by the number of ranks first. Checkpoints are ours, in pieces under the names of the parameters (pieces.py):
stage 3 has a flat part of each parameter on every rank, stages 1 and 2 cut all parameters, end to end, into parts. So
a run may go on in another stage or on another number of ranks, and what is not there is noticed by its name.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.runtime.utils import combine_grad_norm_groups, is_invalid_grad_norm
from deepspeed.utils import (
    logger,
    safe_get_local_fp32_param,
    safe_get_local_optimizer_state,
    safe_set_full_grad,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import nn

from luthier.spec.distributed import ZeroSpec
from workers.models.unread import is_unread
from workers.training.distributed.strategies.divided import fingerprint_of
from workers.training.distributed.strategies.nvme import check_nvme
from workers.training.distributed.strategies.partition import read_in_parts
from workers.training.distributed.strategies.replicated import check_names
from workers.training.distributed.world import World
from workers.training.pieces import Piece, Stored, whole

_STEP, _MOMENTS = "step", ("exp_avg", "exp_avg_sq")


class Zero:
    """A `Strategy`, for AdamW."""

    takes_every_round = True
    is_divided = True
    is_written_in_place = False

    @property
    def hands_out_copies(self) -> bool:
        """Of offloaded state, which DeepSpeed brings to the accelerator, or into a buffer that the next part takes."""
        return self._spec.offload_optimizer != "none"

    @property
    def reads_weights(self) -> bool:
        """In stage 3: rank 0 reads tensor by tensor, and tells the others."""
        return self._spec.stage == 3

    def __init__(self, world: World, spec: ZeroSpec) -> None:
        """`spec` is the section of the job file.

        Raises:
            ConfigError: it asks for nvme, and this worker lacks something for that.
        """
        if spec.nvme_path is not None and "nvme" in (spec.offload_optimizer, spec.offload_param):
            check_nvme(Path(spec.nvme_path))
        self._world = world
        self._spec = spec

    def loads_on(self, device: torch.device) -> torch.device:
        """Where it is trained."""
        return device

    def divide(self, model: nn.Module, compute: torch.dtype) -> torch.device:
        """DeepSpeed does so with the optimizer, in `attach`."""
        made = (parameter for parameter in model.parameters() if not is_unread(parameter))
        self._world.share(parameter for parameter in made if parameter.requires_grad)
        return next(model.parameters()).device

    def attach(
        self,
        model: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        max_grad_norm: float,
    ) -> None:
        """Hands model and optimizer to DeepSpeed, which divides them."""
        self._model = model
        self._parameters = parameters
        self._optimizer = optimizer
        logger.setLevel("WARNING")
        # On a CPU, DeepSpeed would first compile a library for messages through shared memory; gloo does as well.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        config = _config(self._spec, max_grad_norm)
        read_in_parts(model, self._world, config)
        self._engine, self._zero, *_ = deepspeed.initialize(
            model=model,
            optimizer=optimizer,
            model_parameters=list(parameters.values()),
            config=config,
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
        return fingerprint_of(self._world, self._parameters, self.weights())

    def weights(self) -> Mapping[str, Piece]:
        """This rank's part of the fp32 masters."""
        return dict(self._pieces(None))

    def optimizer_tensors(self) -> Mapping[str, Piece]:
        """Under the names that AdamW has on one rank."""
        step = next((state[_STEP] for state in self._optimizer.state.values()), None)
        if step is None:
            return {}
        steps = {f"{name}/{_STEP}": whole(step.clone()) for name in self._parameters} if self._world.is_first else {}
        return steps | {f"{name}/{key}": piece for key in _MOMENTS for name, piece in self._pieces(key)}

    def load_weights(self, weights: Mapping[str, Stored]) -> None:
        """See `Strategy`."""
        check_names(weights, self._parameters)
        for name, parameter in self._parameters.items():
            if self._spec.stage == 3:
                part = self._part(parameter, weights[name])
                safe_set_local_fp32_param(parameter, part)
                parameter.ds_tensor.data.copy_(part)  # type: ignore[attr-defined]  # what the forward pass gathers
                # Small weights stay gathered after a forward pass; that copy is out of date now.
                parameter.partition()  # type: ignore[attr-defined]
            else:
                _fill(parameter, weights[name], None)
        if self._spec.stage < 3:
            self._zero.update_lp_params()

    def load_optimizer_tensors(self, tensors: Mapping[str, Stored]) -> None:
        """See `Strategy`."""
        if not tensors:
            return
        self._begin_state(next(value for name, value in tensors.items() if name.endswith(f"/{_STEP}")).whole())
        for name, parameter in self._parameters.items():
            for key in _MOMENTS:
                stored = tensors[f"{name}/{key}"]
                if self._spec.stage == 3:
                    safe_set_local_optimizer_state(parameter, self._part(parameter, stored), key)
                else:
                    _fill(parameter, stored, key)

    def finish(self) -> None:
        """In stage 3 the weights of the whole model come back to rank 0, one by one, into the host's memory."""
        if self._spec.stage < 3:
            return
        for parameter in self._model.parameters():
            with deepspeed.zero.GatheredParameters([parameter]):
                whole = parameter.detach().to("cpu", copy=True) if self._world.is_first else None
            if whole is not None:
                parameter.data = whole

    def _pieces(self, key: str | None) -> Iterator[tuple[str, Piece]]:
        """This rank's part of the masters, or of a moment of theirs, by parameter; those of which it has any."""
        for name, parameter in self._parameters.items():
            if self._spec.stage == 3:
                start, stop = self._range(parameter)
                local = safe_get_local_optimizer_state(parameter, key) if key else safe_get_local_fp32_param(parameter)
                values = local.flatten()[: stop - start]
            elif (fragment := parameter._hp_mapping) is not None:  # type: ignore[attr-defined]
                start, values = fragment.lp_fragment_address.start, fragment.get_hp_fragment(key)
            else:
                continue
            if self.hands_out_copies:
                values = values.to("cpu", copy=True)
            if len(values):
                yield name, Piece(values, start, tuple(_shape(parameter)))

    def _begin_state(self, step: torch.Tensor) -> None:
        """Makes AdamW's state of this rank's part, which it would make with its first step."""
        stage3 = self._spec.stage == 3
        parts = self._zero.fp32_partitioned_groups_flat if stage3 else self._zero.single_partition_of_fp32_groups
        for number, flat in enumerate(parts):
            is_on_disk = stage3 and self._zero._swappable_optimizer_subgroup(number)
            if is_on_disk:
                self._zero._optimizer_states_and_gradient_swap_in(number)
            moments = {key: torch.zeros_like(flat) for key in _MOMENTS}
            self._optimizer.state[flat] = {_STEP: step.clone(), **moments}
            if is_on_disk:
                self._zero._optimizer_states_and_gradient_swap_out(number)
        if not stage3:
            self._zero._lazy_init_hp_params_optimizer_state()

    def _range(self, parameter: nn.Parameter) -> tuple[int, int]:
        """From where to where in the flattened `parameter` this rank's part is; stage 3 divides it evenly."""
        size: int = parameter.ds_tensor.numel()  # type: ignore[attr-defined]
        number = _shape(parameter).numel()
        start = min(size * self._world.rank, number)
        return start, min(start + size, number)

    def _part(self, parameter: nn.Parameter, stored: Stored) -> torch.Tensor:
        """That part of a tensor of the size of `parameter`, filled up with 0 to what every rank has in stage 3."""
        part = stored.read(*self._range(parameter))
        return nn.functional.pad(part, (0, parameter.ds_tensor.numel() - len(part)))  # type: ignore[attr-defined]


def _fill(parameter: nn.Parameter, stored: Stored, key: str | None) -> None:
    """Reads this rank's part of a master, or of its moment `key`, in stages 1 and 2."""
    fragment = parameter._hp_mapping  # type: ignore[attr-defined]
    if fragment is not None:
        address = fragment.lp_fragment_address
        fragment.get_hp_fragment(key).data.copy_(stored.read(address.start, address.start + address.numel))


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
