"""Train tasks with the objective `grpo` on a tiny model."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from luthier.settings import WorkerSettings
from tests.unit.workers.training.tiny_run import KEY
from workers.task import Task


@pytest.fixture
def make_task(tuned_task: Callable[..., Task]) -> Callable[..., Task]:
    """A function that makes the task of an attempt; keywords are those of the objective, `training` and `method`.

    The worker allows the functions that `rewards` name, unless `allowed` says which.
    """

    def make(
        *,
        rewards: list[Any],
        train: Sequence[str] = ("red", "green", "yellow", "blue"),
        training: dict[str, Any] | None = None,
        method: dict[str, Any] | None = None,
        attempt: int = 1,
        checkpoints: Any = (),
        allowed: str | None = None,
        **objective: Any,
    ) -> Task:
        task = tuned_task(
            "train",
            train=train,
            objective={"type": "grpo", "rewards": rewards, "num_generations": 4, "max_completion_length": 8}
            | objective,
            method=method or {"type": "lora", "r": 4},
            training={"max_steps": 6, "learning_rate": 0.01, "precision": "fp32", "lr_scheduler_type": "constant"}
            | {"per_device_train_batch_size": 8, "warmup_ratio": 0.0}
            | (training or {}),
        )
        task.assignment.stage.fence = task.assignment.stage.attempt = attempt
        task.assignment.checkpoints.extend(checkpoints)
        if allowed is None:
            allowed = ",".join(one["entry_point"] for one in rewards if one["type"] == "custom")
        settings = {"custom_rewards": allowed, "checkpoint_key": KEY.decode(), "data_roots": task.settings.data_roots}
        object.__setattr__(task, "settings", WorkerSettings.model_validate(settings))
        return task

    return make
