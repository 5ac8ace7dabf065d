"""The state of a run between two steps, and the files that hold it.

Tensors are safetensors, everything else JSON: nothing here can execute code when it is read. What the files say is
believed only after the manifest beside them has been verified (checkpoints.py).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from luthier.artifacts import ArtifactError
from workers.training.environment import Environment
from workers.training.state import Progress

_WEIGHTS, _OPTIMIZER, _RNG = "weights.safetensors", "optimizer.safetensors", "rng.safetensors"
_CONTROL, _STEP = "control.safetensors", "step.safetensors"
_PROGRESS = "progress.json"


@dataclass(frozen=True)
class Snapshot:
    """Everything that a later attempt needs besides the job file and the data."""

    progress: Progress
    weights: Mapping[str, torch.Tensor]
    """Trainable parameters by name, fp32."""
    optimizer: Mapping[str, torch.Tensor]
    """`<parameter name>/<state name>`."""
    rng: Mapping[str, torch.Tensor]
    """uint8 states of the random generators by device type."""
    environment: Environment
    """What the numbers were computed with."""
    control: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """State of the method, where it has any beside its weights."""
    step: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """What an optimizer step keeps besides: the average of the weights, the loss scale."""


def write_snapshot(snapshot: Snapshot, folder: Path) -> None:
    """Writes the files of `snapshot`, whose tensors are contiguous and on the CPU, into the empty `folder`.

    Its environment is not among them: it stands in the manifest.

    Raises:
        OSError, SafetensorError: it cannot be written or is full.
    """
    parts = {
        _WEIGHTS: snapshot.weights,
        _OPTIMIZER: snapshot.optimizer,
        _RNG: snapshot.rng,
        _CONTROL: snapshot.control,
        _STEP: snapshot.step,
    }
    for name, tensors in parts.items():
        save_file(dict(tensors), folder / name)
    (folder / _PROGRESS).write_text(json.dumps(snapshot.progress.to_json()))


def read_snapshot(folder: Path, environment: Any) -> Snapshot:
    """The inverse of `write_snapshot`; `environment` is what the manifest says of it.

    Raises:
        ArtifactError: the files are not those that this loop writes, whoever signed them.
    """
    try:
        return Snapshot(
            progress=Progress.of_json(json.loads((folder / _PROGRESS).read_text())),
            weights=load_file(folder / _WEIGHTS),
            optimizer=load_file(folder / _OPTIMIZER),
            rng=load_file(folder / _RNG),
            environment=Environment(**environment),
            control=load_file(folder / _CONTROL),
            step=load_file(folder / _STEP),
        )
    except (FileNotFoundError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{folder} does not hold the state of a training run: {error}") from error
