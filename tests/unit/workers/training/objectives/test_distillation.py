"""The divergence is TRL's, cutting it to the likeliest tokens only lowers it, and packing does not change it."""

import copy
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from luthier.spec import DistillationSpec
from tests.unit.workers.training.tiny_run import (
    KilledError,
    Killer,
    Outcome,
    Recorder,
    as_samples,
    make_base,
    make_documents,
    make_engine,
    make_model,
)
from workers.failures import DataError
from workers.training.objectives.distillation import Distillation, kl_from
from workers.training.objectives.teacher import Likely, Teacher, rest_of
from workers.training.packing import batch_of
from workers.training.samples import Sample

VOCABULARY = 64


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    folder = tmp_path_factory.mktemp("teacher")
    model = make_base(VOCABULARY)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    model.save_pretrained(folder)
    return Teacher(folder, VOCABULARY)


@pytest.fixture
def distil(teacher: Teacher, tmp_path: Path) -> Callable[..., Distillation]:
    def make(**settings: Any) -> Distillation:
        return Distillation(DistillationSpec(type="distillation", teacher="t", **settings), teacher, tmp_path)

    return make


def one_by_one(samples: list[Sample]) -> Any:
    return (batch_of([sample]) for sample in samples)


def prepared(objective: Distillation, samples: list[Sample]) -> Distillation:
    objective.prepare(make_model("full"), samples, one_by_one, torch.float32)
    return objective


def total(objective: Distillation, parts: list[list[Sample]], weights: float) -> float:
    model = make_model("full").eval()
    loss = sum(objective.measure(model, batch_of(part), torch.float32).loss.item() for part in parts)
    return loss / weights


def plain_logits(model: Any, sample: Sample) -> torch.Tensor:
    """What predicts each token but the first, by plain attention."""
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("sdpa")
    ids = torch.from_numpy(sample.documents[0].input_ids.astype(np.int64))
    logits: torch.Tensor = plain(input_ids=ids[None]).logits[0, :-1]
    return logits[torch.from_numpy(sample.documents[0].trainable[1:])]


@pytest.mark.parametrize(("temperature", "alpha"), [(1.0, 1.0), (2.0, 1.0), (3.0, 0.3), (2.0, 0.0)])
def test_with_every_token_the_loss_is_that_of_trl(
    teacher: Teacher, distil: Callable[..., Distillation], temperature: float, alpha: float
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.experimental.gkd import GKDTrainer
    from workers.models import load_model

    samples = as_samples(make_documents(7))
    objective = prepared(distil(temperature=temperature, alpha=alpha, top_k=VOCABULARY), samples)
    student, master = make_model("full").eval(), load_model(teacher.folder, torch.float32)
    ours = torch.cat([plain_logits(student, sample) for sample in samples])
    theirs = torch.cat([plain_logits(master, sample) for sample in samples])
    targets = torch.cat(
        [torch.from_numpy(s.documents[0].input_ids[1:][s.documents[0].trainable[1:]].astype(np.int64)) for s in samples]
    )
    divergence = GKDTrainer.generalized_jsd_loss(ours, theirs, beta=0, temperature=temperature)
    expected = alpha * temperature**2 * divergence + (1 - alpha) * functional.cross_entropy(ours, targets)
    num_targets = sum(map(objective.weigh, samples))
    assert num_targets == len(targets)
    for parts in ([samples], [samples[:3], samples[3:]], one_each(samples)):
        assert total(objective, parts, num_targets) == pytest.approx(expected.item(), abs=1e-5, rel=1e-5)


def one_each(samples: list[Sample]) -> list[list[Sample]]:
    return [[sample] for sample in reversed(samples)]


def test_fewer_tokens_lower_the_divergence_and_the_rest_is_one_outcome() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(20, 50), torch.randn(20, 50).log_softmax(1)
    found = []
    for k in (1, 5, 20, 50):
        top, ids = theirs.topk(k)
        found.append(kl_from(Likely(ids, top, rest_of(theirs, ids)), ours, 1.0))
    whole = functional.kl_div(ours.log_softmax(1), theirs, reduction="none", log_target=True).sum(1)
    torch.testing.assert_close(found[-1], whole, rtol=1e-5, atol=1e-6)
    for fewer, more in itertools.pairwise(found):
        assert bool((fewer <= more + 1e-6).all())
        assert bool((fewer >= -1e-6).all())


def test_a_student_that_is_the_teacher_has_nothing_to_learn() -> None:
    logits = torch.randn(5, 30, requires_grad=True)
    log_probs = (logits.detach() / 2).log_softmax(1)
    top, ids = log_probs.topk(4)
    divergence = kl_from(Likely(ids, top, rest_of(log_probs, ids)), logits, 2.0)
    divergence.sum().backward()
    assert logits.grad is not None
    torch.testing.assert_close(divergence, torch.zeros(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(logits.grad, torch.zeros(5, 30), atol=1e-6, rtol=0)


def test_weights_of_the_targets_count(distil: Callable[..., Distillation]) -> None:
    documents = make_documents(4)
    weighted = [Sample(n, (d,), np.where(d.trainable, 0.5, 0.0).astype(np.float32)) for n, d in enumerate(documents)]
    plain = as_samples(documents)
    objective, other = prepared(distil(), plain), prepared(distil(), weighted)
    assert sum(map(other.weigh, weighted)) == pytest.approx(sum(map(objective.weigh, plain)) / 2)
    assert total(other, [weighted], 1.0) == pytest.approx(total(objective, [plain], 1.0) / 2)


def test_nothing_is_left_on_the_disk(distil: Callable[..., Distillation], tmp_path: Path) -> None:
    prepared(distil(), as_samples(make_documents(3)))
    assert list(tmp_path.iterdir()) == []


def test_rows_without_a_target_are_refused(distil: Callable[..., Distillation]) -> None:
    document = make_documents(1)[0]
    document.trainable = np.zeros(len(document.input_ids), np.bool_)
    with pytest.raises(DataError, match="no token of the training split is a target"):
        distil().check(as_samples([document]), [])


def test_a_run_that_was_killed_ends_as_the_whole_one(tmp_path: Path, distil: Callable[..., Distillation]) -> None:
    def start(name: str, report: Recorder, **arguments: Any) -> Outcome:
        return Outcome.of(
            *make_engine(tmp_path / name, report, objective=distil(top_k=8, alpha=1.0), save_steps=3, **arguments)
        )

    whole = start("whole", Recorder())
    killer = Killer(8, saved=False)
    with pytest.raises(KilledError):
        start("first", killer)
    torch.rand(17)
    assert start("second", Recorder(), earlier=killer.checkpoints, fence=2) == whole
    assert whole.rows[-1]["kl"] < whole.rows[0]["kl"]
    assert "validation_kl" in whole.rows[-1]
