"""The training loop. `Engine.run` is its table of contents.

It is given a model with an adapter, tokenized documents and a place for checkpoints; it knows nothing of job stages,
files or services. The same seed gives the same weights on the same CPU, whether or not the run was interrupted.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from peft import PeftModel

from luthier.spec import TrainingSpec
from workers.failures import PreemptedError
from workers.task import Report
from workers.training.checkpoints import CheckpointStore, Snapshot
from workers.training.guards import check_finite, check_learning, check_trainable, fingerprint
from workers.training.loss import summed_loss
from workers.training.optimizer import (
    load_optimizer_tensors,
    load_rng_tensors,
    make_optimizer,
    optimizer_tensors,
    rng_tensors,
    trainable_parameters,
)
from workers.training.packing import Batch, Example, make_batch, pack_validation, shared_prefix
from workers.training.sampler import Sampler
from workers.training.schedule import learning_rate
from workers.training.state import Best, Progress

_VALIDATIONS_PER_RUN = 10


@dataclass(frozen=True)
class Summary:
    """What came out of a run; the model then carries the best adapter."""

    num_steps: int
    """Optimizer steps done, over all attempts."""
    best_step: int
    best_validation_loss: float | None
    """Mean nats per target; None without validation rows."""
    train_loss: float
    """Mean nats per target over the last tenth of the steps."""
    num_trainable_parameters: int
    num_trained_tokens: int
    tokens_per_second: float
    """Tokens of real text, prompts included, per second spent in optimizer steps."""
    resumed_from_step: int | None
    stopped_early: bool
    history: list[dict[str, float]]
    """One row of metrics per step."""


class Engine:
    """One training run."""

    def __init__(
        self,
        model: PeftModel,
        train: Sequence[Example],
        validation: Sequence[Example],
        spec: TrainingSpec,
        *,
        compute: torch.dtype,
        report: Report,
        checkpoints: CheckpointStore,
    ) -> None:
        """
        Args:
            model: on its device, with the `luthier_documents` attention and fp32 trainable parameters.
            train: documents to learn from.
            validation: documents for the validation loss; may be empty.
            spec: the job's `training` section.
            compute: dtype of the matrix products.
            report: where progress and metrics go.
            checkpoints: where snapshots go and come from.

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
        self._parameters = trainable_parameters(model)
        check_trainable(self._parameters, train, validation, spec)
        self._optimizer = make_optimizer(self._parameters, spec)
        self._prefix_length = shared_prefix(train)
        lengths = [len(example.input_ids) - self._prefix_length for example in train]
        self._sampler = Sampler(lengths, spec.pack_length - self._prefix_length, spec)
        self._validation = [batch.to(self._device) for batch in pack_validation(validation, spec)]
        self._num_steps = self._sampler.num_steps
        self._eval_steps = spec.eval_steps or max(1, math.ceil(self._num_steps / _VALIDATIONS_PER_RUN))
        self._save_steps = spec.save_steps or self._eval_steps
        self._progress = Progress()
        self._saved_step = 0

    def run(self) -> Summary:
        """Trains to the end, from the newest checkpoint if there is one.

        Raises:
            DivergedError: loss or gradient became NaN or infinite.
            ConfigError: the adapter does not learn at all.
            PreemptedError: the worker drains; a checkpoint was committed.
            OSError, SafetensorError: a checkpoint could not be written.
            ArtifactError: the checkpoint of the best step was changed while the run went on.
        """
        resumed_from_step = self._resume()
        self._model.train()
        stopped_early = self._out_of_patience()
        while self._progress.step < self._num_steps and not stopped_early:
            metrics = self._step()
            improved = self._due(self._eval_steps) and self._validate(metrics)
            self._tell(metrics)
            stopped_early = self._out_of_patience()
            if self._due(self._save_steps) or improved or stopped_early:
                self._save()
            self._leave_if_asked()
        self._restore_best()
        return self._summary(resumed_from_step, stopped_early)

    def _step(self) -> dict[str, float]:
        """One optimizer step. The loss is the mean over all targets of the step, however they fall into batches."""
        started = time.perf_counter()
        step = self._progress.step
        batches = [
            make_batch([self._train[index] for index in documents], self._prefix_length).to(self._device)
            for documents in self._sampler.micro_batches(step)
        ]
        num_targets = sum(batch.num_targets for batch in batches)
        rate = learning_rate(step, self._num_steps, self._spec)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = sum(self._backward(batch, num_targets) for batch in batches)
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
        return {
            "loss": loss,
            "learning_rate": rate,
            "grad_norm": norm,
            "tokens_per_second": num_tokens / seconds,
            "epoch": self._progress.step / self._sampler.steps_per_epoch,
        }

    def _backward(self, batch: Batch, num_targets: int) -> float:
        """Adds the batch's share of the step's gradient; returns its share of the step's loss."""
        if batch.num_targets == 0:
            return 0.0
        loss = summed_loss(self._model, batch, self._compute) / num_targets
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _validate(self, metrics: dict[str, float]) -> bool:
        """Adds `validation_loss` to `metrics`; whether it is the best so far."""
        if not self._validation:
            return False
        self._model.eval()
        with torch.no_grad():
            total = sum(summed_loss(self._model, batch, self._compute).item() for batch in self._validation)
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

    def _tell(self, metrics: dict[str, float]) -> None:
        progress = self._progress
        progress.history.append({"step": float(progress.step), **metrics})
        remaining = (self._num_steps - progress.step) * progress.training_seconds / progress.step
        self._report.metrics(progress.step, metrics)
        self._report.progress(progress.step, self._num_steps, f"loss {metrics['loss']:.4f}", remaining)

    def _save(self) -> None:
        position = self._sampler.position(self._progress.step)
        ref = self._checkpoints.save(self._snapshot(), position)
        self._report.checkpoint(ref, self._progress.step)
        self._saved_step = self._progress.step

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            progress=self._progress,
            adapter=dict(self._parameters),
            optimizer=optimizer_tensors(self._optimizer, self._parameters),
            rng=rng_tensors(self._device),
        )

    def _resume(self) -> int | None:
        """Takes over the newest usable checkpoint; its step, or None when there is none."""
        snapshot = self._checkpoints.load_newest()
        if snapshot is None:
            return None
        self._load_adapter(snapshot)
        load_optimizer_tensors(self._optimizer, self._parameters, snapshot.optimizer)
        load_rng_tensors(snapshot.rng, self._device)
        self._progress = snapshot.progress
        self._saved_step = snapshot.progress.step
        return snapshot.progress.step

    def _load_adapter(self, snapshot: Snapshot) -> None:
        assert snapshot.adapter.keys() == self._parameters.keys(), "the checkpoint is of another adapter"
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(snapshot.adapter[name])

    def _restore_best(self) -> None:
        best = self._progress.best
        if best is not None and best.step != self._progress.step:
            self._load_adapter(self._checkpoints.load(best.checkpoint_uri))
        self._model.eval()

    def _leave_if_asked(self) -> None:
        if self._progress.step < self._num_steps and self._report.should_stop():
            if self._saved_step != self._progress.step:
                self._save()
            raise PreemptedError(f"asked to stop; a checkpoint of step {self._progress.step} is committed")

    def _due(self, every: int) -> bool:
        """Whether this step is one of every `every`, or the last."""
        return self._progress.step % every == 0 or self._progress.step == self._num_steps

    def _out_of_patience(self) -> bool:
        patience = self._spec.early_stopping_patience
        return patience is not None and self._progress.num_validations_without_gain >= patience

    def _summary(self, resumed_from_step: int | None, stopped_early: bool) -> Summary:
        progress = self._progress
        last_tenth = progress.history[-max(1, progress.step // 10) :]
        return Summary(
            num_steps=progress.step,
            best_step=progress.best.step if progress.best else progress.step,
            best_validation_loss=progress.best.validation_loss if progress.best else None,
            train_loss=sum(row["loss"] for row in last_tenth) / len(last_tenth),
            num_trainable_parameters=sum(parameter.numel() for parameter in self._parameters.values()),
            num_trained_tokens=progress.num_trained_tokens,
            tokens_per_second=progress.num_trained_tokens / progress.training_seconds,
            resumed_from_step=resumed_from_step,
            stopped_early=stopped_early,
            history=progress.history,
        )
