"""The loss is torch's and that of transformers' own multi-label classifier, however rows are packed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from luthier.spec import ClassificationSpec
from tests.unit.workers.training.tiny_run import make_documents, make_model
from workers.failures import DataError
from workers.training.classes import Classes
from workers.training.heads import HEAD, as_classifier, head_of, load_head, put_head, save_head
from workers.training.objectives.classification import Classification, make_classification
from workers.training.objectives.multi_label import MultiLabel
from workers.training.packing import batch_of
from workers.training.samples import Sample

LIMIT = 1e-5
LABELS = ("even", "long", "rare")


def section(**settings: Any) -> ClassificationSpec:
    return ClassificationSpec(type="classification", multi_label=True, **settings)


def labelled(num: int, seed: int = 0) -> list[Sample]:
    """Rows with none to three labels."""
    samples = []
    for number, document in enumerate(make_documents(num, seed)):
        document.trainable = np.zeros(len(document.input_ids), np.bool_)
        has = (document.input_ids[-1] % 2 == 0, len(document.input_ids) > 8, number == 3)
        labels = tuple(label for label, is_had in zip(LABELS, has, strict=True) if is_had)
        samples.append(Sample(number, (document,), labels=labels))
    return samples


def table(samples: list[Sample]) -> torch.Tensor:
    return torch.tensor([[float(label in (sample.labels or ())) for label in LABELS] for sample in samples])


def with_head() -> nn.Module:
    model = make_model("full", dropout=0.0)
    put_head(model, len(LABELS))
    with torch.no_grad():
        head_of(model).weight.mul_(5)  # or every score would be about 0
    return model.eval()


def exported(model: Any, folder: Path) -> Any:
    """As transformers reads it."""
    as_classifier(model, Classes(LABELS, 0.5), pad_id=0).save_pretrained(folder)
    return AutoModelForSequenceClassification.from_pretrained(folder).eval()


def padded(samples: list[Sample]) -> dict[str, torch.Tensor]:
    width = max(len(sample.documents[0].input_ids) for sample in samples)
    ids, mask = torch.zeros(len(samples), width, dtype=torch.int64), torch.zeros(len(samples), width)
    for row, sample in enumerate(samples):
        tokens = torch.from_numpy(sample.documents[0].input_ids.astype(np.int64))
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    return {"input_ids": ids, "attention_mask": mask}


def mean_loss(objective: MultiLabel, model: nn.Module, samples: list[Sample]) -> tuple[torch.Tensor, dict[str, float]]:
    """Over two forward passes, as a step with accumulation or on two ranks takes it."""
    parts = [objective.measure(model, batch_of(part), torch.float32) for part in (samples[:4], samples[4:])]
    total = sum(map(objective.weigh, samples))
    accuracy = sum(float(part.figures["accuracy"]) for part in parts) / total
    return sum((part.loss for part in parts), torch.zeros(())) / total, {"accuracy": accuracy}


def test_the_loss_is_that_of_transformers_own_multi_label_classifier(tmp_path: Path) -> None:
    samples, model = labelled(11), with_head()
    objective = MultiLabel(section())
    objective.check(samples, [])
    ours, figures = mean_loss(objective, model, samples)
    plain = exported(model, tmp_path)
    assert plain.config.problem_type == "multi_label_classification"
    assert plain.config.id2label == dict(enumerate(LABELS))
    theirs = plain(**padded(samples), labels=table(samples))
    assert ours.item() == pytest.approx(theirs.loss.item(), abs=LIMIT)
    picked = theirs.logits.sigmoid() >= 0.5
    assert figures["accuracy"] == pytest.approx(float((picked == table(samples).bool()).all(1).float().mean()))
    ours.backward()
    theirs.loss.backward()
    expected = {name: weight.grad for name, weight in plain.named_parameters()}
    found = {name.replace("lm_head", "score"): weight.grad for name, weight in model.named_parameters()}
    assert found.keys() == expected.keys()
    assert max(float((found[name] - expected[name]).abs().max()) for name in found) <= LIMIT
    assert float(found["score.weight"].abs().max()) > 100 * LIMIT


@pytest.mark.parametrize("class_weights", ["balanced", {"long": 0.5, "rare": 3.0}])
def test_weights_are_positive_weights_of_torch(tmp_path: Path, class_weights: Any) -> None:
    samples, model = labelled(11), with_head()
    objective = MultiLabel(section(class_weights=class_weights))
    objective.check(samples, [])
    had = table(samples)
    balanced = (len(samples) - had.sum(0)) / had.sum(0)
    weights = balanced if class_weights == "balanced" else torch.tensor([1.0, 0.5, 3.0])
    plain = exported(model, tmp_path)
    scores = plain(**padded(samples)).logits
    expected = nn.BCEWithLogitsLoss(pos_weight=weights)(scores, had)
    assert mean_loss(objective, model, samples)[0].item() == pytest.approx(expected.item(), abs=LIMIT)


def test_a_class_that_all_rows_or_none_have_is_not_weighed() -> None:
    rows = [replace(row, labels=(*(row.labels or ()), "all")) for row in labelled(8)]
    objective = MultiLabel(section(labels=["none", "all", *LABELS], class_weights="balanced"))
    objective.check(rows, [])
    assert objective._weights[:2] == [1.0, 1.0]


def test_the_threshold_decides_which_classes_a_text_gets() -> None:
    scores = torch.tensor([[0.0, -1.0, 3.0], [-4.0, -4.0, -4.0]])
    assert Classes(LABELS, 0.5).given(scores) == [{"even", "rare"}, frozenset()]
    assert Classes(LABELS, 0.9).given(scores) == [{"rare"}, frozenset()]
    assert Classes(LABELS).given(scores) == [{"rare"}, {"even"}]


def test_the_head_is_kept_with_its_threshold_and_one_of_an_older_artifact_loads(tmp_path: Path) -> None:
    model = with_head()
    save_head(model, Classes(LABELS, 0.3), tmp_path)
    kept = tmp_path / HEAD / "head.json"
    assert json.loads(kept.read_text()) == {"labels": [*LABELS], "multi_label": True, "threshold": 0.3}
    assert load_head(make_model("full"), tmp_path) == Classes(LABELS, 0.3)
    kept.write_text(json.dumps({"labels": [*LABELS]}))
    assert load_head(make_model("full"), tmp_path) == Classes(LABELS)


def _relabelled(samples: list[Sample], labels: tuple[str, ...] | None) -> list[Sample]:
    return [replace(sample, labels=labels) for sample in samples]


@pytest.mark.parametrize(
    ("train", "validation", "settings", "reason"),
    [
        (_relabelled(labelled(6), ("even", "long")), [], {}, "every training row has the labels even, long; there is"),
        (_relabelled(labelled(6), ()), [], {}, "every training row has no label; there is nothing to tell apart"),
        (labelled(20), _relabelled(labelled(2), ("new",)), {}, "validation split has the label 'new', which is none"),
        (labelled(20), [], {"labels": ["even", "long"]}, "training split has the label 'rare'"),
        (_relabelled(labelled(2), None), [], {}, "rows have no list of labels, which objective.multi_label learns"),
        (labelled(20), [], {"class_weights": {"huge": 2.0}}, "class_weights names 'huge', which no row has"),
    ],
)
def test_rows_that_cannot_be_learned_are_refused(
    train: list[Sample], validation: list[Sample], settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        MultiLabel(section(**settings)).check(train, validation)


def test_one_class_may_be_told_from_none() -> None:
    rows = [replace(row, labels=("spam",) if row.number % 2 else ()) for row in labelled(6)]
    MultiLabel(section()).check(rows, [])


def test_the_job_file_says_whether_rows_have_several() -> None:
    assert isinstance(make_classification(section()), MultiLabel)
    assert isinstance(make_classification(ClassificationSpec(type="classification")), Classification)
