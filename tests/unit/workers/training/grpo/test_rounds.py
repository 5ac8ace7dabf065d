"""Which prompts are asked when: the same ones, wherever an attempt begins."""

from typing import Any

import pytest

from luthier.spec import GrpoSpec, TrainingSpec
from workers.training.grpo.rounds import Rounds, micro_batch, step_seed


def rounds(num_rows: int = 5, **training: Any) -> Rounds:
    objective = GrpoSpec.model_validate(
        {"type": "grpo", "rewards": [{"type": "json_valid"}], "num_generations": 4, "num_iterations": 2}
    )
    settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2} | training
    return Rounds.of(objective, TrainingSpec.model_validate(settings), num_rows)


def test_an_epoch_asks_every_prompt_once() -> None:
    run = rounds(num_rows=6, num_train_epochs=2.0)
    assert (run.prompts_per_round, run.num_steps) == (2, 12)
    order = run.rows(0)
    assert sorted(order[:6]) == sorted(order[6:]) == [*range(6)]
    assert order[:6] != order[6:]
    assert rounds(num_rows=6, num_train_epochs=2.0, seed=1).rows(0) != order


def test_the_last_round_is_whole() -> None:
    assert len(rounds(num_rows=5, num_train_epochs=1.0).rows(0)) == 6
    assert rounds(max_steps=3).num_steps == 4
    assert len(rounds(num_rows=1, max_steps=6).rows(0)) == 6


def test_rows_as_given_stay_so() -> None:
    assert rounds(num_rows=4, num_train_epochs=1.0, order="as_given").rows(0) == [0, 1, 2, 3]


def test_a_later_attempt_asks_what_is_left() -> None:
    run = rounds(num_rows=7, max_steps=12)
    assert run.rows(4) == run.rows(0)[4:]
    assert [run.digest(step) for step in (4, 5)] == [run.digest(4)] * 2
    assert run.digest(4) != run.digest(6)
    assert (run.position(4).epoch, run.position(8).epoch, run.position(8).row) == (0, 1, 1)
    with pytest.raises(AssertionError, match="are not kept"):
        run.rows(3)


@pytest.mark.parametrize(
    ("size", "accumulation", "refit", "expected"),
    [(8, 1, 0, (8, 1)), (8, 1, 1, (4, 2)), (6, 2, 1, (3, 4)), (5, 4, 1, (2, 10)), (8, 1, 9, (1, 8))],
)
def test_halved_passes_have_the_same_answers_together(
    size: int, accumulation: int, refit: int, expected: tuple[int, int]
) -> None:
    training = TrainingSpec(per_device_train_batch_size=size, gradient_accumulation_steps=accumulation)
    assert micro_batch(training, refit) == expected


def test_every_step_has_a_seed_of_its_own() -> None:
    seeds = {step_seed(seed, step) for seed in range(3) for step in range(50)}
    assert len(seeds) == 150
    assert max(seeds) < 2**32
