"""The fused LoRA layer computes what PEFT's own does, and steps aside where it is more than plain LoRA."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from workers.training.methods.fused import fuse


class Two(nn.Module):
    """Two linear layers in a row, so that a gradient has to pass through both."""

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.first = nn.Linear(24, 40, bias=bias)
        self.second = nn.Linear(40, 16, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.second(torch.tanh(self.first(x)))
        return result


def adapted(*, bias: bool = False, **settings: object) -> PeftModel:
    torch.manual_seed(3)
    model = get_peft_model(Two(bias), LoraConfig(r=4, lora_alpha=6, target_modules=["first", "second"], **settings))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # which PEFT starts at zero: then half of the gradients would be zero as well
            nn.init.normal_(parameter, std=0.2)
    return model


def outcome(model: PeftModel, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Output, gradient of the input, gradients of the adapter."""
    torch.manual_seed(5)
    x = torch.randn(2, 7, 24, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        y = model(x)
    y.float().square().sum().backward()
    found = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    return {"output": y.detach().float(), "input": x.grad, **found}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_output_and_gradients_are_pefts(bias: bool, dtype: torch.dtype, tolerance: float) -> None:
    ours = adapted(bias=bias)
    assert fuse(ours) == 2
    found, expected = outcome(ours, dtype), outcome(adapted(bias=bias), dtype)
    assert found.keys() == expected.keys()
    assert len(found) == 6
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert (found[name] - tensor).norm() <= tolerance * tensor.norm(), name


def test_a_disabled_adapter_leaves_the_base_model() -> None:
    ours, base = adapted(), adapted().unload()
    fuse(ours)
    x = torch.randn(3, 24)
    with ours.disable_adapter():
        assert torch.equal(ours(x), base(x))
    assert not torch.equal(ours(x), base(x))


def test_a_merged_adapter_is_not_added_again() -> None:
    ours = adapted()
    fuse(ours)
    x = torch.randn(3, 24)
    before = ours(x)
    ours.merge_adapter()
    assert torch.allclose(ours(x), before, atol=1e-5)


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.1}, {"use_dora": True}])
def test_what_is_more_than_plain_lora_stays_pefts(settings: dict[str, object]) -> None:
    assert fuse(adapted(**settings)) == 0
