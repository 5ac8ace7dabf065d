"""SpIEL's exchange of weights: the changes that came to least are taken back, and others begin at nothing.

A period of watching begins every `update_steps` optimizer steps, the first one with the first step, and ends with a
choice after `gradient_steps`. A weight that is chosen begins with the moments that the optimizer would have, had it
known the weight's mean gradient from the start: bias correction then treats it like the others.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import nn

from luthier.spec import SpielSpec
from workers.training.methods.growth import Found, Growth
from workers.training.methods.sparse import SparseChange


class Regrowth:
    """A `Control` that chooses anew, layer by layer, which weights are changed."""

    rate_ratios: Mapping[str, float] = MappingProxyType({})

    def __init__(self, layers: Mapping[str, tuple[SparseChange, Growth]], spec: SpielSpec, num_steps: int) -> None:
        """`layers` are those of a model, by name; `num_steps` is the length of the run."""
        self._layers = layers
        self._spec = spec
        self._num_steps = num_steps
        self._optimizer: torch.optim.Optimizer | None = None
        self._num_choices = 0
        self._size = 0.0
        self._num_watched: int | None = None
        self._next_period = 0
        self._begin(0)

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """See `Control`."""
        self._optimizer = optimizer

    def before_step(self, step: int) -> None:
        """Takes note of the gradients before they are clipped."""
        self._size = self._size_of_gradients()
        for _, growth in self._layers.values():
            growth.collect()

    def after_step(self, step: int) -> None:
        """A step that was skipped does not count: the period gets longer."""
        clipped = self._size_of_gradients() / self._size if self._size else 1.0
        for _, growth in self._layers.values():
            growth.confirm(clipped)
        if self._num_watched is not None:
            self._num_watched += 1
            is_last = step + 1 == self._num_steps  # what is chosen then would learn nothing
            if self._num_watched == self._spec.gradient_steps and not is_last:
                self._choose(step + 1)
        if self._num_watched is None and step + 1 >= self._next_period:
            self._begin(step + 1)

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """int64 `schedule`, and of each layer int64 `positions/<layer>` and `<what its growth keeps>/<layer>`."""
        watched = -1 if self._num_watched is None else self._num_watched
        schedule = torch.tensor([watched, self._next_period, self._num_choices])
        positions = {f"positions/{name}": change.positions for name, (change, _) in self._layers.items()}
        kept = {
            f"{key}/{name}": tensor
            for name, (_, growth) in self._layers.items()
            for key, tensor in growth.tensors().items()
        }
        return {"schedule": schedule, **positions, **kept}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Goes on from such a state."""
        watched, self._next_period, self._num_choices = tensors["schedule"].tolist()
        self._num_watched = None if watched < 0 else watched
        for name, (change, growth) in self._layers.items():
            kept = {key.split("/", 1)[0]: tensor for key, tensor in tensors.items() if key.endswith(f"/{name}")}
            change.move(kept.pop("positions").to(change.values.device, copy=True))
            growth.load_tensors(kept)

    def finish(self) -> None:
        """Nothing: the adapter knows its positions."""

    def _begin(self, step: int) -> None:
        """A period begins with `step`."""
        self._num_watched = 0
        self._next_period = (step // self._spec.update_steps + 1) * self._spec.update_steps
        for _, growth in self._layers.values():
            growth.begin()

    def _choose(self, num_done: int) -> None:
        """Ends a period after `num_done` steps of the run."""
        part = self._spec.replaced_part * (1 - num_done / self._num_steps) if self._num_choices else 1.0
        for change, growth in self._layers.values():
            self._exchange(change, growth, int(part * len(change.values)))
        self._num_watched = None
        self._num_choices += 1

    def _exchange(self, change: SparseChange, growth: Growth, number: int) -> None:
        """In one layer; a weight that would go and come at once stays with what it has."""
        weakest = change.values.detach().abs().topk(number, largest=False).indices
        staying = torch.zeros(change.shape[0] * change.shape[1], dtype=torch.bool, device=change.positions.device)
        staying[change.positions] = True
        staying[change.positions[weakest]] = False
        found = growth.find(staying, number)
        is_back = torch.isin(found.positions, change.positions)
        leaving = weakest[~torch.isin(change.positions[weakest], found.positions)]
        leaving = leaving[: int((~is_back).sum())]
        positions = change.positions.clone()
        positions[leaving] = found.positions[~is_back]
        change.move(positions)
        with torch.no_grad():
            change.values[leaving] = 0.0
        self._set_moments(
            change.values, leaving, Found(positions[leaving], found.mean[~is_back], found.square[~is_back])
        )

    def _set_moments(self, values: nn.Parameter, places: torch.Tensor, found: Found) -> None:
        """What AdamW, or SGD, knows of the values at `places`."""
        assert self._optimizer is not None
        state = self._optimizer.state[values]
        if state.get("momentum_buffer") is not None:
            state["momentum_buffer"][places] = 0.0
        if "exp_avg" in state:
            num_steps = float(state["step"])
            first, second = self._optimizer.param_groups[0]["betas"]
            state["exp_avg"][places] = (1 - first**num_steps) * found.mean
            state["exp_avg_sq"][places] = (1 - second**num_steps) * found.square

    def _size_of_gradients(self) -> float:
        """Sum of their absolute values."""
        sizes = [
            change.values.grad.abs().sum() for change, _ in self._layers.values() if change.values.grad is not None
        ]
        return float(torch.stack(sizes).sum())
