"""The training loop. `Engine.run` is its table of contents.

It is given a model with weights to train, tokenized documents and a place for checkpoints; it knows nothing of job
stages, files or services. The same seed gives the same weights on the same CPU, whether or not the run was interrupted.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch
from torch import nn

from luthier.spec import TrainingSpec
from workers.failures import PreemptedError
from workers.task import Report
from workers.training.batches import Batches
from workers.training.checkpoints import CheckpointStore
from workers.training.distributed.strategies.base import Strategy
from workers.training.distributed.strategies.replicated import Replicated
from workers.training.distributed.world import World
from workers.training.guards import check_finite, check_trainable
from workers.training.isolation import check_keeps_apart
from workers.training.keeper import Keeper
from workers.training.learner import Learner
from workers.training.methods.base import Control, NoControl
from workers.training.objectives import Objective
from workers.training.optimizers import trainable_parameters
from workers.training.packing import Batch, own_lengths
from workers.training.pieces import Stored
from workers.training.recompute import recompute_activations
from workers.training.rng import rng_tensors
from workers.training.samples import Picked, Sample, documents_of
from workers.training.schedule import check_schedule
from workers.training.skipping import check_learned, check_loss, skip
from workers.training.snapshot import Snapshot
from workers.training.state import Best, Progress
from workers.training.step import Stepper
from workers.training.summary import Summary, summarise
from workers.training.validation import Validation

_VALIDATIONS_PER_RUN = 10


class Engine:
    """One training run."""

    def __init__(
        self,
        model: nn.Module,
        train: Sequence[Sample],
        validation: Sequence[Sample],
        spec: TrainingSpec,
        *,
        objective: Objective,
        compute: torch.dtype,
        report: Report,
        checkpoints: CheckpointStore,
        make_control: Callable[[int], Control] = lambda _: NoControl(),
        resume_from: Snapshot[Stored] | None = None,
        refit: int = 0,
        world: World = World(),  # noqa: B008 - immutable
        strategy: Strategy | None = None,
    ) -> None:
        """
        Args:
            model: on its device, with the `luthier_documents` attention and fp32 trainable parameters.
            train: what to learn from.
            validation: samples for the validation loss; may be empty.
            spec: the job's `training` section.
            objective: what is minimised.
            compute: dtype of the matrix products.
            report: where progress and metrics go.
            checkpoints: where snapshots go, and where the best one comes from.
            make_control: what the method does beside the optimizer, given the number of steps.
            resume_from: the state to go on from; None: from the start.
            refit: how often a forward pass is halved; the samples of an optimizer step stay the same.
            world: the ranks that share each step among them; all run an engine with the same arguments.
            strategy: how they share the trained state; None: each has all of it.

        Raises:
            DataError: nothing to train on, or a sample that does not fit.
            ConfigError: nothing is trainable, early stopping has nothing to look at, `resume_from` is of another job,
                `model` does not keep documents apart.
        """
        self._spec = spec
        self._report = report
        self._checkpoints = checkpoints
        strategy = strategy or Replicated(world)
        recompute_activations(model, spec.gradient_checkpointing)
        device = strategy.divide(model, compute)
        parameters = trainable_parameters(model)
        objective.check(train, validation)
        useful = Picked(validation, [place for place, sample in enumerate(validation) if objective.weigh(sample)])
        check_trainable(parameters, own_lengths(train, 0), useful, spec)
        self._batches = Batches(train, objective, spec, device, world=world, refit=refit)
        check_schedule(self._batches.num_steps, spec)
        self._eval_steps = spec.eval_steps or max(1, math.ceil(self._batches.num_steps / _VALIDATIONS_PER_RUN))
        self._save_steps = spec.save_steps or self._eval_steps
        control = make_control(self._batches.num_steps)
        self._learner = Learner(model, parameters, objective, control, device, compute, world, strategy)
        self._stepper = Stepper(self._learner, spec, self._batches.idle)
        self._validation = Validation(self._learner, self._batches.passes(useful), self._batches.idle)
        self._keeper = Keeper(self._learner, self._stepper, checkpoints)
        self._progress = Progress()
        check_keeps_apart(model, compute, device)
        for samples in (self._batches.visited(), useful):
            objective.prepare(model, samples, self._passes_unless_asked, compute)
        if resume_from is not None:
            self._progress = self._keeper.resume(resume_from)
            self._batches.check_goes_on(self._progress)
        self._resumed_from_step = None if resume_from is None else self._progress.step

    def run(self) -> Summary:
        """Trains to the end.

        Raises:
            DivergedError: too many steps in a row would have done harm.
            ConfigError: the run does not learn at all.
            PreemptedError: the worker drains; a checkpoint was committed.
            StageError: OUT_OF_MEMORY; not even one document at a time fits.
            OSError, SafetensorError: a checkpoint could not be written.
        """
        with self._checkpoints:
            self._learner.model.train()
            while not self._is_over():
                self._checkpoints.check()
                if self._progress.unfinished is None:
                    self._progress.unfinished = self._step()
                self._finish(self._progress.unfinished)
            self._checkpoints.wait()
            check_learned(self._progress.history)
            self._learner.model.eval()
            self._keeper.restore_best(self._progress)
            self._learner.strategy.finish()
            self._learner.control.finish()
        return summarise(
            self._progress,
            self._learner.parameters,
            resumed_from_step=self._resumed_from_step,
            stopped_early=self._out_of_patience(),
        )

    def _is_over(self) -> bool:
        done = self._progress.step == self._batches.num_steps or self._out_of_patience()
        return done and self._progress.unfinished is None

    def _step(self) -> dict[str, float]:
        """One optimizer step; returns its row of metrics."""
        started = time.perf_counter()
        learner, step = self._learner, self._progress.step
        samples = self._batches.samples(step)
        total = sum(learner.objective.weigh(sample) for sample in samples)
        leave_if_asked = partial(self._leave_if_asked, rng_tensors(learner.device))
        learner.objective.begin(learner.model, samples, learner.compute)
        taken = self._stepper.take(
            step,
            self._batches.num_steps,
            self._batches.rounds(step),
            total,
            self._progress.history,
            leave_if_asked,
        )
        num_tokens = sum(len(document.input_ids) for document in documents_of(samples))
        seconds = time.perf_counter() - started
        if taken.reason_to_skip is not None:
            rate = taken.figures["learning_rate"]
            skip(self._progress, taken.reason_to_skip, samples, rate, learner.strategy.fingerprint(), self._spec)
            taken.figures["skipped_steps"] = float(len(self._progress.skipped))
        self._progress.step += 1
        self._progress.num_trained_tokens += num_tokens
        self._progress.training_seconds += seconds
        self._progress.samples.append(self._batches.digest(step))
        return {
            **taken.figures,
            "tokens_per_second": num_tokens / seconds,
            "epoch": self._progress.step / self._batches.steps_per_epoch,
        }

    def _finish(self, metrics: dict[str, float]) -> None:
        """What follows an optimizer step: validation where due, the report, a checkpoint where due."""
        improved = self._due(self._eval_steps) and self._validate(metrics)
        progress, num_steps = self._progress, self._batches.num_steps
        progress.history.append({"step": float(progress.step), **metrics})
        check_loss(progress.history, partial(self._batches.samples, progress.step - 1))
        progress.unfinished = None
        remaining = (num_steps - progress.step) * progress.training_seconds / progress.step
        self._report.metrics(progress.step, metrics)
        self._report.progress(progress.step, num_steps, _in_short(metrics), remaining)
        if self._due(self._save_steps) or improved or self._out_of_patience():
            self._save(rng_tensors(self._learner.device))

    def _validate(self, metrics: dict[str, float]) -> bool:
        """Adds `validation_loss` to `metrics`; whether it is the best so far."""
        if not self._validation:
            return False
        leave_if_asked = partial(self._leave_if_asked, rng_tensors(self._learner.device))
        with self._stepper.average.in_the_model():
            metrics |= self._validation.measure(leave_if_asked)
        loss = metrics["validation_loss"]
        check_finite(self._progress.step, loss)
        best = self._progress.best
        improved = best is None or loss < best.validation_loss
        self._progress.num_validations_without_gain += 1
        if improved:
            self._progress.num_validations_without_gain = 0
            self._progress.best = Best(self._progress.step, loss, self._checkpoints.uri_of(self._progress.step))
        return improved

    def _passes_unless_asked(self, samples: Sequence[Sample]) -> Iterator[Batch]:
        """Passes for objectives, who may have many of them: the run can be asked to stop before each."""
        for batch in self._batches.passes(samples):
            self._leave_if_asked(rng_tensors(self._learner.device))
            yield batch

    def _leave_if_asked(self, rng: Mapping[str, torch.Tensor]) -> None:
        """Between two forward passes. What was done since the last optimizer step is dropped and will be done again;
        `rng` is what the random generators were then."""
        if not self._learner.world.any(self._report.should_stop()):
            return
        if self._keeper.saved_step != self._progress.step:
            self._save(rng)
        self._checkpoints.wait()
        raise PreemptedError(f"asked to stop; the run goes on from step {self._progress.step}")

    def _save(self, rng: Mapping[str, torch.Tensor]) -> None:
        step = self._progress.step
        stalled = self._keeper.save(self._progress, self._batches.position(step), rng)
        self._report.metrics(step, {"checkpoint_stall_seconds": stalled})

    def _due(self, every: int) -> bool:
        """Whether this step is one of every `every`, or the last."""
        return self._progress.step % every == 0 or self._progress.step == self._batches.num_steps

    def _out_of_patience(self) -> bool:
        patience = self._spec.early_stopping_patience
        return patience is not None and self._progress.num_validations_without_gain >= patience


def _in_short(metrics: Mapping[str, float]) -> str:
    """One step for people."""
    loss = f"loss {metrics['loss']:.4f}" if "loss" in metrics else "no finite loss"
    return f"{loss}, skipped" if "skipped_steps" in metrics else loss
