"""The training loop. `Engine.run` is its table of contents.

It is given a model with weights to train, tokenized documents and a place for checkpoints; it knows nothing of job
stages, files or services. The same seed gives the same weights on the same CPU, whether or not the run was interrupted.
"""

import logging
import math
import time
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from luthier.artifacts import ArtifactError
from luthier.spec import TrainingSpec
from workers.failures import PreemptedError
from workers.task import Report
from workers.training.checkpoints import CheckpointStore
from workers.training.environment import current_environment
from workers.training.guards import check_finite, check_learning, check_trainable, fingerprint, fits_into_memory
from workers.training.loss import summed_loss
from workers.training.optimizer import make_optimizer, optimizer_tensors, trainable_parameters
from workers.training.packing import Batch, Example, make_batch, pack_validation, shared_prefix, split_pass
from workers.training.resume import load_weights, restore
from workers.training.rng import rng_tensors
from workers.training.sampler import Sampler
from workers.training.schedule import learning_rate
from workers.training.snapshot import Snapshot
from workers.training.state import Best, Progress
from workers.training.summary import Summary, summarise

_VALIDATIONS_PER_RUN = 10
_log = logging.getLogger(__name__)


class Engine:
    """One training run."""

    def __init__(
        self,
        model: nn.Module,
        train: Sequence[Example],
        validation: Sequence[Example],
        spec: TrainingSpec,
        *,
        compute: torch.dtype,
        report: Report,
        checkpoints: CheckpointStore,
        resume_from: Snapshot | None = None,
        refit: int = 0,
    ) -> None:
        """
        Args:
            model: on its device, with the `luthier_documents` attention and fp32 trainable parameters.
            train: documents to learn from.
            validation: documents for the validation loss; may be empty.
            spec: the job's `training` section.
            compute: dtype of the matrix products.
            report: where progress and metrics go.
            checkpoints: where snapshots go, and where the best one comes from.
            resume_from: the state to go on from; None: from the start.
            refit: how often a forward pass is halved; the documents of an optimizer step stay the same.

        Raises:
            DataError: nothing to train on, or a document that does not fit.
            ConfigError: nothing is trainable, or early stopping has nothing to look at.
        """
        self._model = model
        self._device = next(model.parameters()).device
        self._train = train
        self._spec = spec
        self._compute = compute
        self._report = report
        self._checkpoints = checkpoints
        self._refit = refit
        self._parameters = trainable_parameters(model)
        check_trainable(self._parameters, train, validation, spec)
        self._optimizer = make_optimizer(self._parameters, spec)
        self._prefix_length = shared_prefix(train)
        self._lengths = [len(example.input_ids) - self._prefix_length for example in train]
        self._sampler = Sampler(self._lengths, spec.pack_length - self._prefix_length, spec)
        self._validation = [batch.to(self._device) for batch in pack_validation(validation, spec, refit)]
        self._num_steps = self._sampler.num_steps
        self._eval_steps = spec.eval_steps or max(1, math.ceil(self._num_steps / _VALIDATIONS_PER_RUN))
        self._save_steps = spec.save_steps or self._eval_steps
        self._environment = current_environment(compute, self._device)
        self._progress = Progress()
        self._resumed_from_step: int | None = None
        if resume_from is not None:
            restore(resume_from, self._parameters, self._optimizer, self._environment)
            self._progress = resume_from.progress
            self._resumed_from_step = self._progress.step
        self._saved_step = self._progress.step

    def run(self) -> Summary:
        """Trains to the end.

        Raises:
            DivergedError: loss or gradient became NaN or infinite.
            ConfigError: the run does not learn at all.
            PreemptedError: the worker drains; a checkpoint was committed.
            StageError: OUT_OF_MEMORY; not even one document at a time fits.
            OSError, SafetensorError: a checkpoint could not be written.
        """
        with self._checkpoints:
            self._model.train()
            while not self._is_over():
                self._checkpoints.check()
                if self._progress.unfinished is None:
                    self._progress.unfinished = self._step()
                self._finish(self._progress.unfinished)
            self._checkpoints.wait()
            self._restore_best()
        return summarise(
            self._progress,
            self._parameters,
            resumed_from_step=self._resumed_from_step,
            stopped_early=self._out_of_patience(),
        )

    def _is_over(self) -> bool:
        done = self._progress.step == self._num_steps or self._out_of_patience()
        return done and self._progress.unfinished is None

    def _step(self) -> dict[str, float]:
        """One optimizer step. The loss is the mean over all targets of the step, however they fall into batches."""
        started = time.perf_counter()
        step = self._progress.step
        rng = rng_tensors(self._device)
        batches = self._batches(step)
        num_targets = sum(batch.num_targets for batch in batches)
        rate = learning_rate(step, self._num_steps, self._spec)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = 0.0
        for batch in batches:
            self._leave_if_asked(rng)
            loss += self._backward(batch, num_targets)
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._spec.max_grad_norm))
        check_finite(step + 1, loss, norm)
        before = fingerprint(self._parameters) if step == 0 else None
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if before is not None:
            check_learning(norm, before, self._parameters)
        num_tokens = sum(batch.num_tokens for batch in batches)
        seconds = time.perf_counter() - started
        self._progress.step += 1
        self._progress.num_trained_tokens += num_tokens
        self._progress.training_seconds += seconds
        self._progress.samples.append(self._sampler.digest(step))
        return {
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": norm,
            "tokens_per_second": num_tokens / seconds,
            "epoch": self._progress.step / self._sampler.steps_per_epoch,
        }

    def _batches(self, step: int) -> list[Batch]:
        """One batch per forward pass."""
        return [
            make_batch([self._train[index] for index in documents], self._prefix_length).to(self._device)
            for whole in self._sampler.micro_batches(step)
            for documents in split_pass(whole, self._lengths, self._prefix_length, self._refit)
        ]

    def _backward(self, batch: Batch, num_targets: int) -> float:
        """Adds the batch's share of the step's gradient; returns its share of the step's loss."""
        if batch.num_targets == 0:
            return 0.0
        with fits_into_memory(batch):
            loss = summed_loss(self._model, batch, self._compute) / num_targets
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _finish(self, metrics: dict[str, float]) -> None:
        """What follows an optimizer step: validation where due, the report, a checkpoint where due."""
        improved = self._due(self._eval_steps) and self._validate(metrics)
        progress = self._progress
        progress.history.append({"step": float(progress.step), **metrics})
        progress.unfinished = None
        remaining = (self._num_steps - progress.step) * progress.training_seconds / progress.step
        self._report.metrics(progress.step, metrics)
        self._report.progress(progress.step, self._num_steps, f"loss {metrics['loss']:.4f}", remaining)
        if self._due(self._save_steps) or improved or self._out_of_patience():
            self._save(rng_tensors(self._device))

    def _validate(self, metrics: dict[str, float]) -> bool:
        """Adds `validation_loss` to `metrics`; whether it is the best so far."""
        if not self._validation:
            return False
        rng = rng_tensors(self._device)
        self._model.eval()
        total = 0.0
        for batch in self._validation:
            self._leave_if_asked(rng)
            with torch.no_grad(), fits_into_memory(batch):
                total += summed_loss(self._model, batch, self._compute).item()
        self._model.train()
        loss = total / sum(batch.num_targets for batch in self._validation)
        check_finite(self._progress.step, loss, 0.0)
        metrics["validation_loss"] = loss
        best = self._progress.best
        improved = best is None or loss < best.validation_loss
        self._progress.num_validations_without_gain += 1
        if improved:
            self._progress.num_validations_without_gain = 0
            self._progress.best = Best(self._progress.step, loss, self._checkpoints.uri_of(self._progress.step))
        return improved

    def _leave_if_asked(self, rng: Mapping[str, torch.Tensor]) -> None:
        """Between two forward passes. What was done since the last optimizer step is dropped and will be done again;
        `rng` is what the random generators were then."""
        if not self._report.should_stop():
            return
        if self._saved_step != self._progress.step:
            self._save(rng)
        self._checkpoints.wait()
        raise PreemptedError(f"asked to stop; the run goes on from step {self._progress.step}")

    def _save(self, rng: Mapping[str, torch.Tensor]) -> None:
        step = self._progress.step
        snapshot = Snapshot(
            progress=self._progress,
            weights=self._parameters,
            optimizer=optimizer_tensors(self._optimizer, self._parameters),
            rng=rng,
            environment=self._environment,
        )
        stalled = self._checkpoints.save(snapshot, self._sampler.position(step))
        self._report.metrics(step, {"checkpoint_stall_seconds": stalled})
        self._saved_step = step

    def _restore_best(self) -> None:
        self._model.eval()
        best = self._progress.best
        if best is None or best.step == self._progress.step:
            return
        try:
            load_weights(self._checkpoints.load(best.checkpoint_uri), self._parameters)
        except ArtifactError as error:
            _log.error("the best weights, of step %d, are lost; the last ones are taken: %s", best.step, error)
            self._progress.best = None

    def _due(self, every: int) -> bool:
        """Whether this step is one of every `every`, or the last."""
        return self._progress.step % every == 0 or self._progress.step == self._num_steps

    def _out_of_patience(self) -> bool:
        patience = self._spec.early_stopping_patience
        return patience is not None and self._progress.num_validations_without_gain >= patience
