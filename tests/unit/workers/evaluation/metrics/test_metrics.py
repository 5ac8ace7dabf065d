"""Each metric on answers whose score is known."""

import math

import pytest

from luthier.spec import JobSpec
from luthier.spec.evaluation import MetricName
from luthier.spec.idle import idle_fields
from luthier.spec.objective.classification import CLASS_METRICS
from workers.evaluation.metrics import METRICS, Prediction
from workers.evaluation.metrics.exact_match import exact_match
from workers.evaluation.metrics.json_valid import json_valid
from workers.evaluation.metrics.token_f1 import token_f1
from workers.evaluation.predict import prefers


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ('{"a": 1, "b": [2, 3]}', '{"b":[2,3],"a":1}', 1.0),
        ('{"a": [1, 2]}', '{"a": [2, 1]}', 0.0),
        ('{"a": 1}', '{"a": true}', 0.0),
        ('{"a": 1}', '{"a": 1} and more', 0.0),
        ('{"a": "\\u00e9"}', '{"a": "é"}', 1.0),
        ("  yes\n", "yes", 1.0),
        ("Yes", "yes", 0.0),
        ("", "", 1.0),
        ("[" * 100_000, "x", 0.0),
    ],
)
def test_exact_match(answer: str, reference: str, score: float) -> None:
    assert exact_match(answer, reference) == score


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ('{"a": [1, null]}', 1.0),
        (' "text" ', 1.0),
        ('{"a": 1} done', 0.0),
        ("```json\n{}\n```", 0.0),
        ("{'a': 1}", 0.0),
        ('{"a": NaN}', 0.0),
        ("", 0.0),
        ("[" * 100_000, 0.0),
    ],
)
def test_json_valid(answer: str, score: float) -> None:
    assert json_valid(answer, "whatever") == score


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("The cat sat.", "a cat sat", 1.0),
        ("cat", "cat sat", 2 / 3),
        ("cat cat", "cat", 2 / 3),
        ("dog", "cat", 0.0),
        ("", "", 1.0),
        ("", "cat", 0.0),
        ('{"kind":"late"}', '{"kind":"lost"}', 0.5),
    ],
)
def test_token_f1(answer: str, reference: str, score: float) -> None:
    assert token_f1(answer, reference) == pytest.approx(score)


def test_perplexity_is_over_tokens_and_not_over_rows() -> None:
    rows = [Prediction("", "", 4.0, 1), Prediction("", "", 0.0, 3)]
    metric = METRICS["perplexity"]
    ratio = sum(metric.measure(row) for row in rows) / sum(metric.weigh(row) for row in rows)
    assert float(metric.finish(ratio)) == pytest.approx(math.e)


def test_every_metric_of_the_job_file_is_there() -> None:
    assert set(METRICS) == set(MetricName.__args__)


def test_preference_accuracy_is_per_token_and_a_tie_is_wrong() -> None:
    pairs = [((3.0, 3), (2.5, 2)), ((2.0, 2), (1.0, 1)), ((2.0, 1), (3.0, 3))]
    rows = [Prediction("", "", *chosen, prefers(chosen, rejected)) for chosen, rejected in pairs]
    rows.append(Prediction("", "", 1.0, 1))
    metric = METRICS["preference_accuracy"]
    assert [metric.measure(row) for row in rows] == [1.0, 0.0, 0.0, 0.0]
    assert [metric.weigh(row) for row in rows] == [1.0, 1.0, 1.0, 0.0]


def test_a_job_file_is_told_of_answers_that_no_metric_looks_at():
    for name in METRICS.keys() - set(CLASS_METRICS):
        evaluation = {"metrics": [name], "max_new_tokens": 9}
        job = {"name": "t", "base_model": "m", "data": {"path": "/d"}, "evaluation": evaluation}
        is_told = any("evaluation.max_new_tokens" in line for line in idle_fields(JobSpec.model_validate(job)))
        assert is_told != METRICS[name].needs_answer
