"""GRPO through TRL's own trainer on a tiny model: it learns what pays, resumes to the bit, and says why it stops."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.workers.training.tiny_run import Recorder
from workers.failures import ConfigError, DivergedError, PreemptedError
from workers.task import StageResult, Task
from workers.training import stage as train_stage
from workers.training.grpo import stage, version

MakeTask = Callable[..., Task]
HERE = __name__


def short_answers(prompts: Any, completions: Any, answer: Any, limit: int) -> list[float]:
    """A reward of a user's: the fewer characters the better."""
    assert len(prompts) == len(completions) == len(answer)
    assert prompts[0][-1]["role"] == "user"
    return [-min(limit, len(completion[-1]["content"])) / limit for completion in completions]


def fails(**_: Any) -> list[float]:
    raise RuntimeError("no such judge")


def same(completions: Any, **_: Any) -> list[float]:
    return [0.25] * len(completions)


def custom(name: str, **options: Any) -> dict[str, Any]:
    return {"type": "custom", "entry_point": f"{HERE}:{name}", "options": options}


SHORT = custom("short_answers", limit=40)


def rows_of(result: StageResult) -> list[dict[str, Any]]:
    assert result.folder is not None
    return [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]


def weights_of(result: StageResult) -> dict[str, torch.Tensor]:
    assert result.folder is not None
    (file,) = [*result.folder.glob("adapter/*.safetensors"), *result.folder.glob("model/*.safetensors")]
    return load_file(file)


def test_what_pays_becomes_likelier(make_task: MakeTask) -> None:
    report = Recorder()
    result = stage.run(make_task(rewards=[SHORT], training={"max_steps": 20}), report)
    rows = rows_of(result)
    assert [row["step"] for row in rows] == [*range(1, 21)]
    assert result.result["last_reward"] > result.result["first_reward"] + 0.1
    assert all(row["grad_norm"] > 0 for row in rows[:5])
    assert result.metrics["last_reward"] == result.result["last_reward"]
    assert report.rows[20]["reward"] == rows[-1]["reward"]
    assert report.etas[-1] == 0.0
    assert result.folder is not None
    assert "<svg" in (result.folder / "reward.svg").read_text()
    assert not (result.folder / "adapter" / "ref").exists()
    assert result.result["trl"] == version.PINNED
    plan = json.loads((result.folder / "summary.json").read_text())["plan"]
    assert plan == result.result["plan"]
    assert plan["peak_memory_bytes"]["predicted"] > 100 << 20
    assert plan["peak_memory_bytes"]["actual"] == result.metrics["peak_memory_bytes"]
    assert plan["training_seconds"]["predicted"] is None
    assert "how long answers are" in plan["not_predicted"]
    spent = result.result["num_trained_tokens"] / result.result["tokens_per_second"]
    assert plan["training_seconds"]["actual"] == pytest.approx(spent)


@pytest.mark.parametrize(
    ("method", "objective"),
    [
        ({"type": "lora", "r": 4, "lora_dropout": 0.1}, {"beta": 0.1, "num_iterations": 2}),
        ({"type": "full"}, {"beta": 0.1}),
    ],
)
def test_a_second_attempt_ends_where_one_alone_would(
    make_task: MakeTask, method: dict[str, Any], objective: dict[str, Any]
) -> None:
    def task(**attempt: Any) -> Task:
        training = {"max_steps": 6, "lr_scheduler_type": "cosine", "save_steps": 2}
        return make_task(rewards=[SHORT], method=method, training=training, **objective, **attempt)

    report = Recorder()
    whole = stage.run(task(), report)
    stopped = Recorder(stop=lambda question: question > 3)
    with pytest.raises(PreemptedError, match="goes on from step"):
        stage.run(task(attempt=2), stopped)
    reached = stopped.checkpoints[0].step
    assert 0 < reached < 6
    second = stage.run(task(attempt=3, checkpoints=stopped.checkpoints), Recorder())
    assert second.result["resumed_from_step"] == reached
    third = stage.run(task(attempt=4, checkpoints=report.checkpoints), Recorder())
    assert third.result["resumed_from_step"] == 6, "it was over, and its output was lost"
    assert 0 < whole.result["num_trained_tokens"] == second.result["num_trained_tokens"]
    ours = weights_of(whole)
    for theirs in (weights_of(second), weights_of(third)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    timed = ("step_time", "num_tokens")
    assert [{k: v for k, v in row.items() if k not in timed} for row in rows_of(whole)] == [
        {k: v for k, v in row.items() if k not in timed} for row in rows_of(second)
    ]


def test_smaller_passes_ask_the_same_prompts_and_leave_nearly_the_same_weights(make_task: MakeTask) -> None:
    results = []
    for refit in (0, 1):
        task = make_task(rewards=[SHORT], training={"max_steps": 2})
        task.assignment.stage.refit = refit
        results.append(stage.run(task, Recorder()))
    one, other = (weights_of(result) for result in results)
    assert [row["samples"] for row in rows_of(results[0])] == [row["samples"] for row in rows_of(results[1])]
    assert all(torch.allclose(one[name], other[name], atol=2e-3) for name in one)


def test_a_reward_that_fails_ends_the_run_and_is_named(make_task: MakeTask) -> None:
    with pytest.raises(
        ConfigError, match=r"the reward .*:fails raised RuntimeError: no such judge, .* lights\.jsonl:\d"
    ):
        stage.run(make_task(rewards=[{"type": "length", "max_words": 2}, custom("fails")]), Recorder())


def test_a_job_comes_here_from_the_train_stage(make_task: MakeTask) -> None:
    with pytest.raises(ConfigError, match=r"elsewhere' is not allowed on this worker; .* LUTHIER_CUSTOM_REWARDS"):
        train_stage.run(make_task(rewards=[custom("elsewhere")], allowed=""), Recorder())


def test_a_run_in_which_nothing_pays_more_ends_with_words(make_task: MakeTask) -> None:
    report = Recorder()
    with pytest.raises(ConfigError, match=r"in 3 steps in a row .* the same reward \(means 0.25 to 0.25\)"):
        stage.run(make_task(rewards=[custom("same")], max_flat_steps=3), report)
    assert max(report.rows) == 3


def test_a_rate_that_diverges_is_told(make_task: MakeTask) -> None:
    task = make_task(rewards=[SHORT], method={"type": "full"}, training={"learning_rate": 1.0, "max_grad_norm": 1e30})
    poisoned = task.spec.training.model_copy(update={"learning_rate": 1e38})
    object.__setattr__(task, "spec", task.spec.model_copy(update={"training": poisoned}))
    with pytest.raises(DivergedError, match=r"training diverged at step \d"):
        stage.run(task, Recorder())


def test_an_answer_without_room_is_refused(make_task: MakeTask) -> None:
    with pytest.raises(ConfigError, match=r"max_completion_length \(510\) and the longest prompt .* the 512 tokens"):
        stage.run(make_task(rewards=[SHORT], max_completion_length=510), Recorder())


@pytest.mark.parametrize(("found", "reason"), [(None, "does not have"), ("1.15.0", "needs TRL 1.16.0, .* has 1.15.0")])
def test_trl_is_there_in_its_version(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, found: str | None, reason: str
) -> None:
    def look(_: str) -> str:
        if found is None:
            raise version.PackageNotFoundError
        return found

    monkeypatch.setattr(version, "version", look)
    with pytest.raises(ConfigError, match=rf"{reason}.*pip install 'luthier\[grpo\]'"):
        stage.run(make_task(rewards=[SHORT]), Recorder())


def test_asked_to_stop_before_it_begins_it_leaves_nothing(make_task: MakeTask) -> None:
    task = make_task(rewards=[SHORT])
    with pytest.raises(PreemptedError, match="before the model was loaded"):
        stage.run(task, Recorder(stop=lambda _: True))
    assert not Path(task.output_uri).exists()
