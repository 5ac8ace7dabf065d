"""The loss of each source of a mixture is the mean over its samples alone; the run is the same with and without it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from luthier.spec import ClassificationSpec, DistillationSpec, DpoSpec, KtoSpec, RewardSpec, SftSpec
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
from workers.training.heads import put_head
from workers.training.objectives.classification import Classification
from workers.training.objectives.components import ByComponent
from workers.training.objectives.distillation import Distillation
from workers.training.objectives.dpo import make_dpo
from workers.training.objectives.kto import Kto
from workers.training.objectives.multi_label import MultiLabel
from workers.training.objectives.reward import Reward
from workers.training.objectives.sft import Sft
from workers.training.objectives.teacher import Teacher
from workers.training.packing import Batch, batch_of
from workers.training.samples import Sample

NAMES = ("tickets", "chat")


def of_sources(samples: list[Sample]) -> list[Sample]:
    return [replace(sample, component=NAMES[number % 3 == 0]) for number, sample in enumerate(samples)]


def singles() -> list[Sample]:
    samples = as_samples(make_documents(11))
    rng = np.random.default_rng(0)
    return [
        replace(
            sample,
            label=("desirable", "undesirable")[number % 2],
            weights=None if number % 2 else rng.random(len(sample.documents[0].input_ids)).astype(np.float32),
        )
        for number, sample in enumerate(samples)
    ]


def one_by_one(samples: Sequence[Sample]) -> Iterator[Batch]:
    return (batch_of([sample]) for sample in samples)


def unweighted() -> list[Sample]:
    return [replace(sample, weights=None) for sample in singles()]


def with_sets() -> list[Sample]:
    return [replace(sample, labels=tuple("abc"[: sample.number % 4])) for sample in unweighted()]


def pairs() -> list[Sample]:
    documents = make_documents(22)
    return [Sample(number, (documents[2 * number], documents[2 * number + 1])) for number in range(11)]


def distillation(folder: Path) -> Distillation:
    make_base().save_pretrained(folder)
    spec = DistillationSpec(type="distillation", teacher="t", alpha=0.5)
    return Distillation(spec, Teacher(folder, 64), folder)


OBJECTIVES: dict[str, tuple[Callable[[Path], Any], Callable[[], list[Sample]], int]] = {
    "sft": (lambda _: Sft(SftSpec()), singles, 0),
    "distillation": (distillation, singles, 0),
    "dpo": (lambda _: make_dpo(DpoSpec(type="dpo")), pairs, 0),
    "kto": (lambda _: Kto(KtoSpec(type="kto")), unweighted, 0),
    "reward": (lambda _: Reward(RewardSpec(type="reward")), pairs, 1),
    "classification": (
        lambda _: Classification(ClassificationSpec(type="classification", class_weights={"desirable": 3.0})),
        unweighted,
        2,
    ),
    "multi-label": (lambda _: MultiLabel(ClassificationSpec(type="classification", multi_label=True)), with_sets, 3),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_figures_are_the_means_of_the_sources(name: str, tmp_path: Path) -> None:
    make, rows, num_scores = OBJECTIVES[name]
    samples = of_sources(rows())
    inner = make(tmp_path)
    objective = ByComponent(inner)
    model = make_model("full").eval()
    if num_scores:
        put_head(model, num_scores)
    objective.check(samples, [])
    objective.prepare(model, samples, one_by_one, torch.float32)
    objective.begin(model, samples, torch.float32)
    total = sum(map(objective.weigh, samples))
    sums: dict[str, float] = {}
    for part in (samples[:4], samples[4:5], samples[5:]):
        measured = objective.measure(model, batch_of(part), torch.float32)
        for figure, value in {"loss": measured.loss.item(), **measured.figures}.items():
            sums[figure] = sums.get(figure, 0.0) + float(value) / total
    alone = {}
    for source in NAMES:
        own = [sample for sample in samples if sample.component == source]
        loss = sum(inner.measure(model, batch_of([sample]), torch.float32).loss.item() for sample in own)
        weight = sum(map(inner.weigh, own))
        alone[source] = weight
        assert sums[f"loss/{source}"] == pytest.approx(loss / weight, rel=1e-5)
    whole = sum(sums[f"loss/{source}"] * weight for source, weight in alone.items()) / total
    assert sums["loss"] == pytest.approx(whole, rel=1e-5)


def test_training_and_validation_tell_each_source_and_resume_exactly(tmp_path: Path) -> None:
    train, validation = of_sources(as_samples(make_documents(40))), of_sources(as_samples(make_documents(6, seed=9)))

    def start(name: str, report: Recorder, **arguments: Any) -> Outcome:
        engine = make_engine(
            tmp_path / name,
            report,
            objective=ByComponent(Sft(SftSpec())),
            train=train,
            validation=validation,
            save_steps=3,
            **arguments,
        )
        return Outcome.of(*engine)

    whole = start("whole", Recorder())
    for row in whole.rows:
        assert {f"loss/{name}" for name in NAMES} & row.keys()
    checked = [row for row in whole.rows if "validation_loss" in row]
    assert all(f"validation_loss/{name}" in row for name in NAMES for row in checked)
    killer = Killer(8, saved=False)
    with pytest.raises(KilledError):
        start("first", killer)
    assert start("second", Recorder(), earlier=killer.checkpoints, fence=2) == whole
    plain = Outcome.of(
        *make_engine(tmp_path / "plain", Recorder(), train=make_documents(40), validation=make_documents(6, seed=9))
    )
    assert plain.samples == whole.samples
    for ours, theirs in zip(whole.rows, plain.rows, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)


def test_a_step_without_a_source_says_nothing_of_it() -> None:
    document = SimpleNamespace(input_ids=np.arange(9, dtype=np.int32), trainable=np.ones(9, np.bool_))
    sample = Sample(0, (document,), component="chat")
    objective = ByComponent(Sft(SftSpec()))
    model = make_model("full").eval()
    objective.begin(model, [sample], torch.float32)
    measured = objective.measure(model, batch_of([sample]), torch.float32)
    assert measured.figures.keys() == {"loss/chat"}
    assert measured.figures["loss/chat"] == pytest.approx(measured.loss.item())
