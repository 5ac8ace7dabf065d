"""The fused LoRA layer computes what PEFT's own does, and steps aside where it is more than plain LoRA."""

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.utils.checkpoint import checkpoint

from workers.training.methods import fused
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


class Block(nn.Module):
    """Queries, keys and values of unequal widths, and a gate, each read by what comes after it."""

    def __init__(self, *, is_recomputed: bool = False) -> None:
        super().__init__()
        self.first = nn.Linear(24, 24)
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(24, 16), nn.Linear(24, 8), nn.Linear(24, 8, bias=False)
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(16, 40), nn.Linear(16, 40), nn.Linear(40, 24)
        self.is_recomputed = is_recomputed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return checkpoint(self.rest, x, use_reentrant=False) if self.is_recomputed else self.rest(x)

    def rest(self, x: torch.Tensor) -> torch.Tensor:
        """Its norm keeps the outputs of the layers from being alike."""
        x = torch.tanh(x)
        heads = self.q_proj(x) * torch.cat([self.k_proj(x), self.v_proj(x).sin()], dim=-1)
        result: torch.Tensor = self.down_proj(torch.sigmoid(self.gate_proj(heads)) * self.up_proj(heads))
        return result


BLOCK_LAYERS = ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj"]


def adapted(*, bias: bool = False, **settings: object) -> PeftModel:
    torch.manual_seed(3)
    return with_update(
        get_peft_model(Two(bias), LoraConfig(r=4, lora_alpha=6, target_modules=["first", "second"], **settings))
    )


def adapted_block(targets: list[str] = BLOCK_LAYERS, *, is_recomputed: bool = False) -> PeftModel:
    torch.manual_seed(3)
    block = Block(is_recomputed=is_recomputed)
    ranks = {"k_proj": 2, "up_proj": 8}
    return with_update(get_peft_model(block, LoraConfig(r=4, lora_alpha=6, target_modules=targets, rank_pattern=ranks)))


def with_update(model: PeftModel) -> PeftModel:
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
    assert len(found) == 6
    assert_close(found, expected, tolerance)


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
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


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many layers were computed at a time, call by call."""
    counts: list[int] = []

    def counted(rows: torch.Tensor, parts: list[fused.Part]) -> tuple[torch.Tensor, ...]:
        counts.append(len(parts))
        return plain(rows, parts)

    plain: Callable[..., tuple[torch.Tensor, ...]] = fused.low_rank
    monkeypatch.setattr(fused, "low_rank", counted)
    return counts


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize(
    ("targets", "is_recomputed", "expected"),
    [
        (BLOCK_LAYERS, False, [3, 2, 1]),
        (BLOCK_LAYERS, True, [3, 2, 1] * 2),
        (["q_proj", "v_proj", "up_proj"], False, [2, 1]),
    ],
    ids=["all", "recomputed", "some"],
)
def test_layers_that_read_the_same_are_computed_together(
    targets: list[str],
    is_recomputed: bool,
    expected: list[int],
    dtype: torch.dtype,
    tolerance: float,
    products: list[int],
) -> None:
    ours = adapted_block(targets, is_recomputed=is_recomputed)
    assert fuse(ours) == len(targets)
    found = outcome(ours, dtype)
    assert products == expected
    assert_close(found, outcome(adapted_block(targets), dtype), tolerance)


def test_a_layer_that_reads_something_else_is_computed_alone(products: list[int]) -> None:
    ours, theirs = adapted_block(), adapted_block()
    fuse(ours)
    layers, others = (model.base_model.model for model in (ours, theirs))
    x, y = torch.randn(3, 24), torch.randn(3, 24)
    for name, given in (("q_proj", x), ("k_proj", y), ("v_proj", y), ("q_proj", x)):
        assert torch.allclose(getattr(layers, name)(given), getattr(others, name)(given), atol=1e-5)
    assert products == [3, 3, 3]


def test_without_gradients_nothing_waits(products: list[int]) -> None:
    ours = adapted_block()
    fuse(ours)
    x = torch.randn(3, 24)
    with torch.no_grad():
        assert torch.allclose(ours(x), adapted_block()(x), atol=1e-5)
    assert products == [1] * 6


def test_what_waits_is_not_taken_by_a_disabled_or_merged_layer() -> None:
    ours, base = adapted_block(), adapted_block().unload()
    fuse(ours)
    block, x = ours.base_model.model, torch.randn(3, 24)
    block.q_proj(x)
    with ours.disable_adapter():
        assert torch.equal(block.k_proj(x), base.k_proj(x))
    block.v_proj.merge()
    assert torch.allclose(block.v_proj(x), adapted_block().base_model.model.v_proj(x), atol=1e-5)
    assert torch.allclose(ours(x), adapted_block()(x), atol=1e-5)


def test_weights_that_come_layer_by_layer_are_not_read_before_their_turn(products: list[int]) -> None:
    ours = adapted_block()
    fuse(ours)
    for name, parameter in ours.named_parameters():
        if "base_layer.weight" in name:
            parameter.ds_id = 0  # as ZeRO-3 marks them
    assert torch.allclose(ours(x := torch.randn(3, 24)), adapted_block()(x), atol=1e-5)
    assert products == [1] * 6
