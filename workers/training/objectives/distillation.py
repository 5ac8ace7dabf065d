"""Distillation of logits: the student is drawn to what the teacher finds likely, and to what the rows say.

    alpha T^2 KL(teacher || student) + (1 - alpha) cross-entropy,     both models' logits divided by T in the KL

T^2 keeps the share of the teacher as T grows, because its gradients shrink by that (Hinton et al., 2015,
arXiv:1503.02531, section 2). The tokens beyond the teacher's k likeliest are one outcome, in both distributions: the
divergence is that of coarser distributions, so never more than the whole one, and equal to it when k is the vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from luthier.spec import DistillationSpec
from workers.failures import DataError
from workers.training.forward import by_document, target_logits
from workers.training.objectives.base import Measured, Passes
from workers.training.objectives.sft import target_weights, weight_of_targets
from workers.training.objectives.teacher import Lessons, Likely, Teacher, rest_of
from workers.training.packing import Batch
from workers.training.samples import Sample


class Distillation:
    """An `Objective` over rows of one document."""

    def __init__(self, spec: DistillationSpec, teacher: Teacher, work_dir: Path) -> None:
        """What the teacher says is kept in `work_dir`."""
        self._spec = spec
        self._teacher = teacher
        self._lessons = Lessons(teacher, spec.top_k, spec.temperature, work_dir)

    def check(self, train: Sequence[Sample], _: Sequence[Sample]) -> None:
        """See `Objective`."""
        if not any(sample.num_targets for sample in train):
            raise DataError(
                "no token of the training split is a target; check that the rows have texts or assistant answers"
            )

    def prepare(self, model: nn.Module, samples: Sequence[Sample], passes: Passes, compute: torch.dtype) -> None:
        """Asks the teacher."""
        if samples:
            self._lessons.add(samples, passes, compute, next(model.parameters()).device)

    def begin(self, model: nn.Module, samples: Sequence[Sample], compute: torch.dtype) -> None:
        """Nothing to do."""

    def weigh(self, sample: Sample) -> float:
        """Its targets, each by its weight."""
        return weight_of_targets(sample)

    def measure(self, model: nn.Module, batch: Batch, compute: torch.dtype) -> Measured:
        """The loss of the batch's targets, summed by their weights, and its two parts before they are mixed."""
        alpha, temperature = self._spec.alpha, self._spec.temperature
        logits = target_logits(model, batch, compute)
        negative = functional.cross_entropy(logits, batch.targets, reduction="none")
        divergence = kl_from(self._lessons.of(batch), logits[:, : self._teacher.num_tokens], temperature)
        weights = target_weights(batch)
        if weights is None:
            weights = torch.ones_like(negative)
        losses = (alpha * temperature**2 * divergence + (1 - alpha) * negative) * weights
        figures = {"kl": divergence.detach() @ weights, "cross_entropy": negative.detach() @ weights}
        return Measured(losses.sum(), figures, by_document(losses.detach(), batch))


def kl_from(teacher: Likely, logits: torch.Tensor, temperature: float) -> torch.Tensor:
    """fp32 [N], in nats: KL(teacher || student) where the student has `logits`, fp32 [N, tokens]."""
    log_probs = (logits / temperature).log_softmax(1)
    divergence = (teacher.log_probs.exp() * (teacher.log_probs - log_probs.gather(1, teacher.ids))).sum(1)
    if teacher.ids.shape[1] == logits.shape[1]:
        return divergence
    return divergence + teacher.log_rest.exp() * (teacher.log_rest - rest_of(log_probs, teacher.ids))
