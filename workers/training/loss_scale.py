"""Dynamic loss scaling for fp16, whose smallest number is 6e-8: small gradients would become zero.

Micikevicius et al., 2017, arXiv:1710.03740, by torch's GradScaler, on CPU and GPU alike: the scale begins at 65536, is
halved when a gradient overflows, and doubled after 2000 steps without. bf16 and fp32 reach far enough and have none.
"""

import math
from collections.abc import Mapping

import torch
from torch.amp import GradScaler

_STATE = {"scale": "scale", "num_good_steps": "_growth_tracker"}
"""What changes from step to step: its name in a checkpoint, and in the state of torch's scaler."""


class LossScale:
    """That of one run."""

    def __init__(self, compute: torch.dtype, device: torch.device) -> None:
        """`compute` is the dtype of the matrix products."""
        self._scaler = GradScaler(device.type, enabled=compute == torch.float16)
        # The scaler makes its state when it is first used; a rank without a batch must have it too.
        self._scaler.scale(torch.ones((), device=device))

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """What to take the gradient of."""
        return self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divides the gradients of the optimizer's parameters, once they are complete."""
        if self._scaler.is_enabled():
            self._scaler.unscale_(optimizer)

    def is_to_blame(self, loss: float, norm: float) -> bool:
        """Whether the gradient overflowed because of the scale, which is therefore lowered."""
        overflowed = math.isfinite(loss) and not math.isfinite(norm)
        return self._scaler.is_enabled() and overflowed and self._scaler.get_scale() >= 1.0

    def update(self) -> None:
        """After every step, taken or not."""
        self._scaler.update()

    def figures(self) -> dict[str, float]:
        """The scale of the next step."""
        return {"loss_scale": self._scaler.get_scale()} if self._scaler.is_enabled() else {}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Its state, for a checkpoint."""
        state = self._scaler.state_dict()
        return {name: torch.tensor(float(state[key])) for name, key in _STATE.items()} if state else {}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The inverse of `tensors`."""
        if self._scaler.is_enabled():
            scale, num_good_steps = float(tensors["scale"]), int(tensors["num_good_steps"])
            state = {_STATE["scale"]: scale, _STATE["num_good_steps"]: num_good_steps}
            self._scaler.load_state_dict({**self._scaler.state_dict(), **state})
