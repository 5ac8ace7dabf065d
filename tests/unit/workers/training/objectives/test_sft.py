"""Targets count what the rows say, however they are packed, and a resumed run is the whole one."""

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from luthier.spec import SftSpec
from tests.unit.workers.training.tiny_run import (
    KilledError,
    Killer,
    Outcome,
    Recorder,
    make_documents,
    make_engine,
    make_model,
)
from workers.training.objectives.sft import Sft
from workers.training.packing import batch_of
from workers.training.samples import Sample


def weighted(num: int, seed: int = 0) -> list[Sample]:
    """Every third sample says nothing of weights; the others halve some targets and drop some."""
    rng = np.random.default_rng(seed)
    samples = []
    for number, document in enumerate(make_documents(num, seed)):
        weights = rng.choice(np.array([0.0, 0.5, 1.0, 2.0], np.float32), len(document.input_ids))
        weights[~document.trainable] = 0.0
        samples.append(
            Sample(number, (document,))
            if number % 3 == 0
            else Sample(number, (SimpleNamespace(input_ids=document.input_ids, trainable=weights > 0),), weights)
        )
    return samples


def reference(model: torch.nn.Module, samples: list[Sample]) -> tuple[torch.Tensor, float]:
    """Each document alone through plain attention: the sum of weight times loss, and the sum of the weights."""
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    total, sum_of_weights = torch.zeros(()), 0.0
    for sample in samples:
        document = sample.documents[0]
        ids = torch.from_numpy(document.input_ids.astype(np.int64))
        weights = document.trainable.astype(np.float32) if sample.weights is None else sample.weights
        counts = torch.from_numpy(weights[1:])
        losses = functional.cross_entropy(plain(input_ids=ids[None]).logits[0, :-1], ids[1:], reduction="none")
        total = total + losses @ counts
        sum_of_weights += float(counts.sum())
    return total, sum_of_weights


def test_the_loss_is_the_sum_by_weights_however_the_samples_are_packed() -> None:
    model = make_model("full")
    objective = Sft(SftSpec())
    samples = weighted(9)
    expected, sum_of_weights = reference(model, samples)
    assert sum(objective.weigh(sample) for sample in samples) == pytest.approx(sum_of_weights)
    for parts in ([samples], [samples[:4], samples[4:]], [[sample] for sample in reversed(samples)]):
        loss = sum(objective.measure(model, batch_of(part), torch.float32).loss for part in parts)
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)


def test_a_run_with_weights_that_was_killed_ends_as_the_whole_one(tmp_path: Path) -> None:
    data = {"train": weighted(40), "validation": weighted(6, seed=9), "save_steps": 3}
    whole = Outcome.of(*make_engine(tmp_path / "whole", Recorder(), **data))
    killer = Killer(8, saved=False)
    with pytest.raises(KilledError):
        Outcome.of(*make_engine(tmp_path / "first", killer, **data))
    torch.rand(17)
    resumed = Outcome.of(*make_engine(tmp_path / "second", Recorder(), earlier=killer.checkpoints, fence=2, **data))
    assert resumed == whole
    assert whole.rows[-1]["loss"] < 0.9 * whole.rows[0]["loss"]
