"""Rotary positions in place: the numbers and gradients of the family's own function, or that function."""

from types import ModuleType

import pytest
import torch
from transformers.models.glm import modeling_glm
from transformers.models.llama import modeling_llama
from transformers.models.qwen3 import modeling_qwen3

from tests.unit.workers.training.tiny_run import make_base
from workers.training.kernels import rotary
from workers.training.kernels.rotary import choose_positions


def _drawn(dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    chance = torch.Generator().manual_seed(3)
    query, key = (torch.randn(1, heads, 7, 16, generator=chance).to(dtype).requires_grad_() for heads in (4, 2))
    cos, sin = (torch.randn(1, 7, 16, generator=chance).to(dtype) for _ in range(2))
    return query, key, cos, sin


@pytest.mark.parametrize("module", [modeling_llama, modeling_qwen3])
def test_numbers_and_gradients_are_those_of_the_family(module: ModuleType) -> None:
    theirs = getattr(module.apply_rotary_pos_emb, "__wrapped__", module.apply_rotary_pos_emb)
    results = []
    for rotate in (theirs, rotary._quicker(theirs)):
        query, key, cos, sin = _drawn(torch.float64)
        turned = rotate(query, key, cos, sin)
        sum(((part * torch.arange(part.numel()).view(part.shape)).sum() for part in turned), torch.zeros(())).backward()
        results.append([*turned, query.grad, key.grad])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_other_ways_to_turn_are_left_alone() -> None:
    assert rotary._agrees(modeling_llama.apply_rotary_pos_emb)
    assert not rotary._agrees(modeling_glm.apply_rotary_pos_emb)
    assert not rotary._agrees(lambda query, key: (query, key))
    query, key, cos, sin = _drawn(torch.float32)
    seen: list[object] = []

    def theirs(*given: object, **named: object) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(named)
        return query, key

    rotary._quicker(theirs)(query, key, cos[..., :8], sin[..., :8])
    rotary._quicker(theirs)(query, key, cos, sin, unsqueeze_dim=2)
    with torch.no_grad():
        rotary._quicker(theirs)(query, key, cos, sin)
    assert seen == [{}, {"unsqueeze_dim": 2}, {}]


def test_a_model_is_given_it_once_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    model, cpu = make_base(), torch.device("cpu")
    module = __import__("sys").modules[type(model).__module__]
    own = getattr(module.apply_rotary_pos_emb, "__wrapped__", module.apply_rotary_pos_emb)
    monkeypatch.setattr(module, "apply_rotary_pos_emb", own)
    assert choose_positions(model, torch.device("cuda")) == (
        "transformers",
        {"in_place": "runs on a CPU only, not on cuda"},
    )
    assert module.apply_rotary_pos_emb is own
    assert choose_positions(model, cpu) == choose_positions(model, cpu) == ("in_place", {})
    assert module.apply_rotary_pos_emb.__wrapped__ is own
    monkeypatch.delattr(module, "apply_rotary_pos_emb")
    name, passed_over = choose_positions(model, cpu)
    assert (name, list(passed_over)) == ("transformers", ["in_place"])
