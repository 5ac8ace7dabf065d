"""The exponential moving average of the trained weights: what is validated and handed out when the job asks for it.

Polyak & Juditsky, 1992; a' = d a + (1 - d) w after each step that was taken, where d rises to the job's `ema_decay` as
(1 + n) / (10 + n) after n of them, so that the start is soon forgotten. It costs 4 bytes per trained parameter.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


class Average:
    """That of `parameters`; without a decay it keeps nothing and does nothing."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float | None) -> None:
        """`decay` is what stays of the average in a step."""
        self._parameters = parameters
        self._decay = decay
        self._others = {} if decay is None else {name: one.detach().clone() for name, one in parameters.items()}
        self._num_updates = 0
        self._is_in_the_model = False

    def update(self) -> None:
        """After a step that moved the weights."""
        if self._decay is None:
            return
        decay = min(self._decay, (1 + self._num_updates) / (10 + self._num_updates))
        for name, average in self._others.items():
            average.lerp_(self._parameters[name].detach(), 1.0 - decay)
        self._num_updates += 1

    @contextmanager
    def in_the_model(self) -> Iterator[None]:
        """Inside, the model computes with the average."""
        if self._decay is None:
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def raw_weights(self) -> Mapping[str, torch.Tensor]:
        """What the optimizer moves, while the average is in the model; else nothing, for then the model has it."""
        return self._others if self._is_in_the_model else {}

    def keep(self) -> None:
        """After training: the average takes the place of the weights."""
        with torch.no_grad():
            for name, average in self._others.items():
                self._parameters[name].copy_(average)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Its state, for a checkpoint."""
        if self._decay is None:
            return {}
        averages = self._parameters if self._is_in_the_model else self._others
        state = {f"weights/{name}": averages[name].detach() for name in self._others}
        return {**state, "num_updates": torch.tensor(self._num_updates)}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The inverse of `tensors`."""
        if self._decay is None:
            return
        self._num_updates = int(tensors["num_updates"])
        for name, average in self._others.items():
            average.copy_(tensors[f"weights/{name}"])

    def _swap(self) -> None:
        """One tensor at a time, so that no third copy of the weights is needed."""
        with torch.no_grad():
            for name, other in self._others.items():
                mine = self._parameters[name].clone()
                self._parameters[name].copy_(other)
                other.copy_(mine)
        self._is_in_the_model = not self._is_in_the_model
