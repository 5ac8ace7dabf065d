"""What an objective allows elsewhere in the job file."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import InvalidSpecError
from luthier.spec import canonical_json, parse_spec, resolve_paths

DATA = {"path": "rows.jsonl"}


def _parse(**changes: Any) -> Any:
    return parse_spec(json.dumps({"name": "job", "base_model": "m", "data": DATA, **changes}))


def test_only_pre_training_splits_long_rows() -> None:
    data = {**DATA, "overlong": "split"}
    assert _parse(data=data, objective={"type": "pretrain"}).data.overlong == "split"
    with pytest.raises(InvalidSpecError, match=r"data\.overlong is split.*drop or truncate"):
        _parse(data=data)


def test_the_last_answers_alone_may_be_learned() -> None:
    assert _parse(objective={"train_on": "last"}).objective.describe().endswith("last answers")
    assert _parse().objective.train_on == "all"


def test_a_classifier_has_metrics_and_formats_of_its_own() -> None:
    spec = _parse(objective={"type": "classification"})
    assert spec.evaluation.metrics == ["accuracy", "macro_f1"]
    assert spec.export.formats == ["peft", "merged"]
    assert _parse(objective={"type": "classification"}, method={"type": "full"}).export.formats == ["merged"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"export": {"formats": ["merged", "triton"]}}, "formats has 'triton', and a .* is exported as peft"),
        ({"deploy": {}}, "cannot be served yet, so leave deploy out"),
        ({"evaluation": {"metrics": ["perplexity"]}}, "has perplexity, which does not suit .*accuracy, macro_f1"),
        ({"data": {**DATA, "format": "text"}}, "data.format text is not what objective.type classification"),
        ({"objective": {"type": "classification", "labels": ["a", "a"]}}, "names a class twice"),
        (
            {"objective": {"type": "classification", "class_weights": {"a": 0.0}}},
            "class_weights of 'a' is not positive",
        ),
        (
            {"objective": {"type": "classification", "labels": ["a", "b"], "class_weights": {"c": 1.0}}},
            "class_weights names 'c', which is none of labels",
        ),
    ],
)
def test_what_a_classifier_does_not_have_is_refused_with_the_remedy(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidSpecError, match=reason):
        _parse(**{"objective": {"type": "classification"}, **changes})


def test_a_row_may_have_several_labels() -> None:
    one = _parse(objective={"type": "classification"})
    several = _parse(objective={"type": "classification", "multi_label": True})
    assert (one.objective.threshold, several.objective.threshold) == (None, 0.5)
    assert one.objective.row_formats == ("labelled_text", "labelled_chat")
    assert several.objective.row_formats == ("multi_labelled_text", "multi_labelled_chat")
    assert several.evaluation.metrics == ["micro_f1", "macro_f1", "accuracy"]
    assert several.export.formats == ["peft", "merged"]
    assert several.objective.describe().endswith("threshold 0.5")
    tag = _parse(objective={"type": "classification", "multi_label": True, "labels": ["spam"], "threshold": 0.9})
    assert tag.objective.labels == ["spam"]
    for spec in (one, several, tag):
        assert parse_spec(canonical_json(spec)) == spec


@pytest.mark.parametrize(
    ("objective", "changes", "reason"),
    [
        ({"multi_label": True, "threshold": 1.0}, {}, r"objective\.threshold: Input should be less than 1"),
        ({"multi_label": True, "threshold": 0.0}, {}, r"objective\.threshold: Input should be greater than 0"),
        ({"threshold": 0.5}, {}, "threshold has no use where .* likeliest label; leave it out, or set multi_label"),
        ({"labels": ["spam"]}, {}, "labels names one class, .* name two or more, or set multi_label: true"),
        ({"multi_label": True, "labels": []}, {}, r"objective\.labels: List should have at least 1 item"),
        (
            {"multi_label": True, "labels": ["a"], "class_weights": {"b": 2.0}},
            {},
            "class_weights names 'b', which is none of labels",
        ),
        (
            {"multi_label": True},
            {"data": {**DATA, "format": "labelled_text"}},
            r"set it to multi_labelled_text or multi_labelled_chat, or change objective\.multi_label",
        ),
        (
            {"multi_label": True},
            {"data": {**DATA, "balance": {"method": "smote"}}},
            r"data\.balance repeats or leaves out .* leave it out and set objective\.class_weights: balanced",
        ),
        (
            {},
            {"data": {"sources": [{"name": "a", "path": "a.jsonl", "format": "multi_labelled_chat"}]}},
            r"format of source 'a' is .*; set it to labelled_text or .*, or change objective\.multi_label",
        ),
        ({}, {"evaluation": {"metrics": ["micro_f1"]}}, "has micro_f1, which does not suit .* accuracy, macro_f1"),
    ],
)
def test_what_makes_no_sense_of_several_labels_is_refused(
    objective: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidSpecError, match=reason):
        _parse(objective={"type": "classification", **objective}, **changes)


def test_a_relative_teacher_is_relative_to_the_job_file() -> None:
    folder = Path("/jobs")
    local = _parse(objective={"type": "distillation", "teacher": "./big"})
    named = _parse(objective={"type": "distillation", "teacher": "org/big"})
    assert resolve_paths(local, folder).objective.teacher == "/jobs/big"
    assert resolve_paths(named, folder).objective.teacher == "org/big"


def test_a_teacher_answers_greedily_unless_asked_and_the_resolved_form_loads_again() -> None:
    teacher = {"type": "distillation", "teacher": "org/big"}
    plain = _parse(objective=teacher)
    assert (plain.objective.temperature, plain.objective.level) == (2.0, "logit")
    spec = _parse(objective={**teacher, "level": "sequence", "max_new_tokens": 9})
    assert (spec.objective.temperature, spec.objective.row_formats) == (
        0.0,
        ("chat", "sharegpt", "prompt_completion", "alpaca", "stepwise"),
    )
    assert parse_spec(canonical_json(spec)) == spec
    assert parse_spec(canonical_json(plain)) == plain


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        ({"max_new_tokens": 5}, "max_new_tokens has no use with level: logit"),
        ({"num_samples": 2, "temperature": 1.0}, "num_samples has no use with level: logit"),
        ({"temperature": 0.0}, "temperature divides the logits"),
        ({"level": "sequence", "alpha": 0.1}, "alpha has no use with level: sequence"),
        ({"level": "sequence", "num_samples": 2}, "with temperature 0 all would be the same"),
        ({"level": "sequence", "teacher": "m"}, "objective.teacher is base_model itself"),
        ({"level": "tokens"}, "objective.level"),
    ],
)
def test_what_makes_no_sense_of_a_teacher_is_refused(objective: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSpecError, match=words):
        _parse(objective={"type": "distillation", "teacher": "org/big", **objective})


def test_plain_texts_have_no_prompt_for_a_teacher() -> None:
    objective = {"type": "distillation", "teacher": "org/big", "level": "sequence"}
    with pytest.raises(InvalidSpecError, match=r"data\.format text is not what objective\.type distillation"):
        _parse(objective=objective, data={"path": "d.jsonl", "format": "text"})


def test_metrics_of_classes_are_for_classifiers() -> None:
    with pytest.raises(InvalidSpecError, match=r"has accuracy, which does not suit objective\.type sft"):
        _parse(evaluation={"metrics": ["accuracy"]})


@pytest.mark.parametrize("objective", ["classification", "reward"])
def test_an_adapter_of_our_own_format_carries_no_head(objective: str) -> None:
    with pytest.raises(InvalidSpecError, match=rf"objective\.type {objective} .* bottleneck cannot carry"):
        _parse(objective={"type": objective}, method={"type": "bottleneck"})
    assert _parse(objective={"type": objective}, method={"type": "full"}).objective.type == objective
