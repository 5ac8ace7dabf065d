"""The pass that a plan counts with is one that the training makes of the same documents."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from luthier.planning.activations import activation_bytes
from luthier.planning.methods import adapt
from luthier.planning.shape import read_shape
from luthier.planning.workload import DataFigures, read_report, workload_of
from luthier.spec import JobSpec
from tests.unit.luthier.planning.test_shape import SMALL
from workers.training.beginnings import sample_beginnings
from workers.training.forecast import figures_of
from workers.training.packing import batch_of, own_lengths, pack
from workers.training.samples import Sample

SYSTEM = list(range(100, 140))


def _samples(num_shared):
    """Questions of 20 to 40 tokens behind what all share, then answers as long."""
    rng = np.random.default_rng(0)
    samples = []
    for number in range(60):
        own = int(rng.integers(20, 41))
        ids = [*SYSTEM[:num_shared], *rng.integers(200, 900, 2 * own)]
        is_target = np.arange(len(ids)) >= num_shared + own
        samples.append(Sample(number, (SimpleNamespace(input_ids=np.array(ids, np.int32), trainable=is_target),)))
    return samples


def _spec(**training):
    return JobSpec.model_validate(
        {
            "name": "w", "base_model": "smollm2-135m-instruct", "data": {"path": "/x", "max_length": 200},
            "method": {"type": "lora"}, "training": {"pack_length": 512, **training},
        }
    )  # fmt: skip


@pytest.mark.parametrize("num_shared", [0, 40])
def test_a_pass_has_as_many_tokens_and_targets(num_shared):
    samples = _samples(num_shared)
    figures = figures_of(samples)
    assert figures.num_shared == num_shared
    lengths = [sample.longest - num_shared for sample in samples]
    rows = pack(lengths, 512 - num_shared, range(len(samples)))
    batches = [batch_of([samples[place] for place in row], num_shared) for row in rows[:-1]]

    work = workload_of(_spec(num_train_epochs=2.0), figures)

    assert work.row_tokens == pytest.approx(np.mean([batch.input_ids.numel() for batch in batches]), rel=0.1)
    assert work.num_targets == pytest.approx(np.mean([batch.num_targets for batch in batches]), rel=0.1)
    assert work.counted_tokens == pytest.approx(np.mean([batch.num_tokens for batch in batches]), rel=0.1)
    assert work.num_steps == pytest.approx(2 * len(rows), rel=0.2)
    assert work.num_tokens == 2 * figures.num_tokens
    assert work.document_tokens >= np.mean(lengths)


@pytest.mark.parametrize("num_shared", [0, 40])
def test_a_prompt_that_two_answers_share_is_one_in_a_pass(num_shared):
    samples = _pairs(num_shared)
    figures = figures_of(samples)
    assert figures.num_shared == num_shared
    assert figures.num_repeated == sum(int(sample_beginnings([one])[0]) - num_shared for one in samples)
    rows = pack(own_lengths(samples, num_shared), 512 - num_shared, range(len(samples)))
    batches = [batch_of([samples[place] for place in row], num_shared) for row in rows[:-1]]

    work = workload_of(_spec(num_train_epochs=2.0), figures)

    assert work.row_tokens == pytest.approx(np.mean([batch.input_ids.numel() for batch in batches]), rel=0.1)
    assert work.num_targets == pytest.approx(np.mean([batch.num_targets for batch in batches]), rel=0.1)
    assert work.counted_tokens == pytest.approx(np.mean([batch.num_tokens for batch in batches]), rel=0.1)
    unfolded = [(sum(batch.lengths) / (batch.input_ids.numel() - num_shared)) for batch in batches]
    assert work.unfolded == pytest.approx(np.mean(unfolded), rel=0.1)
    assert work.num_steps == pytest.approx(2 * len(rows), rel=0.2)
    assert work.num_tokens == 2 * figures.num_tokens


def _pairs(num_shared):
    """Two answers to each of the questions of `_samples`."""
    rng = np.random.default_rng(1)
    pairs = []
    for sample in _samples(num_shared):
        (better,) = sample.documents
        answer = rng.integers(200, 900, int(rng.integers(20, 41)))
        ids = np.append(better.input_ids[~better.trainable], answer).astype(np.int32)
        worse = SimpleNamespace(input_ids=ids, trainable=np.arange(len(ids)) >= (~better.trainable).sum())
        pairs.append(replace(sample, documents=(better, worse)))
    return pairs


def test_rows_that_are_not_packed_share_their_beginning_too():
    work = workload_of(_spec(packing=False, per_device_train_batch_size=3), figures_of(_samples(40)))
    assert work.row_tokens == 40 + 3 * 80


def test_a_smaller_pass_has_the_same_beginning():
    work = workload_of(_spec(), figures_of(_samples(40)))
    half = work.resized(0.5)
    assert half.row_tokens - 40 == (work.row_tokens - 40) / 2
    assert half.counted_tokens == pytest.approx(work.counted_tokens / 2)


def test_pairs_of_a_report_are_two_texts_each():
    split = {"num_rows": 10, "num_tokens": 2000, "num_trainable_tokens": 500, "num_shared_tokens": 12}
    lengths = {"lengths": {"mean": 100.0, "max": 180}}
    figures = read_report({"splits": {"train": split | lengths | {"num_repeated_tokens": 300}}})
    assert figures == DataFigures(20, 2000, 500, 180, 12, 300, source="the data report")
    assert read_report({"splits": {"train": split | lengths}}).num_repeated == 0, "a report of before"


def test_a_beginning_longer_than_the_rows_of_the_job_leaves_room_for_a_token():
    work = workload_of(_spec(), DataFigures(10, 3000, 100, 300, 250))
    assert work.document_tokens >= 1
    assert work.num_targets >= 1


def test_answers_are_trained_on_by_code_that_keeps_more():
    spec = _spec(packing=False, per_device_train_batch_size=8).model_dump(mode="json")
    spec["objective"] = {"type": "grpo", "rewards": [{"type": "length"}], "max_completion_length": 60}
    work = workload_of(JobSpec.model_validate(spec), figures_of(_samples(0)))
    assert work.by_transformers
    shape = read_shape(SMALL | {"model_type": "llama"})
    adaptation = adapt(shape, JobSpec.model_validate(spec).method)
    theirs, ours = (
        activation_bytes(shape, adaptation, replace(work, by_transformers=each), 2) for each in (True, False)
    )
    norms = shape.num_norms * shape.num_layers + 1
    assert theirs - ours == pytest.approx(2 * shape.hidden * norms * work.row_tokens)
