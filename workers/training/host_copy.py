"""Copies of a run's state in the host's memory: what is written while the training goes on."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from workers.training.pieces import Piece
from workers.training.snapshot import Snapshot


class HostCopy:
    """Memory of the host that snapshots are copied to, one after the other.

    It is kept from one copy to the next: fresh memory would be mapped page by page, which takes longer than the copy.
    Of an accelerator's tensors the copy is page-locked, so that it runs at the speed of the bus.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, torch.Tensor] = {}

    def take(self, snapshot: Snapshot[Piece]) -> Snapshot[Piece]:
        """A copy of `snapshot` that later steps do not change, but for what is written in place; valid until the next
        call. Weights and optimizer state that are copies already are not copied again."""
        copy = replace(
            snapshot,
            progress=snapshot.progress.detached(),
            rng=self._copy("rng", snapshot.rng),
            control=self._copy("control", snapshot.control),
            step=self._copy("step", snapshot.step),
        )
        if not (snapshot.is_written_in_place or snapshot.is_copied):
            copy = replace(
                copy,
                weights=self._copy_pieces("weights", snapshot.weights),
                optimizer=self._copy_pieces("optimizer", snapshot.optimizer),
            )
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return copy

    def _copy(self, part: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: self._buffer(f"{part}/{name}", tensor) for name, tensor in tensors.items()}

    def _copy_pieces(self, part: str, pieces: Mapping[str, Piece]) -> dict[str, Piece]:
        return {name: piece.with_values(self._buffer(f"{part}/{name}", piece.values)) for name, piece in pieces.items()}

    def _buffer(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        if name not in self._buffers:
            pinned = tensor.device.type == "cuda"
            self._buffers[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
        return self._buffers[name].copy_(tensor.detach(), non_blocking=True)
