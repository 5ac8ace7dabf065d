"""How long a training step stands still for a checkpoint: written in the background, and written while it waits.

One model, one optimizer, one store; both arms in turn, so that whatever else the machine does hits both. The state is
that of full fine-tuning: fp32 weights and AdamW's two moments. The figures count only if the checkpoints hold what the
training had when they were saved. The seconds of a step beside a commit are printed as well, because hashing and
writing take their share of the machine.

Machine-dependent in absolute terms; the ratio is what matters. JSON on stdout.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from luthier.artifacts import ArtifactRef, delete
from luthier.spec import TrainingSpec
from workers.training.checkpoints import CheckpointStore
from workers.training.environment import current_environment
from workers.training.optimizers import make_optimizer, optimizer_tensors, trainable_parameters
from workers.training.pieces import Piece, wholes
from workers.training.rng import rng_tensors
from workers.training.sampler import Position
from workers.training.snapshot import Snapshot
from workers.training.state import Progress

WIDTH = 1024
TENSORS_PER_WEIGHT = 3  # itself and two moments


class Coordinator:
    """A report that counts commits, and removes what is needed no more, as the platform does."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        """Not asked for here."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Not asked for here."""

    def checkpoint(self, ref: ArtifactRef, step: int) -> None:
        """Called by the thread that commits."""
        self.steps.append(step)

    def retire(self, uris: Sequence[str]) -> None:
        """Called by the thread that commits."""
        for uri in uris:
            delete(uri)

    def should_stop(self) -> bool:
        """Never."""
        return False


class Training:
    """A stack of square layers that learns to say zero."""

    def __init__(self, device: torch.device, num_layers: int) -> None:
        self.device = device
        self.model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(num_layers))).to(device)
        self.parameters = trainable_parameters(self.model)
        self.optimizer = make_optimizer(self.parameters, TrainingSpec(learning_rate=1e-4))
        self.num_steps = 0

    def step(self) -> float:
        """Seconds of one optimizer step."""
        started = time.perf_counter()
        self.model(torch.ones(64, WIDTH, device=self.device)).square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.num_steps += 1
        next(iter(self.parameters.values()))[0, 0].item()  # waits for the device
        return time.perf_counter() - started

    def snapshot(self) -> Snapshot[Piece]:
        """The state of this moment; its tensors are those of the training."""
        return Snapshot(
            progress=Progress(step=self.num_steps),
            weights=wholes(self.parameters),
            optimizer=wholes(optimizer_tensors(self.optimizer, self.parameters)),
            rng=rng_tensors(self.device),
            environment=current_environment(torch.float32, self.device),
        )


def main() -> int:
    """Runs the benchmark; 1 when a checkpoint did not hold what was saved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=384, help="of weights and moments together")
    parser.add_argument("--rounds", type=int, default=6, help="saves of each arm; the first is not counted")
    parser.add_argument("--folder", type=Path, help="where the checkpoints go; by default a temporary folder")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training = Training(device, max(1, arguments.megabytes * 10**6 // (TENSORS_PER_WEIGHT * 4 * WIDTH**2)))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        seconds, intact = measure(training, Path(folder), arguments.rounds)
    print(json.dumps(report(seconds, intact, training)))
    return 0 if intact else 1


def measure(training: Training, folder: Path, num_rounds: int) -> tuple[dict[str, list[float]], bool]:
    """Seconds per round or step, by what they were spent on; whether every checkpoint holds what was saved."""
    coordinator = Coordinator()
    seconds: dict[str, list[float]] = {"background": [], "waiting": [], "quiet_step": [], "step_beside_commit": []}
    intact = True
    store = CheckpointStore(
        str(folder / "checkpoints"), 1, folder / "scratch", keep=2, key=b"benchmark", report=coordinator
    )
    with store:
        for _ in range(num_rounds):
            seconds["quiet_step"] += [training.step() for _ in range(2)]
            saved = training.num_steps
            seconds["background"].append(store.save(training.snapshot(), Position(0, 0)))
            while saved not in coordinator.steps:
                store.check()
                seconds["step_beside_commit"].append(training.step())
            seconds["quiet_step"].append(training.step())
            started = time.perf_counter()
            store.save(training.snapshot(), Position(0, 0))
            store.wait()
            seconds["waiting"].append(time.perf_counter() - started)
            loaded = store.load(store.uri_of(training.num_steps)).weights
            intact &= all(torch.equal(loaded[name].whole(), value.cpu()) for name, value in training.parameters.items())
    return seconds, intact


def report(seconds: dict[str, list[float]], intact: bool, training: Training) -> dict[str, object]:
    """What is printed. The first round is left out: it makes room for the copy."""
    stalls = {name: seconds[name][1:] for name in ("background", "waiting")}
    ratios = [waiting / background for background, waiting in zip(*stalls.values(), strict=True)]
    num_weights = sum(parameter.numel() for parameter in training.parameters.values())
    return {
        "benchmark": "checkpoint_stall",
        "num_bytes": TENSORS_PER_WEIGHT * 4 * num_weights,
        "device": current_environment(torch.float32, training.device).device,
        "num_threads": torch.get_num_threads(),
        "stall_seconds": {name: [round(value, 4) for value in values] for name, values in stalls.items()},
        "median_stall_seconds": {name: round(statistics.median(values), 4) for name, values in stalls.items()},
        "median_step_seconds": {
            name: round(statistics.median(seconds[name]), 4) for name in ("quiet_step", "step_beside_commit")
        },
        "median_ratio": round(statistics.median(ratios), 1),
        "gates": {"checkpoints_hold_what_was_saved": intact},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


if __name__ == "__main__":
    sys.exit(main())
