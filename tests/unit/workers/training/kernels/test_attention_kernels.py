"""Every way to compute attention comes to the same numbers, and one that does not is never taken.

What can be run without CUDA is run: the layouts that the kernels get, with plain functions in the kernels' places.
"""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from tests.unit.workers.training.kernels.plain import plain_flash_attn, plain_varlen
from workers.training.kernels import flex, grouped, varlen
from workers.training.kernels.attention import ATTENTION, EVERYWHERE, AttentionKernel, choose_attention, disagreement
from workers.training.kernels.contract import Wanted
from workers.training.layout import Documents, layout

CPU = torch.device("cpu")
WANTED = Wanted(CPU, torch.float32, num_heads=4, num_key_heads=2, head_dim=8, has_dropout=False)


@pytest.fixture
def flash_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain functions where the CUDA kernels would be."""
    monkeypatch.setattr(varlen, "varlen_attn", plain_varlen)
    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(flash_attn_varlen_func=plain_flash_attn))


@pytest.mark.usefixtures("flash_attention")
@pytest.mark.parametrize("kernel", ["torch_varlen", "fa_varlen"])
def test_packed_documents_get_the_output_and_gradients_of_grouped_ones(kernel: str) -> None:
    """The probe itself says so: with a shared prefix and virtual tokens, query heads that share key heads."""
    assert disagreement(ATTENTION[kernel].attend, WANTED) is None


@pytest.mark.usefixtures("flash_attention")
@pytest.mark.parametrize("kernel", ["torch_varlen", "fa_varlen", "flex"])
@pytest.mark.parametrize("prefix_length", [0, 12, 140])
@pytest.mark.parametrize("num_virtual", [0, 5])
def test_outputs_agree_on_rows_of_all_kinds(kernel: str, prefix_length: int, num_virtual: int) -> None:
    documents = layout((300, 130, 33, 30, 9, 1, 1), prefix_length, CPU)
    query, key, value = _tensors(sum(documents.stretches))
    virtual = None if not num_virtual else (_tensors(num_virtual)[1], _tensors(num_virtual)[2])
    outputs = [
        attend(query, key, value, documents, virtual, 0.3, 0.0) for attend in (ATTENTION[kernel].attend, grouped.attend)
    ]
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prefix_length", [0, 12, 128, 300])
@pytest.mark.parametrize("num_virtual", [0, 5, 128])
def test_the_blocks_of_flex_attention_are_those_of_its_rule(prefix_length: int, num_virtual: int) -> None:
    """As the library finds them by looking at all T x T pairs."""
    documents = layout((600, 300, 129, 128, 127, 40, 7, 1), prefix_length, CPU)
    num_tokens = sum(documents.stretches)
    ours = flex.block_mask(documents, num_virtual)
    theirs = create_block_mask(ours.mask_mod, 1, 1, num_tokens, num_virtual + num_tokens, device="cpu")
    assert torch.equal(ours.to_dense(), theirs.to_dense())
    assert _whole_blocks(ours)
    assert _whole_blocks(ours) <= _whole_blocks(theirs)


def test_a_row_costs_no_mask_of_its_square() -> None:
    documents = layout((4096,) * 16, 64, CPU)
    mask = flex.block_mask(documents, 0)
    packed = varlen.pack_keys(documents, 0)
    kept = [tensor for tensor in vars(mask).values() if isinstance(tensor, torch.Tensor)]
    kept += [packed.query_starts, packed.key_starts, packed.key_places]
    assert sum(tensor.nbytes for tensor in kept) < (16 * 4096) ** 2 / 100


def test_a_row_without_anything_in_front_is_taken_as_it_lies() -> None:
    assert varlen.pack_keys(layout((5, 3), 0, CPU), 0).key_places is None


def test_without_cuda_the_plain_kernel_is_taken_and_the_others_say_why_not() -> None:
    name, passed_over = choose_attention(WANTED)
    assert name == EVERYWHERE
    assert passed_over == {
        "torch_varlen": "runs on CUDA only, not on cpu",
        "fa_varlen": "runs on CUDA only, not on cpu",
        "flex": "has no backward pass on cpu",
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dtype": torch.float32}, "bf16 and fp16 only, not in float32"),
        ({"head_dim": 512}, "wider than 256"),
        ({"has_dropout": True}, "drops no attention weights"),
        ({}, None),
    ],
)
def test_what_flash_attention_cannot_do_is_known_beforehand(changes: dict[str, object], reason: str | None) -> None:
    fitting = {"device": torch.device("cuda"), "dtype": torch.bfloat16, "head_dim": 64, "has_dropout": False}
    said = varlen.lacks_torch(Wanted(num_heads=4, num_key_heads=2, **{**fitting, **changes}))  # type: ignore[arg-type]
    assert (said is None) if reason is None else (said is not None and reason in said)


def test_the_first_kernel_that_agrees_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("no kernel image is available\nfor this device")

    def sees_too_much(*tensors: torch.Tensor) -> torch.Tensor:
        query, key, value, _, virtual, scale, dropout = tensors
        one = Documents(0, (query.shape[2],), CPU)
        return grouped.attend(query, key, value, one, virtual, scale, dropout)

    rows = {
        "broken": AttentionKernel(broken, lambda _: None),
        "wrong": AttentionKernel(sees_too_much, lambda _: None),
        "absent": AttentionKernel(broken, lambda _: "is not installed"),
        "good": AttentionKernel(grouped.attend, lambda _: None),
        "never asked": AttentionKernel(broken, lambda _: None),
    }
    for name in list(ATTENTION):
        monkeypatch.delitem(ATTENTION, name)
    for name, row in rows.items():
        monkeypatch.setitem(ATTENTION, name, row)
    name, passed_over = choose_attention(WANTED)
    assert name == "good"
    assert passed_over["broken"] == "RuntimeError: no kernel image is available"
    assert "differ by" in passed_over["wrong"]
    assert passed_over["absent"] == "is not installed"


def test_the_probe_leaves_the_random_generator_alone() -> None:
    before = torch.get_rng_state()
    disagreement(grouped.attend, WANTED)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, on which these kernels alone run")
@pytest.mark.parametrize("kernel", ATTENTION)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_the_kernels_of_cuda_agree(kernel: str, dtype: torch.dtype, head_dim: int) -> None:
    wanted = Wanted(torch.device("cuda"), dtype, num_heads=8, num_key_heads=2, head_dim=head_dim, has_dropout=False)
    reason = ATTENTION[kernel].lacks(wanted)
    if reason is not None:
        pytest.skip(f"{kernel} {reason}")
    assert disagreement(ATTENTION[kernel].attend, wanted) is None


def _whole_blocks(mask: BlockMask) -> set[tuple[int, int]]:
    """Those that the rule is not asked about."""
    rows = zip(mask.full_kv_num_blocks[0, 0].tolist(), mask.full_kv_indices[0, 0].tolist(), strict=True)
    return {(row, place) for row, (number, places) in enumerate(rows) for place in places[:number]}


def _tensors(num_tokens: int) -> list[torch.Tensor]:
    chance = torch.Generator().manual_seed(num_tokens)
    return [torch.randn(1, heads, num_tokens, 8, generator=chance) for heads in (4, 2, 2)]
