"""The loss without logits is the loss with them, in value and gradient, or it is not taken."""

from functools import partial

import pytest
import torch
from torch import nn

from luthier.spec import TrainingSpec
from tests.unit.workers.training.tiny_run import make_base, make_documents, make_model, weights
from workers.training.kernels import output_loss
from workers.training.kernels.output_loss import PLAIN, by_torch, choose_loss, disagreement, fused_loss
from workers.training.objectives.sft import summed_loss
from workers.training.packing import make_batch


@pytest.fixture
def worthwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if any logits were too many, and this were the place for it."""
    monkeypatch.setattr(output_loss, "_WORTH_BYTES", 1)
    monkeypatch.setattr(output_loss, "LOSSES", {"torch_chunked": (by_torch, lambda _: None)})


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize(("compute", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_loss_and_gradients_are_those_of_the_logits(method: str, compute: torch.dtype, tolerance: float) -> None:
    model, batch = make_model(method, dropout=0.0), make_batch(make_documents(30))
    found = []
    for loss_of in (partial(fused_loss, by_torch), summed_loss):
        loss = loss_of(model, batch, compute)
        loss.backward()
        gradients = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
        found.append((loss.detach(), gradients))
        model.zero_grad()
    (ours, our_gradients), (theirs, their_gradients) = found
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=0)
    assert our_gradients.keys() == their_gradients.keys() == weights(model).keys()
    for name, gradient in their_gradients.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(our_gradients[name], gradient, rtol=0, atol=tolerance * scale, msg=name)


def test_afterwards_the_model_has_logits_again() -> None:
    model, batch = make_model(dropout=0.0).eval(), make_batch(make_documents(3))
    before = summed_loss(model, batch, torch.float32)
    fused_loss(by_torch, model, batch, torch.float32)
    assert torch.equal(summed_loss(model, batch, torch.float32), before)


@pytest.mark.usefixtures("worthwhile")
def test_it_is_taken_where_it_is_worth_it_and_agrees() -> None:
    model = make_model(dropout=0.0).train()
    assert choose_loss(model, TrainingSpec(), torch.float32) == ("torch_chunked", {})
    assert model.training


@pytest.mark.usefixtures("worthwhile")
def test_a_model_that_does_more_with_its_logits_keeps_them() -> None:
    model = make_base()
    model.register_forward_hook(lambda _, __, output: output.__class__(logits=output.logits.tanh()))
    name, passed_over = choose_loss(model, TrainingSpec(), torch.float32)
    assert name == PLAIN
    assert "loss and gradient differ by" in passed_over["torch_chunked"]


@pytest.mark.usefixtures("worthwhile")
def test_an_output_layer_with_an_adapter_keeps_its_logits() -> None:
    model = make_base()

    class Adapted(nn.Linear):
        """A linear layer and something else."""

    model.set_output_embeddings(Adapted(32, 64))
    name, passed_over = choose_loss(model, TrainingSpec(), torch.float32)
    assert (name, passed_over) == (PLAIN, {"torch_chunked": "the output layer is more than a linear layer"})


def test_a_wrong_gradient_is_noticed() -> None:
    def halved(hidden: torch.Tensor, layer: nn.Linear, targets: torch.Tensor) -> torch.Tensor:
        return by_torch(0.5 * hidden + 0.5 * hidden.detach(), layer, targets)

    reason = disagreement(halved, make_base(), torch.float32)
    assert reason is not None
    assert "differ by" in reason


def test_small_logits_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_loss, "LOSSES", {"torch_chunked": (by_torch, lambda _: None)})
    name, passed_over = choose_loss(make_base(), TrainingSpec(pack_length=64), torch.float32)
    assert name == PLAIN
    assert "not worth its time" in passed_over["torch_chunked"]


@pytest.mark.usefixtures("worthwhile")
def test_in_fp16_the_loss_is_scaled_before_its_gradient_is_there() -> None:
    name, passed_over = choose_loss(make_base(), TrainingSpec(), torch.float16)
    assert name == PLAIN
    assert "before the loss is scaled" in passed_over["torch_chunked"]


def test_on_a_cpu_the_logits_stay() -> None:
    name, passed_over = choose_loss(make_base(), TrainingSpec(), torch.float32)
    assert name == PLAIN
    assert passed_over == {
        "liger": "runs on CUDA only, not on cpu",
        "torch_chunked": "is not worth its time on cpu",
    }
