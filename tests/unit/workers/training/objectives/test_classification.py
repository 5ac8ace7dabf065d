"""The loss is that of transformers' own classifier, however rows are packed, and so is what gets saved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch import nn
from torch.nn import functional
from transformers import LlamaForSequenceClassification

from luthier.spec import ClassificationSpec
from tests.unit.workers.training.tiny_run import (
    KilledError,
    Killer,
    Outcome,
    Recorder,
    make_documents,
    make_engine,
    make_model,
)
from workers.failures import ConfigError, DataError
from workers.training.beginnings import shared_prefix
from workers.training.classes import Classes
from workers.training.heads import as_classifier, head_of, load_head, put_head, save_head, set_output
from workers.training.objectives.classification import Classification
from workers.training.packing import batch_of
from workers.training.samples import Sample

LABELS = ["high", "low", "middle"]


def labelled(num: int, seed: int = 0, prefix: int = 0) -> list[Sample]:
    """Runs by where they end, after `prefix` tokens that all have."""
    samples = []
    for number, document in enumerate(make_documents(num, seed)):
        document.input_ids = np.concatenate([np.full(prefix, 2, np.int32), document.input_ids])
        document.trainable = np.zeros(len(document.input_ids), np.bool_)
        label = LABELS[1] if document.input_ids[-1] < 20 else LABELS[2 if document.input_ids[-1] < 30 else 0]
        samples.append(Sample(number, (document,), label=label))
    return samples


def section(**settings: Any) -> ClassificationSpec:
    return ClassificationSpec(type="classification", **settings)


def with_head(method: str, num_labels: int = 3) -> nn.Module:
    model = make_model(method, dropout=0.0)
    put_head(model, num_labels)
    return model.eval()


def plain_classifier(model: nn.Module) -> LlamaForSequenceClassification:
    """A model of transformers' own class and attention with the same weights."""
    inner = model.merge_and_unload() if isinstance(model, PeftModel) else model
    shared = as_classifier(inner, Classes(tuple(LABELS)), pad_id=0)
    inner.set_attn_implementation("sdpa")
    shared.config._attn_implementation = "sdpa"
    plain = LlamaForSequenceClassification(shared.config)
    plain.load_state_dict(shared.state_dict())
    return plain.eval()


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("prefix", [0, 12])
@pytest.mark.parametrize("class_weights", [None, "balanced", {"low": 0.5, "high": 3.0}])
def test_the_loss_is_that_of_transformers_own_classifier(method: str, prefix: int, class_weights: Any) -> None:
    samples = labelled(11, prefix=prefix)
    model = with_head(method)
    objective = Classification(section(class_weights=class_weights))
    objective.check(samples, [])
    length = shared_prefix([sample.documents[0] for sample in samples])
    assert length >= prefix
    parts = [samples[:4], samples[4:]]
    measured = [objective.measure(model, batch_of(part, length), torch.float32) for part in parts]
    loss = sum(part.loss for part in measured) / sum(map(objective.weigh, samples))
    plain = plain_classifier(model)
    width = max(len(sample.documents[0].input_ids) for sample in samples)
    ids, mask = torch.zeros(len(samples), width, dtype=torch.int64), torch.zeros(len(samples), width)
    for row, sample in enumerate(samples):
        tokens = torch.from_numpy(sample.documents[0].input_ids.astype(np.int64))
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    scores = plain(input_ids=ids, attention_mask=mask).logits
    classes = torch.tensor([LABELS.index(str(sample.label)) for sample in samples])
    counts = torch.bincount(classes).float()
    weights = {
        "None": torch.ones(3),
        "balanced": len(samples) / (3 * counts),
    }.get(str(class_weights), torch.tensor([3.0, 0.5, 1.0]))
    expected = functional.cross_entropy(scores, classes, weight=weights)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    right = ((scores.argmax(1) == classes) * weights[classes]).sum()
    assert sum(part.figures["accuracy"] for part in measured) == pytest.approx(float(right))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_run_that_was_killed_ends_as_the_whole_one(tmp_path: Path, method: str) -> None:
    def start(name: str, report: Recorder, **arguments: Any) -> Outcome:
        model = make_model(method, dropout=0.1)
        put_head(model, 3)
        rate = {"full": 2e-3, "lora": 5e-3}[method]
        return Outcome.of(
            *make_engine(
                tmp_path / name,
                report,
                model=model,
                train=labelled(40),
                validation=labelled(6, seed=9),
                objective=Classification(section()),
                learning_rate=rate,
                save_steps=3,
                **arguments,
            )
        )

    whole = start("whole", Recorder())
    killer = Killer(8, saved=False)
    with pytest.raises(KilledError):
        start("first", killer)
    torch.rand(17)
    assert start("second", Recorder(), earlier=killer.checkpoints, fence=2) == whole
    assert whole.rows[-1]["loss"] < 0.7 * whole.rows[0]["loss"]
    assert "validation_accuracy" in whole.rows[-1]


def test_the_head_is_kept_beside_the_model_and_put_back(tmp_path: Path) -> None:
    model = make_model("full")
    before = model.get_output_embeddings()
    assert put_head(model, 3) is before
    save_head(model, Classes(tuple(LABELS)), tmp_path)
    weight = head_of(model).weight.detach().clone()
    set_output(model, before)
    assert not any(parameter.shape == weight.shape for parameter in model.parameters())
    assert load_head(model, tmp_path) == Classes(tuple(LABELS))
    assert torch.equal(head_of(model).weight, weight)


def test_a_model_that_transformers_cannot_classify_with_is_refused() -> None:
    model = make_model("full")
    model.config.model_type = "unheard-of"
    model.config.__class__ = type("UnheardOfConfig", (type(model.config),), {})
    with pytest.raises(ConfigError, match="no sequence classification for models of type unheard-of"):
        put_head(model, 3)


def _relabelled(samples: list[Sample], label: str | None) -> list[Sample]:
    return [Sample(sample.number, sample.documents, label=label) for sample in samples]


@pytest.mark.parametrize(
    ("train", "validation", "settings", "reason"),
    [
        (_relabelled(labelled(6), "low"), [], {}, "every training row has the label 'low'"),
        (labelled(20), _relabelled(labelled(2), "new"), {}, "validation split has the label 'new', which is none of"),
        (labelled(20), [], {"labels": ["low", "high"]}, "training split has the label 'middle'"),
        ([*labelled(20), *_relabelled(labelled(1), None)], [], {}, "rows have no label"),
        (labelled(20), [], {"class_weights": {"huge": 2.0}}, "class_weights names 'huge', which no row has"),
    ],
)
def test_rows_that_cannot_be_learned_are_refused(
    train: list[Sample], validation: list[Sample], settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        Classification(section(**settings)).check(train, validation)


def test_listed_labels_keep_their_order_and_may_have_no_rows() -> None:
    objective = Classification(section(labels=["none", *reversed(LABELS)], class_weights="balanced"))
    objective.check(labelled(20), [])
    assert objective.weigh(labelled(1)[0]) > 0
