"""What is done around TRL's optimizer steps: seeds, guards, figures, checkpoints, and leaving when asked to."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from transformers import TrainerCallback, set_seed

from luthier.spec import GrpoSpec, TrainingSpec
from workers.failures import ConfigError, DivergedError, PreemptedError
from workers.task import Report
from workers.training.distributed.strategies.base import Strategy
from workers.training.grpo.rounds import Rounds, step_seed
from workers.training.guards import fingerprint
from workers.training.samples import Sample
from workers.training.skipping import reason_to_skip, recent_norms, skip, usual_norm
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
        samples: Sequence[Sample],
        report: Report,
        save: Callable[[], None],
        *,
        strategy: Strategy,
        objective: GrpoSpec,
        training: TrainingSpec,
    ) -> None:
        """
        Args:
            parameters: what is trained, by name.
            progress: what was reached so far; goes on with every step.
            rounds: of the run.
            samples: the training split.
            report: where progress and figures go.
            save: begins to commit a checkpoint of `progress` and the weights.
            strategy: over `parameters` and their optimizer; clips gradients.
            objective: the job's section.
            training: the job's section.
        """
        self._parameters = parameters
        self._progress = progress
        self._rounds = rounds
        self._samples = samples
        self._strategy = strategy
        self._report = report
        self._save = save
        self._max_flat_steps = objective.max_flat_steps
        self._training = training
        every = training.save_steps or math.ceil(rounds.num_steps / _SAVES_PER_RUN)
        self._save_steps = math.ceil(every / rounds.steps_per_round) * rounds.steps_per_round
        self._saved_step = progress.step
        self._first_step = progress.step
        self._first_tokens = progress.num_trained_tokens
        self._started = self._step_started = time.perf_counter()
        self._before: Mapping[str, float] | None = None
        self._is_checked = False
        self._norm = 0.0
        self._is_skipped = False

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Everything random in a step comes from the seed and its number.

        Raises:
            PreemptedError: the worker drains; a checkpoint was begun.
        """
        self._leave_if_asked()
        self._step_started = time.perf_counter()
        set_seed(step_seed(self._training.seed, self._progress.step))

    def on_substep_end(self, *_: Any, **__: Any) -> None:
        """Between two forward passes. What was done since the last step is dropped and will be done again.

        Raises:
            PreemptedError: the worker drains; a checkpoint was begun.
        """
        self._leave_if_asked()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Clips the gradients; those of a harmful step are dropped, so that the optimizer finds nothing to do."""
        self._norm = self._strategy.clip()
        # TRL tells the loss after the step; where it is not finite, the gradient hardly ever is.
        self._is_skipped = self._reason_to_skip(loss=0.0) is not None
        if self._is_skipped:
            self._strategy.forget(was_applied=False)
        elif self._norm > 0 and not self._is_checked:
            self._before = fingerprint(self._parameters)

    def _reason_to_skip(self, loss: float) -> str | None:
        return reason_to_skip(loss, self._norm, usual_norm(recent_norms(self._progress.history)), self._training)

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
            DivergedError: too many steps in a row were skipped, or the loss of one that was not is not finite.
        """
        logs: Mapping[str, float | None] = given["logs"]
        if "loss" not in logs:
            return
        progress = self._progress
        loss = float(logs["loss"] or 0.0)
        if self._is_skipped:
            self._skip(loss, float(logs["learning_rate"] or 0.0))
        progress.samples.append(self._rounds.digest(progress.step))
        progress.step += 1
        progress.training_seconds += time.perf_counter() - self._step_started
        if num_tokens := logs.get("num_tokens"):  # told only where answers were sampled
            progress.num_trained_tokens = self._first_tokens + int(num_tokens)
        if not (math.isfinite(loss) or self._is_skipped):
            raise DivergedError(f"training diverged at step {progress.step}: the loss is {loss}")
        figures = {name: float(value) for name, value in logs.items() if value is not None and math.isfinite(value)}
        row = {"step": float(progress.step), **figures}
        row.pop("epoch", None)  # of this attempt alone
        if self._is_skipped:
            row["skipped_steps"] = float(len(progress.skipped))
        progress.history.append(row)
        self._report.metrics(progress.step, row)
        self._tell()
        self._check_signal(row)
        self._save_if_due()

    def _skip(self, loss: float, rate: float) -> None:
        reason = self._reason_to_skip(loss)
        assert reason is not None, "it was one before the step"
        samples = [self._samples[row] for row in self._rounds.asked(self._progress.step)]
        skip(self._progress, reason, samples, rate, self._strategy.fingerprint(), self._training)

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
