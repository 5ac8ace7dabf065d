"""What the length of a run and shared beginnings do to its peak memory."""

from dataclasses import replace

import pytest

from luthier.planning.memory import estimate_memory
from luthier.planning.question import question_of
from luthier.planning.setting import Setting
from luthier.planning.workload import DataFigures
from luthier.spec import FullSpec, JobSpec
from tests.unit.luthier.planning.test_shape import SMALL

SPEC = JobSpec.model_validate({"name": "m", "base_model": "/base", "data": {"path": "/rows"}})
DATA = DataFigures(800, 92_000, 22_000, 133)


def _peak(num_steps, accumulation=1, **setting):
    question = question_of(SPEC, SMALL | {"model_type": "llama"}, DATA)
    work = replace(question.work, num_steps=num_steps, accumulation=accumulation)
    return estimate_memory(replace(question, work=work), Setting(**setting)).peak_bytes


def test_a_longer_run_needs_more_on_a_cpu_up_to_a_point():
    peaks = [_peak(steps) for steps in (1, 5, 20, 100, 128, 1000)]
    assert peaks == sorted(peaks)
    assert peaks[0] == peaks[1] < peaks[2] < peaks[3] < peaks[4] == peaks[5]
    assert _peak(None) == peaks[5], "of unknown length: a long one"


def test_passes_count_and_not_steps():
    assert _peak(1, accumulation=40) > _peak(1, accumulation=4)


def test_a_gpu_has_an_allocator_of_its_own():
    assert _peak(5, device="gpu") == _peak(1000, device="gpu")


def test_what_rows_share_leaves_room_for_more_targets():
    config = SMALL | {"model_type": "llama", "vocab_size": 49152, "num_hidden_layers": 12}
    plain, sharing = (question_of(SPEC, config, replace(DATA, num_shared=shared)) for shared in (0, 55))
    assert sharing.work.num_targets == pytest.approx(1.8 * plain.work.num_targets, rel=0.05)
    assert estimate_memory(sharing, Setting()).parts["loss"] > estimate_memory(plain, Setting()).parts["loss"]


def test_eight_bits_on_a_cpu_need_copies_of_the_embeddings_while_they_are_updated():
    config = SMALL | {"model_type": "llama", "hidden_size": 384, "vocab_size": 49152, "tie_word_embeddings": True}
    table = 4 * 384 * 49152
    estimates = {}
    for optim in ("adamw", "adamw_8bit"):
        spec = SPEC.model_copy(update={"method": FullSpec(type="full")})
        question = question_of(spec, config, DATA)
        asked = replace(question, training=question.training.model_copy(update={"optim": optim}))
        estimates[optim] = estimate_memory(asked, Setting(compute_bytes=4))
    parts = {name: estimate.phases["update"] for name, estimate in estimates.items()}
    state = (8 - 2.03) * question.adaptation.num_trainable
    assert parts["adamw_8bit"] - parts["adamw"] == pytest.approx(5 * table - 2 * state, rel=1e-3)
    assert estimates["adamw_8bit"].peak_phase == "update"
