"""Operations per token are those of the paper, and a utilisation is told only where the peak is known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from luthier.spec import FreezeSpec
from tests.unit.workers.training.tiny_run import make_base, make_model
from workers.training.methods.freeze import select_layers
from workers.training.methods.partial import adapt_for
from workers.training.samples import Sample
from workers.training.utilisation import flops_per_token, utilisation

WIDTH, MLP, LAYERS, HEADS, KEY_WIDTH, VOCABULARY, RANK = 32, 48, 2, 4, 16, 64, 4
BLOCK = WIDTH * (2 * WIDTH + 2 * KEY_WIDTH) + 3 * WIDTH * MLP
LENGTH = 10
ATTENTION = 12 * LAYERS * WIDTH * LENGTH / 2
HEAD = WIDTH * VOCABULARY * (LENGTH - 1) / LENGTH


def _samples(num: int = 3, shared: int = 0) -> list[Sample]:
    """Documents of ten tokens, all of them targets but the first, or but the `shared` ones that all begin with."""
    documents = []
    for number in range(num):
        ids = np.arange(LENGTH, dtype=np.int32) + number
        ids[:shared] = 1
        documents.append(SimpleNamespace(input_ids=ids, trainable=np.arange(LENGTH) >= max(shared, 1)))
    return [Sample(number, (document,)) for number, document in enumerate(documents)]


def test_full_fine_tuning_is_six_operations_per_weight() -> None:
    model = make_model("full")
    assert flops_per_token(model, _samples()) == pytest.approx(6 * LAYERS * BLOCK + 6 * HEAD + ATTENTION)


def test_frozen_weights_have_no_gradient_of_their_own() -> None:
    model = make_model("lora", dropout=0.0)
    num_added = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    expected = 4 * LAYERS * BLOCK + 4 * HEAD + 6 * num_added + ATTENTION
    # Nothing flows back through the very first product.
    assert flops_per_token(model, _samples()) == pytest.approx(expected - 2 * WIDTH * WIDTH, rel=1e-12)


def test_nothing_flows_back_before_the_first_trained_block() -> None:
    spec = FreezeSpec(type="freeze", num_trainable_layers=1)
    model = adapt_for(select_layers)(make_base(), spec)
    expected = (2 + 6) * BLOCK + 4 * HEAD + ATTENTION
    assert flops_per_token(model, _samples()) == pytest.approx(expected)


def test_a_shared_beginning_counts_as_not_computed() -> None:
    model = make_model("full")
    whole = 6 * LAYERS * BLOCK + 6 * WIDTH * VOCABULARY * 0.1 + ATTENTION
    assert flops_per_token(model, _samples(shared=9)) == pytest.approx(whole * (1 - 0.8))


def test_the_peak_of_the_table_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H100 80GB HBM3")
    device = torch.device("cuda", 0)
    assert utilisation(4e9, 100_000.0, torch.bfloat16, device, 1) == pytest.approx(4e14 / 989e12)
    assert utilisation(4e9, 100_000.0, torch.float32, device, 2) == pytest.approx(4e14 / 67e12 / 2)


def test_without_a_known_peak_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert utilisation(4e9, 1e5, torch.bfloat16, torch.device("cpu"), 1) is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A board nobody knows")
    assert utilisation(4e9, 1e5, torch.bfloat16, torch.device("cuda", 0), 1) is None
