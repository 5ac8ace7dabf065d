"""Packing: rows are full and legal, and a packed batch gives what its documents give one by one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import workers.training.layout as layouts
from workers.training.attention import register
from workers.training.beginnings import shared_prefix
from workers.training.kernels import grouped
from workers.training.layout import layout, padding_of
from workers.training.objectives.sft import summed_loss
from workers.training.packing import Batch, make_batch, pack, split_pass


def example(ids: list[int], num_answer: int) -> SimpleNamespace:
    trainable = np.zeros(len(ids), bool)
    trainable[len(ids) - num_answer :] = True
    return SimpleNamespace(input_ids=np.array(ids, np.int32), trainable=trainable)


def documents(seed: int, prefix: list[int], lengths: tuple[int, ...]) -> list[SimpleNamespace]:
    rng = np.random.default_rng(seed)
    return [example([*prefix, *map(int, rng.integers(3, 60, length))], min(4, length)) for length in lengths]


def make_model(implementation: str) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation=implementation,
    )
    return LlamaForCausalLM(config).eval()


def reference_loss(model: LlamaForCausalLM, batch: list[SimpleNamespace]) -> torch.Tensor:
    """Each document alone through plain attention, labels as transformers takes them."""
    total = torch.zeros(())
    for document in batch:
        ids = torch.from_numpy(document.input_ids.astype(np.int64))
        labels = torch.where(torch.from_numpy(document.trainable), ids, -100)[1:]
        logits = model(input_ids=ids[None]).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    return total


def test_best_fit_decreasing_fills_rows_and_loses_nothing() -> None:
    lengths = [7, 3, 5, 5, 2, 8, 1, 9]
    rows = pack(lengths, 10, range(len(lengths)))
    assert sorted(document for row in rows for document in row) == list(range(len(lengths)))
    assert [sum(lengths[document] for document in row) for row in rows] == [10, 10, 10, 10]


def test_number_of_rows_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(1)
    lengths = [int(length) for length in rng.integers(5, 60, 200)]
    counts = {len(pack(lengths, 128, [int(i) for i in rng.permutation(200)])) for _ in range(5)}
    assert len(counts) == 1


def test_a_document_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="pack_length"):
        pack([11], 10, [0])


def test_first_token_is_never_a_target() -> None:
    batch = make_batch([example([5, 6, 7], 3), example([8, 9], 2)])
    assert batch.targets.tolist() == [6, 7, 9]
    assert batch.predicting.tolist() == [0, 1, 3]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1]]


def test_prefix_stands_once_and_every_document_continues_it() -> None:
    batch = make_batch([example([1, 2, 5, 6], 2), example([1, 2, 7], 1)], prefix_length=2)
    assert batch.input_ids.tolist() == [[1, 2, 5, 6, 7]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 2]]
    assert batch.targets.tolist() == [5, 6, 7]
    assert batch.predicting.tolist() == [1, 2, 1]
    assert batch.num_tokens == 7


def test_shared_prefix_stops_at_the_first_difference_and_before_targets() -> None:
    prefix = list(range(3, 20))
    assert shared_prefix(documents(0, prefix, (5, 9))) == len(prefix)
    assert shared_prefix([example([*prefix, 1, 2], 6), example([*prefix, 1, 3], 1)]) == len(prefix) - 5
    assert shared_prefix([example([1, 2, 3], 1), example([1, 2, 4], 1)]) == 0


def test_no_two_targets_are_predicted_from_one_place() -> None:
    """Threads would add up the gradient of that place in an order of their own."""
    batch = [example([*range(3, 30), 40 + answer], 1) for answer in range(5)]
    prefix_length = shared_prefix(batch)
    assert prefix_length == 26
    predicting = make_batch(batch, prefix_length).predicting.tolist()
    assert len(set(predicting)) == len(predicting) == 5


@pytest.mark.parametrize("refit", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("prefix_length", [0, 12])
def test_a_split_pass_has_the_same_documents_in_smaller_parts(prefix_length: int, refit: int) -> None:
    lengths = [9, 30, 1, 17, 33, 8, 12]
    documents = [5, 0, 4, 2, 6, 1]
    parts = split_pass(documents, lengths, prefix_length, refit)
    assert sorted(document for part in parts for document in part) == sorted(documents)
    tokens = [prefix_length + sum(lengths[document] for document in part) for part in parts]
    share = (prefix_length + sum(lengths[document] for document in documents)) / 2**refit
    assert max(tokens) <= max(share, prefix_length + 33)
    assert refit or parts == [documents]
    assert len(parts) > 1 or refit == 0


@pytest.mark.parametrize("prefix_length", [0, 12])
@pytest.mark.parametrize("matmul_length", [256, 0])
def test_packed_loss_and_gradients_equal_those_of_single_documents(
    prefix_length: int, matmul_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouped, "_MATMUL_LENGTH", matmul_length)
    batch = documents(3, list(range(20, 20 + prefix_length)), (9, 30, 1, 17, 33, 8))
    packed = make_model(register())
    single = make_model("sdpa")
    loss = summed_loss(packed, make_batch(batch, prefix_length), torch.float32)
    expected = reference_loss(single, batch)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for (name, parameter), other in zip(packed.named_parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("matmul_length", [256, 0])
def test_padding_has_no_part_in_losses_and_gradients(matmul_length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped, "_MATMUL_LENGTH", matmul_length)
    batch = make_batch(documents(4, [*range(20, 32)], (30, 17, 9)), 12)
    assert padding_of(batch.input_ids.shape[1]) == 4
    found = []
    for unit in (8, 1):
        monkeypatch.setattr(layouts, "_ROUND_ROW", unit)
        monkeypatch.setattr(layouts, "_ROUND_KEYS", 2 * unit - 1)
        model = make_model(register())
        loss = summed_loss(model, batch, torch.float32)
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in model.parameters())])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_the_longest_document_is_told_without_padding() -> None:
    assert layout((9,), 12, torch.device("cpu"), padding_of(21)).longest == 21
    assert layout((30, 9), 12, torch.device("cpu"), padding_of(51)).longest == 42


def test_other_documents_change_nothing() -> None:
    model = make_model(register())
    one, *others = documents(5, [], (30, 20, 11))
    different = documents(6, [], (30, 20, 11))[1:]
    logits = [_logits(model, make_batch([one, *rest]))[:30] for rest in (others, different)]
    assert torch.equal(logits[0], logits[1])


def _logits(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    documents = layout(batch.lengths, batch.prefix_length, torch.device("cpu"))
    with torch.no_grad():
        return model(input_ids=batch.input_ids, position_ids=batch.position_ids, documents=documents).logits[0]
