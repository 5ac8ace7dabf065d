"""The state of a run between two steps, and the files that hold it.

Tensors are safetensors, everything else JSON: nothing here can execute code when it is read. What the files say is
believed only after the manifest beside them has been verified (checkpoints.py). Weights and optimizer state are in one
file of pieces for each rank that has a part of them (pieces.py); the rest is small, and rank 0 writes it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from luthier.artifacts import ArtifactError
from workers.training.environment import Environment
from workers.training.pieces import Piece, Stored, open_pieces, write_pieces
from workers.training.state import Progress

_WEIGHTS, _OPTIMIZER = "weights", "optimizer"
_RNG, _CONTROL, _STEP = "rng.safetensors", "control.safetensors", "step.safetensors"
_PROGRESS = "progress.json"

Part = TypeVar("Part", Piece, Stored)


@dataclass(frozen=True)
class Snapshot(Generic[Part]):
    """Everything that a later attempt needs besides the job file and the data.

    A rank that saves has pieces; who reads it gets whole tensors, to take any part of.
    """

    progress: Progress
    weights: Mapping[str, Part]
    """Trainable parameters by name, fp32."""
    optimizer: Mapping[str, Part]
    """`<parameter name>/<state name>`."""
    rng: Mapping[str, torch.Tensor]
    """uint8 states of the random generators by device type."""
    environment: Environment
    """What the numbers were computed with."""
    control: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """State of the method, where it has any beside its weights."""
    step: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """What an optimizer step keeps besides: the average of the weights, the loss scale."""
    is_divided: bool = False
    """Whether each rank has a part of weights and optimizer state; else rank 0 has all of it."""
    is_copied: bool = False
    """Whether weights and optimizer state are in memory of the host that nothing else writes to."""
    is_written_in_place: bool = False
    """Whether weights and optimizer state, which are in the host's memory, are written from there while the run waits;
    else the host has room for a copy."""


def write_snapshot(snapshot: Snapshot[Piece], folder: Path, rank: int = 0) -> list[str]:
    """Writes what `rank` has of `snapshot`, whose tensors are contiguous and on the CPU; the names of the new files.

    Its environment is not among them: it stands in the manifest.

    Raises:
        OSError, SafetensorError: it cannot be written or is full.
    """
    names = []
    for part, pieces in ((_WEIGHTS, snapshot.weights), (_OPTIMIZER, snapshot.optimizer)):
        names.append(f"{part}.{rank}.safetensors")
        write_pieces(pieces, folder / names[-1])
    if rank == 0:
        for name, tensors in ((_RNG, snapshot.rng), (_CONTROL, snapshot.control), (_STEP, snapshot.step)):
            save_file(dict(tensors), folder / name)
        (folder / _PROGRESS).write_text(json.dumps(snapshot.progress.to_json()))
        names += [_RNG, _CONTROL, _STEP, _PROGRESS]
    return names


def read_snapshot(folder: Path, environment: Any) -> Snapshot[Stored]:
    """What all ranks wrote into `folder`; `environment` is what the manifest says of it.

    Raises:
        ArtifactError: the files are not those that this loop writes, whoever signed them.
    """
    try:
        return Snapshot(
            progress=Progress.of_json(json.loads((folder / _PROGRESS).read_text())),
            weights=open_pieces(_files(folder, _WEIGHTS)),
            optimizer=open_pieces(_files(folder, _OPTIMIZER)),
            rng=load_file(folder / _RNG),
            environment=Environment(**environment),
            control=load_file(folder / _CONTROL),
            step=load_file(folder / _STEP),
        )
    except (FileNotFoundError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{folder} does not hold the state of a training run: {error}") from error


def _files(folder: Path, part: str) -> list[Path]:
    files = sorted(folder.glob(f"{part}.*.safetensors"))
    if not files:
        raise FileNotFoundError(f"there is no {part}.0.safetensors")
    return files
