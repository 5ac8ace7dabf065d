"""RMSNorm by its formula: the output of the model's own, its gradient up to rounding, where the scale is frozen."""

import pytest
import torch
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from tests.unit.workers.training.tiny_run import make_base
from workers.training.kernels import norms
from workers.training.kernels.norms import choose_norms

CPU, BF16 = torch.device("cpu"), torch.bfloat16


def frozen(norm, dtype):
    chance = torch.Generator().manual_seed(1)
    norm.weight.data = torch.randn(norm.weight.shape, generator=chance).to(dtype)
    norm.weight.requires_grad_(False)
    return norm


@pytest.mark.parametrize("dtype", [BF16, torch.float16])
def test_output_is_theirs_and_the_gradient_up_to_rounding(dtype):
    norm = frozen(LlamaRMSNorm(64), dtype)
    chance = torch.Generator().manual_seed(2)
    rows, weights = ((3 * torch.randn(1, 9, 64, generator=chance)).to(dtype) for _ in range(2))
    results = []
    for forward in (norm, lambda given: norms._forward(norm, given)):
        leaf = rows.clone().requires_grad_()
        output = forward(leaf)
        (gradient,) = torch.autograd.grad((output * weights).sum(), leaf)
        results.append((output, gradient))
    (theirs, their_gradient), (ours, our_gradient) = results
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=2e-2, atol=1e-2)


def test_a_model_has_it_where_its_scales_are_frozen():
    model = make_base().to(BF16).requires_grad_(False)
    model.model.layers[0].input_layernorm.requires_grad_(True)
    assert choose_norms(model, BF16, CPU) == ("formula", {})
    rows = torch.randn(2, model.config.hidden_size).to(BF16).requires_grad_()
    assert "RmsNorm" in str(model.model.norm(rows).grad_fn)
    assert "RmsNorm" not in str(model.model.layers[0].input_layernorm(rows).grad_fn)


@pytest.mark.parametrize(
    "norm", [LlamaRMSNorm(8), frozen(LlamaRMSNorm(8), torch.float32), frozen(GemmaRMSNorm(8), BF16)]
)
def test_trained_and_other_norms_are_left_alone(norm):
    assert not norms._agrees(norm)


def test_rows_of_another_dtype_and_passes_without_gradients_are_theirs():
    norm = frozen(LlamaRMSNorm(8), BF16)
    for rows, is_on in ((torch.randn(3, 8, requires_grad=True), True), (torch.randn(3, 8).to(BF16), False)):
        with torch.set_grad_enabled(is_on):
            assert torch.equal(norms._forward(norm, rows), norm(rows))


@pytest.mark.parametrize(
    ("compute", "device", "reason"),
    [(BF16, "cuda", "runs on a CPU only, not on cuda"), (torch.float32, "cpu", "is for bf16 and fp16")],
)
def test_elsewhere_the_reason_is_said(compute, device, reason):
    assert choose_norms(make_base(), compute, torch.device(device)) == ("transformers", {"formula": reason})
