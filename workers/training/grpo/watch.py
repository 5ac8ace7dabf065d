"""What is done around TRL's optimizer steps: seeds, guards, figures, checkpoints, and leaving when asked to."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, set_seed

from luthier.spec import GrpoSpec, TrainingSpec
from workers.failures import ConfigError, DivergedError, PreemptedError
from workers.task import Report
from workers.training.grpo.rounds import Rounds, step_seed
from workers.training.guards import fingerprint
from workers.training.state import Progress

_SAVES_PER_RUN = 10
_FLAT = "frac_reward_zero_std"


class Watch(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """A callback of TRL's trainer for one attempt. Steps are those of the whole run."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        progress: Progress,
        rounds: Rounds,
        report: Report,
        save: Callable[[], None],
        *,
        objective: GrpoSpec,
        training: TrainingSpec,
    ) -> None:
        """
        Args:
            parameters: what is trained, by name.
            progress: what was reached so far; goes on with every step.
            rounds: of the run.
            report: where progress and figures go.
            save: begins to commit a checkpoint of `progress` and the weights.
            objective: the job's section.
            training: the job's section.
        """
        self._parameters = parameters
        self._progress = progress
        self._rounds = rounds
        self._report = report
        self._save = save
        self._max_flat_steps = objective.max_flat_steps
        self._seed = training.seed
        every = training.save_steps or math.ceil(rounds.num_steps / _SAVES_PER_RUN)
        self._save_steps = math.ceil(every / rounds.steps_per_round) * rounds.steps_per_round
        self._saved_step = progress.step
        self._first_step = progress.step
        self._first_tokens = progress.num_trained_tokens
        self._started = self._step_started = time.perf_counter()
        self._before: Mapping[str, float] | None = None
        self._is_checked = False

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Everything random in a step comes from the seed and its number.

        Raises:
            PreemptedError: the worker drains; a checkpoint was begun.
        """
        self._leave_if_asked()
        self._step_started = time.perf_counter()
        set_seed(step_seed(self._seed, self._progress.step))

    def on_substep_end(self, *_: Any, **__: Any) -> None:
        """Between two forward passes. What was done since the last step is dropped and will be done again.

        Raises:
            PreemptedError: the worker drains; a checkpoint was begun.
        """
        self._leave_if_asked()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """
        Raises:
            DivergedError: a gradient is not finite; nothing was changed by it.
        """
        norms = [parameter.grad.norm() for parameter in self._parameters.values() if parameter.grad is not None]
        norm = float(torch.stack(norms).norm()) if norms else 0.0
        if not math.isfinite(norm):
            raise DivergedError(
                f"training diverged at step {self._progress.step + 1}: the gradient norm is {norm}; lower "
                "training.learning_rate, raise training.warmup_ratio or objective.beta"
            )
        if norm > 0 and not self._is_checked:
            self._before = fingerprint(self._parameters)

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """
        Raises:
            ConfigError: a gradient changed no weight.
        """
        if self._before is None:
            return
        if fingerprint(self._parameters) == self._before:
            raise ConfigError("the first step left every weight as it was; raise training.learning_rate")
        self._before, self._is_checked = None, True

    def on_log(self, *_: Any, **given: Any) -> None:
        """After every step, with TRL's figures; the one at the end of the run has no step of its own.

        Raises:
            ConfigError: the run does not learn.
            DivergedError: the loss is not finite.
        """
        logs: Mapping[str, float | None] = given["logs"]
        if "loss" not in logs:
            return
        progress = self._progress
        progress.samples.append(self._rounds.digest(progress.step))
        progress.step += 1
        progress.training_seconds += time.perf_counter() - self._step_started
        if num_tokens := logs.get("num_tokens"):  # told only where answers were sampled
            progress.num_trained_tokens = self._first_tokens + int(num_tokens)
        if not math.isfinite(logs["loss"] or 0.0):
            raise DivergedError(f"training diverged at step {progress.step}: the loss is {logs['loss']}")
        figures = {name: float(value) for name, value in logs.items() if value is not None and math.isfinite(value)}
        row = {"step": float(progress.step), **figures}
        row.pop("epoch", None)  # of this attempt alone
        progress.history.append(row)
        self._report.metrics(progress.step, row)
        self._tell()
        self._check_signal(row)
        self._save_if_due()

    def _tell(self) -> None:
        done, left = self._progress.step - self._first_step, self._rounds.num_steps - self._progress.step
        eta = (time.perf_counter() - self._started) / done * left
        reward = next((row["reward"] for row in reversed(self._progress.history) if "reward" in row), 0.0)
        self._report.progress(self._progress.step, self._rounds.num_steps, f"mean reward {reward:.4g}", eta)

    def _check_signal(self, row: Mapping[str, float]) -> None:
        if row.get(_FLAT, 1.0) < 1.0 and row.get("grad_norm") == 0.0:
            raise ConfigError(
                f"at step {self._progress.step} rewards differ, but the gradient is zero: nothing would be learned; "
                "check method.target_modules, and objective.max_completion_length if truncated answers are masked"
            )
        last = [one for one in self._progress.history if _FLAT in one][-self._max_flat_steps :]
        if len(last) == self._max_flat_steps and all(one[_FLAT] == 1.0 for one in last):
            worth = sorted(round(one["reward"], 6) for one in last if "reward" in one) or [0.0]
            raise ConfigError(
                f"in {self._max_flat_steps} steps in a row all answers to every prompt got the same reward (means "
                f"{worth[0]} to {worth[-1]}): there is nothing to learn from. "
                "Give rewards that tell answers apart, easier prompts, or raise objective.num_generations, "
                "temperature or max_flat_steps"
            )

    def _save_if_due(self) -> None:
        """Between two rounds, because the answers of a round are in no checkpoint."""
        step = self._progress.step
        if step % self._save_steps == 0 or step == self._rounds.num_steps:
            self._save()
            self._saved_step = step

    def _leave_if_asked(self) -> None:
        step = self._progress.step
        if not self._report.should_stop():
            return
        if step % self._rounds.steps_per_round == 0 and step != self._saved_step:
            self._save()
            self._saved_step = step
        raise PreemptedError(f"asked to stop; the run goes on from step {self._saved_step}")
