"""Cross-entropy by rows computes what PyTorch's own does, and lets nobody read logits that it has written over."""

import pytest
import torch
from torch.nn import functional

from workers.training.kernels.cross_entropy import target_nll

NUM_TOKENS = 50_000  # six rows at a time, so that the last part has fewer


def drawn(dtype, num_rows=13):
    chance = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(num_rows, NUM_TOKENS, generator=chance)).to(dtype).requires_grad_()
    return logits, torch.randint(NUM_TOKENS, (num_rows,), generator=chance), torch.rand(num_rows, generator=chance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_losses_and_gradients_are_pytorchs(dtype):
    logits, targets, weights = drawn(dtype)
    expected = functional.cross_entropy(logits.float(), targets, reduction="none")
    (expected @ weights).backward()
    gradient = logits.grad
    logits.grad = None
    found = target_nll(logits * 1, targets)
    (found @ weights).backward()
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, rtol=1e-6, atol=1e-5)
    assert logits.grad.dtype == dtype
    # One rounding of the dtype at the most, of gradients that are less than 1.
    assert torch.allclose(logits.grad.float(), gradient.float(), rtol=torch.finfo(dtype).eps, atol=1e-7)


def test_no_target_has_no_loss():
    logits, targets, _ = drawn(torch.bfloat16, num_rows=0)
    losses = target_nll(logits * 1, targets)
    losses.sum().backward()
    assert losses.shape == (0,)
    assert logits.grad.shape == logits.shape


def test_logits_that_are_written_over_cannot_be_read_again():
    logits, targets, _ = drawn(torch.float32)
    mine = logits * 1
    loss = mine.square().sum() + target_nll(mine, targets).sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_second_backward_pass_is_refused():
    logits, targets, _ = drawn(torch.float32)
    loss = target_nll(logits * 1, targets).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
