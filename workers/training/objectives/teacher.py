"""What a teacher finds likely at every target, read once before training and kept on disk.

All its logits would be 4 V bytes a target: with a vocabulary of 50,000 that is 200 kB, 200 GB for a million targets. So
only the k likeliest tokens are kept, and the mass of the rest as one number: 8 k + 4 bytes, half a gigabyte for a
million targets with k = 64, in a file that is mapped into memory. Asking the teacher in every step instead would need
no file, but the teacher in memory beside the gradients and the optimizer, and a forward pass of it in every epoch;
this way it is read once, before there are any, and then let go.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from workers.training.forward import target_logits
from workers.training.guards import fits_into_memory
from workers.training.methods.base import load_base
from workers.training.objectives.base import Passes
from workers.training.packing import Batch
from workers.training.samples import Sample


@dataclass(frozen=True)
class Teacher:
    """A model to learn from."""

    folder: Path
    """As `resolve_base_model` returns it."""
    num_tokens: int
    """Token ids that teacher and student share; further outputs of either are left out."""


@dataclass(frozen=True)
class Likely:
    """The teacher's distribution at N targets, tokens beyond the k likeliest taken together."""

    ids: torch.Tensor
    """int64 [N, k]"""
    log_probs: torch.Tensor
    """fp32 [N, k]"""
    log_rest: torch.Tensor
    """fp32 [N]: log-probability of all other tokens; minus infinity when there are none."""


class Lessons:
    """What a teacher finds likely at the targets of samples of one document, by `top_k` tokens each."""

    def __init__(self, teacher: Teacher, top_k: int, temperature: float, work_dir: Path) -> None:
        """`work_dir` is where the files go; they have no name, so nothing of them is left behind."""
        self._teacher = teacher
        self._top_k = min(top_k, teacher.num_tokens)
        self._temperature = temperature
        self._work_dir = work_dir
        self._rows: dict[Sample, tuple[_Table, int]] = {}

    def add(self, samples: Sequence[Sample], passes: Passes, compute: torch.dtype, device: torch.device) -> None:
        """Reads the teacher on `samples`. It is on `device` meanwhile, for matrix products in `compute`.

        Raises:
            OSError: no space left for the file.
        """
        table = _Table(self._work_dir, sum(sample.num_targets for sample in samples), self._top_k)
        start = 0
        for sample in samples:
            self._rows[sample] = table, start
            start += sample.num_targets
        model = load_base(self._teacher.folder, compute, device)
        for batch in passes(samples):
            if batch.num_targets:
                with torch.no_grad(), fits_into_memory(batch):
                    table.write(self._places(batch), self._ask(model, batch, compute))

    def of(self, batch: Batch) -> Likely:
        """At the targets of `batch`, whose samples were added before, all in one call."""
        table, _ = self._rows[batch.samples[0]]
        return table.read(self._places(batch), batch.targets.device)

    def _ask(self, model: nn.Module, batch: Batch, compute: torch.dtype) -> Likely:
        logits = target_logits(model, batch, compute)[:, : self._teacher.num_tokens]
        log_probs = (logits / self._temperature).log_softmax(1)
        top, ids = log_probs.topk(self._top_k, dim=1)
        return Likely(ids, top, rest_of(log_probs, ids))

    def _places(self, batch: Batch) -> NDArray[np.int64]:
        """[N]: row of each target in the table."""
        per_token = [self._rows[sample][1] + np.cumsum(_is_target(sample)) - 1 for sample in batch.samples]
        places: NDArray[np.int64] = np.concatenate(per_token)[batch.origins]
        return places


def rest_of(log_probs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """[N]: logarithm of the probability of all tokens but `ids` [N, k], by `log_probs` [N, tokens]."""
    return log_probs.scatter(1, ids, -torch.inf).logsumexp(1)


class _Table:
    """Rows in two files, mapped into memory."""

    def __init__(self, folder: Path, num_rows: int, top_k: int) -> None:
        self._ids: NDArray[np.int32] = _mapped(folder, np.int32, (num_rows, top_k))
        self._log_probs: NDArray[np.float32] = _mapped(folder, np.float32, (num_rows, top_k + 1))

    def write(self, places: NDArray[np.int64], likely: Likely) -> None:
        self._ids[places] = likely.ids.cpu().numpy()
        self._log_probs[places] = torch.cat([likely.log_probs, likely.log_rest[:, None]], dim=1).cpu().numpy()

    def read(self, places: NDArray[np.int64], device: torch.device) -> Likely:
        ids = torch.from_numpy(self._ids[places].astype(np.int64)).to(device)
        log_probs = torch.from_numpy(self._log_probs[places]).to(device)
        return Likely(ids, log_probs[:, :-1], log_probs[:, -1])


def _mapped(folder: Path, dtype: type[np.generic], shape: tuple[int, int]) -> np.memmap:
    """Room is taken at once: a full disk would otherwise show in the middle, as a signal that ends the process."""
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the map keeps it open
    os.posix_fallocate(file.fileno(), 0, max(1, shape[0] * shape[1] * np.dtype(dtype).itemsize))
    return np.memmap(file, dtype=dtype, mode="r+", shape=(max(1, shape[0]), shape[1]))


def _is_target(sample: Sample) -> NDArray[np.bool_]:
    (document,) = sample.documents
    return document.trainable & (np.arange(len(document.trainable)) > 0)
