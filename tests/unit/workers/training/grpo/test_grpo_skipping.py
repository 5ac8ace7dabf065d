"""A step of GRPO that would do harm is left out as in our own loop: nothing moves, and too many are the end."""

import json

import pytest

from tests.unit.workers.training.tiny_run import Recorder, make_store, read_all, same
from workers.failures import DivergedError, PreemptedError
from workers.training.grpo import stage

CALM = ("red", "green", "yellow")
TIMED = ("step_time", "num_tokens")


def loud_of_blue(prompts, completions, answer, factor):
    """Worth something else for every answer; those to one question are worth so many times as much."""
    worth = [sum(map(ord, messages[-1]["content"])) % 97 / 97 for messages in completions]
    loud = ["blue" in messages[-1]["content"] for messages in prompts]
    return [value * (factor if is_loud else 1) for value, is_loud in zip(worth, loud, strict=True)]


def asked_for(factor, **training):
    """One prompt in a step, in the order of the rows, and rewards as they are: a loud one has a large gradient."""
    entry_point = f"{__name__}:loud_of_blue"
    return {
        "rewards": [{"type": "custom", "entry_point": entry_point, "options": {"factor": factor}}],
        "scale_rewards": "none",
        "training": {"per_device_train_batch_size": 4, "order": "as_given", "save_steps": 1, "save_total_limit": 99}
        | training,
    }


def stored(task, report, step):
    """Weights and optimizer's state of the checkpoint after `step`."""
    (checkpoint,) = [one for one in report.checkpoints if one.step == step]
    snapshot = make_store(task.work_dir / "look", report).load(checkpoint.uri, checkpoint.digest)
    return read_all(snapshot.weights), read_all(snapshot.optimizer)


def rows_of(result):
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMED} for row in rows]


@pytest.mark.parametrize("optim", ["adamw", "sgd", "lamb", "adafactor"])
def test_a_gradient_that_is_not_finite_leaves_everything_as_it_was(make_task, optim):
    report = Recorder()
    task = make_task(train=("red", "blue", "green"), **asked_for(1e38, max_steps=3, optim=optim))
    result = stage.run(task, report)
    (skipped,) = result.result["skipped"]
    assert (skipped["step"], skipped["rows"]) == (2, ["lights.jsonl:2"])
    assert skipped["reason"].endswith(("gradient norm inf", "gradient norm nan"))
    assert [row.get("skipped_steps") for row in rows_of(result)] == [None, 1.0, None]
    first, second, third = (stored(task, report, step) for step in (1, 2, 3))
    assert all(same(*pair) for pair in zip(first, second, strict=True))
    assert not same(second[0], third[0])


def test_a_gradient_far_above_the_usual_one_is_skipped(make_task):
    training = {"max_steps": 22, "save_steps": 22, "learning_rate": 1e-4}
    result = stage.run(make_task(train=(*CALM * 7, "blue"), **asked_for(1e6, **training)), Recorder())
    (skipped,) = result.result["skipped"]
    assert skipped["step"] == 22
    assert "times the usual" in skipped["reason"]


def test_too_many_in_a_row_are_the_end_and_their_rows_are_named(make_task):
    task = make_task(train=("blue",) * 3, **asked_for(1e38, max_skipped_steps=2))
    with pytest.raises(DivergedError, match=r"at step 2: 2 steps in a row were skipped.*rows: lights\.jsonl:2$"):
        stage.run(task, Recorder())


def test_a_run_in_which_no_step_was_taken_is_no_success(make_task):
    with pytest.raises(DivergedError, match="not one of 2 steps"):
        stage.run(make_task(train=("blue",), **asked_for(1e38, max_steps=2)), Recorder())


def test_skips_survive_a_restart(make_task):
    def task(**attempt):
        return make_task(train=("red", "blue", "blue", "green"), **asked_for(1e38, max_steps=5), **attempt)

    straight = stage.run(task(), Recorder())
    stopped = Recorder(stop=lambda question: question > 3)
    with pytest.raises(PreemptedError):
        stage.run(task(attempt=2), stopped)
    assert stopped.checkpoints[0].step == 2
    resumed = stage.run(task(attempt=3, checkpoints=stopped.checkpoints), Recorder())
    assert [one["step"] for one in resumed.result["skipped"]] == [2, 3]
    assert rows_of(resumed) == rows_of(straight)
