"""`fsdp`: weights, gradients and optimizer state are divided among the ranks by torch's FSDP2, each tensor by its rows.

Zhao et al., 2023, arXiv:2304.11277; torch.distributed.fsdp.fully_shard. Each block of the decoder is gathered by
itself, and what is around the blocks (embeddings, head) together. Blocks are gathered in the dtype of the matrix
products, into which autocast would cast them anyway; what is around them is gathered as it is kept, so the residual
stream is what it is on one rank. Gradients are summed in fp32, after every backward pass: none is whole for longer.

A rank reads its rows alone of weights that are still in their files, tensor by tensor, when all is divided; what is
already in the host's memory goes over to an accelerator block by block.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from luthier.spec.distributed import FsdpSpec
from workers.models.inner import inner_model
from workers.models.unread import Unread
from workers.training.distributed.strategies.divided import fingerprint_of
from workers.training.distributed.strategies.late import fill, set_aside
from workers.training.distributed.strategies.replicated import check_names
from workers.training.distributed.world import World
from workers.training.methods.blocks import blocks_of
from workers.training.pieces import Piece, Stored, whole


class Fsdp:
    """A `Strategy`."""

    takes_every_round = True
    is_divided = True
    hands_out_copies = False
    reads_weights = True

    def __init__(self, world: World, spec: FsdpSpec) -> None:
        """`spec` is the section of the job file."""
        self._world = world
        self._spec = spec
        self.is_written_in_place = spec.offload == "cpu"

    def loads_on(self, _: torch.device) -> torch.device:
        """In the host's memory: the accelerator need not have room for all of it."""
        return torch.device("cpu")

    def divide(self, model: nn.Module, compute: torch.dtype) -> torch.device:
        """Makes every parameter a DTensor and every block, and the model, an FSDPModule.

        Raises:
            ConfigError: the model is not built of blocks.
        """
        late = set_aside(model)
        made = (parameter for parameter in model.parameters() if parameter.device.type != "meta")
        self._world.share(parameter for parameter in made if parameter.requires_grad)
        device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
        mesh = init_device_mesh(device.type, (self._world.size,))
        offload = CPUOffloadPolicy() if self._spec.offload == "cpu" and device.type == "cuda" else OffloadPolicy()
        # Autocast decides what is computed in which dtype; FSDP only what is sent.
        exact = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
        low = MixedPrecisionPolicy(param_dtype=compute, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for block in blocks_of(inner_model(model)):
            reshard = self._spec.reshard_after_forward
            if compute != torch.float32 and (norms := _norms(block)):
                fully_shard(norms, mesh=mesh, mp_policy=exact, offload_policy=offload, reshard_after_forward=reshard)
            fully_shard(block, mesh=mesh, mp_policy=low, offload_policy=offload, reshard_after_forward=reshard)
        fully_shard(model, mesh=mesh, mp_policy=exact, offload_policy=offload)
        for part in _parts(model):
            # Sums, not means: the loss is divided by the weight of the whole step. gloo knows no other sum.
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
        for weight in late:
            fill(weight, torch.device("cpu") if isinstance(offload, CPUOffloadPolicy) else device, self._fill)
        self._model = model
        return device

    def attach(
        self,
        model: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        optimizer: torch.optim.Optimizer,
        max_grad_norm: float,
    ) -> None:
        """See `Strategy`."""
        self._parameters = parameters
        self._optimizer = optimizer
        self._max_grad_norm = max_grad_norm

    def backward(self, loss: torch.Tensor, *, is_last: bool) -> None:
        """Sums the gradients over the ranks as well; each keeps its rows."""
        loss.backward()  # type: ignore[no-untyped-call]

    def sum_gradients(self) -> None:
        """Done by every `backward`."""

    def clip(self) -> float:
        """See `Strategy`."""
        norm = torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._max_grad_norm)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def step(self) -> None:
        """Each rank steps its rows."""
        self._optimizer.step()

    def forget(self, *, was_applied: bool) -> None:
        """See `Strategy`."""
        self._optimizer.zero_grad(set_to_none=True)

    def fingerprint(self) -> dict[str, float]:
        """Of the whole weights."""
        return fingerprint_of(self._world, self._parameters, self.weights())

    def weights(self) -> Mapping[str, Piece]:
        """This rank's rows."""
        pieces = {name: self._piece(parameter) for name, parameter in self._parameters.items()}
        return {name: piece for name, piece in pieces.items() if len(piece.values)}

    def optimizer_tensors(self) -> Mapping[str, Piece]:
        """This rank's rows of what is as large as the parameter; the rest is the same on every rank."""
        tensors = {}
        for name, parameter in self._parameters.items():
            for key, value in self._optimizer.state[parameter].items():
                if not isinstance(value, DTensor):
                    if self._world.is_first:
                        tensors[f"{name}/{key}"] = whole(value)
                elif len((piece := self._piece(value)).values):
                    tensors[f"{name}/{key}"] = piece
        return tensors

    def load_weights(self, weights: Mapping[str, Stored]) -> None:
        """See `Strategy`."""
        check_names(weights, self._parameters)
        for part in _parts(self._model):
            part.reshard()  # what was gathered before is out of date
        for name, parameter in self._parameters.items():
            self._fill(parameter, weights[name])

    def load_optimizer_tensors(self, tensors: Mapping[str, Stored]) -> None:
        """See `Strategy`."""
        for full_name, stored in tensors.items():
            name, key = full_name.rsplit("/", 1)
            parameter = self._parameters[name]
            if stored.shape == tuple(parameter.shape):
                state = torch.zeros_like(parameter, requires_grad=False)
                self._fill(state, stored)
            else:
                state = stored.whole().to(_local(parameter).device, copy=True)
            self._optimizer.state[parameter][key] = state

    def finish(self) -> None:
        """The model becomes a plain one again, on rank 0 in the host's memory; on the others it is empty."""
        parts = list(_parts(self._model))
        for part in parts:
            part.reshard()
        plain: dict[int, nn.Parameter] = {}  # one for all the places of a tied weight
        for module in self._model.modules():
            for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
                if id(parameter) not in plain:
                    gathered = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
                    values = gathered.detach().cpu() if self._world.is_first else torch.empty(0)
                    plain[id(parameter)] = nn.Parameter(values, requires_grad=parameter.requires_grad)
                module.register_parameter(name, plain[id(parameter)])
        for part in parts:
            _make_plain(part)

    def _piece(self, tensor: torch.Tensor) -> Piece:
        return Piece(_local(tensor).flatten(), self._start(tensor), tuple(tensor.shape))

    def _fill(self, tensor: torch.Tensor, stored: Stored | Unread) -> None:
        local = _local(tensor)
        start = self._start(tensor)
        local.copy_(stored.read(start, start + local.numel()).view_as(local))

    def _start(self, tensor: torch.Tensor) -> int:
        """Where this rank's rows begin in the flattened tensor. As torch.chunk has it, all ranks but the last ones have
        equally many."""
        rows = -(-tensor.shape[0] // self._world.size)
        return min(rows * self._world.rank, tensor.shape[0]) * (tensor.numel() // max(1, tensor.shape[0]))


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """This rank's rows, its own memory."""
    detached = tensor.detach()
    assert isinstance(detached, DTensor)
    local: torch.Tensor = detached.to_local()
    return local


def _norms(block: nn.Module) -> list[nn.Module]:
    """The modules of `block` whose parameters are trained vectors in fp32: no product casts them."""
    return [
        part
        for part in block.modules()
        if (own := list(part.parameters(recurse=False)))
        and all(one.ndim == 1 and one.requires_grad and one.dtype == torch.float32 for one in own)
    ]


def _parts(model: nn.Module) -> Iterator[FSDPModule]:
    return (part for part in model.modules() if isinstance(part, FSDPModule))


def _make_plain(part: Any) -> None:
    """Undoes what `fully_shard` did to a module besides its parameters: a class of its own, and hooks."""
    state = part._get_fsdp_state()
    state._pre_forward_hook_handle.remove()
    state._post_forward_hook_handle.remove()
    part.__class__ = type(part).__mro__[FSDPModule._orig_cls_mro_index]
