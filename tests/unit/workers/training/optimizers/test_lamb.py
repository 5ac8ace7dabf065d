"""LAMB against the lines of Algorithm 2, in fp64."""

import numpy as np
import pytest
import torch
from torch import nn

from workers.training.optimizers.lamb import Lamb

RATE, BETA1, BETA2, EPSILON, DECAY = 0.01, 0.9, 0.99, 1e-6, 0.05


def test_it_is_the_algorithm_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(5, 7))
    parameter = nn.Parameter(torch.tensor(weight))
    optimizer = Lamb([parameter], lr=RATE, betas=(BETA1, BETA2), eps=EPSILON, weight_decay=DECAY)
    first, second = np.zeros_like(weight), np.zeros_like(weight)
    for step in range(1, 6):
        gradient = rng.normal(size=weight.shape)
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
        first = BETA1 * first + (1 - BETA1) * gradient
        second = BETA2 * second + (1 - BETA2) * gradient**2
        ratio = (first / (1 - BETA1**step)) / (np.sqrt(second / (1 - BETA2**step)) + EPSILON)
        update = ratio + DECAY * weight
        weight = weight - RATE * np.linalg.norm(weight) / np.linalg.norm(update) * update
        np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=1e-12)


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_zero_weights_move_and_a_zero_gradient_moves_nothing(start: float) -> None:
    parameter = nn.Parameter(torch.full((3, 3), start))
    optimizer = Lamb([parameter], lr=RATE, betas=(BETA1, BETA2), eps=EPSILON, weight_decay=0.0)
    parameter.grad = torch.zeros(3, 3)
    optimizer.step()
    assert torch.equal(parameter, torch.full((3, 3), start))
    parameter.grad = torch.ones(3, 3)
    optimizer.step()
    assert (parameter < start).all()


def test_a_parameter_without_gradient_is_left_alone() -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimizer = Lamb([parameter], lr=RATE, betas=(BETA1, BETA2), eps=EPSILON, weight_decay=DECAY)
    optimizer.step()
    assert not optimizer.state[parameter]
