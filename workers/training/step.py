"""One optimizer step: forward and backward passes, the guards, the update. What it takes is given to it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from peft.helpers import disable_input_dtype_casting

from luthier.spec import TrainingSpec
from workers.training.average import Average
from workers.training.guards import check_learning, fits_into_memory
from workers.training.learner import Learner
from workers.training.loss_scale import LossScale
from workers.training.optimizers import make_optimizer
from workers.training.packing import Batch
from workers.training.schedule import learning_rate
from workers.training.skipping import reason_to_skip, recent_norms, usual_norm
from workers.training.sums import Sums


@dataclass(frozen=True)
class Taken:
    """What came of an optimizer step."""

    figures: dict[str, float]
    """Its loss, gradient norm, learning rate, and what the objective tells; those that are finite."""
    reason_to_skip: str | None
    """Why it changed nothing; None: it did, or the fp16 scale was too high, which every such run begins with."""


class Stepper:
    """Optimizer, loss scale and average of a run's weights."""

    def __init__(self, learner: Learner, spec: TrainingSpec, idle: Batch) -> None:
        """
        Args:
            learner: whose weights move.
            spec: the job's `training` section.
            idle: what a rank computes, for nothing, in a round in which it has no batch and the strategy does not let
                it rest.
        """
        self._model = learner.model
        self._objective = learner.objective
        self._control = learner.control
        self._spec = spec
        self._compute = learner.compute
        self._world = learner.world
        self._strategy = learner.strategy
        self._idle = idle
        self._optimizer = make_optimizer(learner.parameters, spec, learner.control.rate_ratios)
        self._control.attach(self._optimizer)
        self._strategy.attach(learner.model, learner.parameters, self._optimizer, spec.max_grad_norm)
        self.average = Average(learner.parameters, spec.ema_decay)
        self._scale = LossScale(learner.compute, learner.device)

    def take(
        self,
        step: int,
        num_steps: int,
        rounds: Sequence[Batch | None],
        total: float,
        history: Sequence[Mapping[str, float]],
        before_each: Callable[[], None],
    ) -> Taken:
        """Optimizer step `step` (from 0) out of `num_steps`, unless it would do harm; the same on every rank.

        The loss is the mean over all samples of the step, by their weights, however they fall into batches and ranks.

        Args:
            step: which one.
            num_steps: of the whole run.
            rounds: this rank's batch in each round of forward passes; None: other ranks compute alone.
            total: weight of all samples of the step, on all ranks.
            history: rows of metrics of the steps before.
            before_each: called before every forward pass; may leave by raising, and then nothing has changed.

        Raises:
            ConfigError: the run does not learn at all.
            StageError: OUT_OF_MEMORY; not even one sample at a time fits.
        """
        rate = learning_rate(step, num_steps, self._spec)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["rate_ratio"]
        sums = Sums()
        for number, batch in enumerate(rounds, start=1):
            before_each()
            self._backward(batch, total, sums, is_last=number == len(rounds))
        self._strategy.sum_gradients()
        self._scale.unscale(self._optimizer)
        self._control.before_step(step)
        norm = self._strategy.clip()
        figures = {"loss": 0.0} | self._world.sum_figures(sums.read())
        norms = recent_norms(history)
        reason = reason_to_skip(figures["loss"], norm, usual_norm(norms), self._spec)
        is_applied = reason is None
        if is_applied:
            self._apply(step, norm, is_first=not norms)
        elif self._scale.is_to_blame(figures["loss"], norm):
            reason = None
        self._scale.update()
        self._strategy.forget(was_applied=is_applied)
        figures |= {"learning_rate": rate, "grad_norm": norm, **self._scale.figures()}
        return Taken({name: value for name, value in figures.items() if math.isfinite(value)}, reason)

    def _apply(self, step: int, norm: float, *, is_first: bool) -> None:
        """Moves the weights by the gradients that are there."""
        before = self._strategy.fingerprint() if is_first else None
        self._strategy.step()
        self._control.after_step(step)
        self.average.update()
        if before is not None:
            check_learning(norm, before, self._strategy.fingerprint())

    def tensors(self) -> dict[str, torch.Tensor]:
        """What it keeps from one step to the next besides the optimizer's state, for a checkpoint."""
        average = {f"average/{name}": tensor for name, tensor in self.average.tensors().items()}
        return average | {f"loss_scale/{name}": tensor for name, tensor in self._scale.tensors().items()}

    def load_tensors(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The inverse of `tensors`."""
        self.load_average(tensors)
        self._scale.load_tensors(_part(tensors, "loss_scale/"))

    def load_average(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """The same of the average alone, for the best of several checkpoints."""
        self.average.load_tensors(_part(tensors, "average/"))

    def weight(self, batch: Batch) -> float:
        """What the batch counts."""
        return sum(self._objective.weigh(sample) for sample in batch.samples)

    def _backward(self, batch: Batch | None, total: float, sums: Sums, *, is_last: bool) -> None:
        """Adds the batch's share of the step's gradient, and to `sums` its share of the step's figures."""
        counts = batch is not None and self.weight(batch) > 0
        if not counts and not self._strategy.takes_every_round:
            return
        batch = batch if batch is not None and counts else self._idle
        with fits_into_memory(batch):
            measured = self._objective.measure(self._model, batch, self._compute)
            loss = measured.loss / total if counts else measured.loss * 0.0
            # Activations that are computed again must be cast as they were the first time (forward.py).
            with disable_input_dtype_casting(self._model, active=self._compute != torch.float32):
                self._strategy.backward(self._scale.scaled(loss), is_last=is_last)
        if counts:
            sums.add({"loss": loss})
            sums.add(measured.figures, divided_by=total)


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
