"""Parts of tensors: how state that ranks divide among them gets into a checkpoint, and out of it again.

However a strategy divides a tensor, a rank has one run of neighbouring elements of it in row-major order: all of it
(`ddp`), some of its rows (`fsdp`), or a flat part (`zero`). A checkpoint consists of such runs under the names of the
parameters, each with the shape of the whole. So any number of ranks, under any strategy, reads what it needs of them.

A file of pieces is safetensors: flat tensors, and in its header `pieces`, JSON `{name: [start, shape]}`.
torch.distributed.checkpoint is not used: its index is a pickle, and it knows no flat parts.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

_HEADER = "pieces"


@dataclass(frozen=True)
class Piece:
    """What one rank has of a tensor."""

    values: torch.Tensor
    """[n], any dtype and device."""
    start: int
    """Where the first of them stands in the flattened whole."""
    shape: tuple[int, ...]
    """Of the whole."""

    def with_values(self, values: torch.Tensor) -> "Piece":
        """The same part of a tensor with other values."""
        return Piece(values, self.start, self.shape)


def whole(tensor: torch.Tensor) -> Piece:
    """All of `tensor`, detached; its memory where it is contiguous."""
    return Piece(tensor.detach().flatten(), 0, tuple(tensor.shape))


def wholes(tensors: Mapping[str, torch.Tensor]) -> dict[str, Piece]:
    """The same of each."""
    return {name: whole(tensor) for name, tensor in tensors.items()}


@dataclass(frozen=True)
class _Run:
    """A piece in a file."""

    file: Any
    name: str
    start: int
    stop: int

    def read(self, start: int, stop: int) -> torch.Tensor:
        values: torch.Tensor = self.file.get_slice(self.name)[start - self.start : stop - self.start]
        return values


class Stored:
    """A tensor in files of pieces. Nothing is read before it is asked for."""

    def __init__(self, shape: tuple[int, ...], runs: Sequence[_Run]) -> None:
        """`runs` in their order.

        Raises:
            ValueError: they are not the whole tensor, or overlap.
        """
        self.shape = shape
        self._runs = runs
        reached = 0
        for run in runs:
            if run.start != reached:
                raise ValueError(f"{run.name} has a gap or is there twice at element {min(reached, run.start)}")
            reached = run.stop
        if reached != math.prod(shape):
            raise ValueError(f"{runs[0].name} has {reached} elements of {math.prod(shape)}")

    def read(self, start: int, stop: int) -> torch.Tensor:
        """[stop - start]: these elements of the flattened tensor; they may be pages of a file."""
        parts = [
            run.read(max(start, run.start), min(stop, run.stop))
            for run in self._runs
            if max(start, run.start) < min(stop, run.stop)
        ]
        if not parts:
            return torch.empty(0)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def whole(self) -> torch.Tensor:
        """All of it, in its shape."""
        (first, *_) = self._runs
        if not math.prod(self.shape):
            return first.read(0, 0).view(self.shape)
        return self.read(0, math.prod(self.shape)).view(self.shape)


def write_pieces(pieces: Mapping[str, Piece], path: Path) -> None:
    """Writes `pieces`, which are on the CPU, into the new file `path`.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    header = {name: [piece.start, piece.shape] for name, piece in pieces.items()}
    save_file({name: piece.values for name, piece in pieces.items()}, path, {_HEADER: json.dumps(header)})


def open_pieces(paths: Iterable[Path]) -> dict[str, Stored]:
    """The tensors of which these files have the pieces, by name.

    Raises:
        OSError, SafetensorError, ValueError, TypeError, KeyError: they are no such files, or a piece is missing.
    """
    runs: dict[str, list[_Run]] = defaultdict(list)
    shapes: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for path in paths:
        file: Any = safe_open(path, "pt")
        for name, (start, shape) in json.loads(file.metadata()[_HEADER]).items():
            (length,) = file.get_slice(name).get_shape()
            runs[name].append(_Run(file, name, start, start + length))
            shapes[name].add(tuple(shape))
    stored = {}
    for name, parts in runs.items():
        (shape,) = shapes[name]
        stored[name] = Stored(shape, sorted(parts, key=lambda run: (run.start, run.stop)))
    return stored
