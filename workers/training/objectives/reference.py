"""Log-probabilities by the weights that training starts from, which a model is not to stray from too far.

They are computed once, before the first step, and kept: two numbers for a pair. A second copy of the model is never
needed, and neither is a second forward pass in every step. One pass over the rows costs F, the forward part of a step
with forward and backward passes of 3F altogether; asking the model again at every step, with its adapter switched off,
costs F per epoch. Only rows that the run will see are read, so computing them beforehand is never slower; in N epochs
it saves N - 1 passes of F out of 4NF, and it is the only way when all weights are trained.

The starting weights stand for the reference with every method, adapters too: most adapters change nothing at first, and
those that split the base weights between themselves and the base (PiSSA, OLoRA) would give another model when switched
off. An attempt that resumes computes the same numbers to the last bit, because this comes before the checkpoint's
weights are restored.
"""

from collections.abc import Sequence

import torch
from torch import nn

from workers.training.forward import document_log_probs
from workers.training.guards import fits_into_memory
from workers.training.objectives.base import Passes
from workers.training.packing import Batch
from workers.training.samples import Sample


class Reference:
    """Log-probabilities of the documents of samples."""

    def __init__(self) -> None:
        self._log_probs: dict[Sample, list[float]] = {}

    def add(self, model: nn.Module, samples: Sequence[Sample], passes: Passes, compute: torch.dtype) -> None:
        """Computes those of `samples`, without dropout; the random generators are left as they are."""
        was_training = model.training
        model.eval()
        for batch in passes(samples):
            with torch.no_grad(), fits_into_memory(batch):
                rest = document_log_probs(model, batch, compute).tolist()
            for sample in batch.samples:
                own, rest = rest[: len(sample.documents)], rest[len(sample.documents) :]
                self._log_probs[sample] = own
        model.train(was_training)

    def of(self, batch: Batch) -> torch.Tensor:
        """fp32 [D]: of the documents of `batch`, in the order of its samples, which were added before."""
        kept = [value for sample in batch.samples for value in self._log_probs[sample]]
        return torch.tensor(kept, dtype=torch.float32, device=batch.targets.device)
