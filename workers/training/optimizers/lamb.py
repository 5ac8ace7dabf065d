"""LAMB: AdamW whose update of each weight matrix is as long as the matrix (You et al., 2019, arXiv:1904.00962)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch


class Lamb(torch.optim.Optimizer):
    """Algorithm 2 of the paper, with its phi as the identity.

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  r = m^ / (sqrt(v^) + eps), both bias-corrected;
    x = x - lr |x| / |r + decay x| (r + decay x). The quotient of norms is 1 where one of them is zero.
    """

    def __init__(
        self, params: Iterable[Any], *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float = 0.0
    ) -> None:
        """
        Args:
            params: parameters or groups of them; each parameter is one of the paper's layers.
            lr: learning rate.
            betas: decay of the two moments.
            eps: added to the denominator.
            weight_decay: decoupled.
        """
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step by the gradients that are there. `closure` is of torch's interface and not taken."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = float(state["step"])
        beta1, beta2 = group["betas"]
        first = state["exp_avg"].lerp_(gradient, 1 - beta1)
        second = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        denominator = (second / (1 - beta2**step)).sqrt_().add_(group["eps"])
        update = (first / (1 - beta1**step)).div_(denominator).add_(parameter, alpha=group["weight_decay"])
        own, norm = parameter.norm(), update.norm()
        ratio = torch.where((own > 0) & (norm > 0), own / norm, 1.0)
        parameter.sub_(update.mul_(ratio), alpha=group["lr"])
