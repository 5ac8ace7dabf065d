"""The runs that are made by one rank and by two, and what is kept of them. `ranks.py` makes them on every rank."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from luthier.spec import SftSpec
from luthier.spec.distributed import DdpSpec, DistributedSpec, FsdpSpec, ZeroSpec
from luthier.v1.stage_pb2 import Checkpoint
from tests.unit.workers.training.tiny_run import ALONE, TIMED, Recorder, make_engine, make_model, weights
from workers.failures import PreemptedError
from workers.training.distributed.strategies import make_strategy
from workers.training.distributed.world import World
from workers.training.objectives import Measured
from workers.training.objectives.sft import Sft
from workers.training.packing import Batch
from workers.training.samples import Sample

NUM_STEPS = 6
STOP_AT = 7
DDP = DdpSpec()


@dataclass(frozen=True)
class Run:
    """One kind of run."""

    method: str
    compute: torch.dtype = torch.float32
    dropout: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    strategy: DistributedSpec = DDP
    """Of two ranks; one of them is a replica in any case."""
    hidden_size: int = 32
    harmful_step: int | None = None
    """Its loss is no number, although its gradient is."""


ACCUMULATED = {"gradient_accumulation_steps": 2}
FULL = ACCUMULATED | {"learning_rate": 2e-3}
_CADENCE = {"max_steps": NUM_STEPS, "eval_steps": 3, "save_steps": 3}
RUNS: dict[str, Run] = {
    "lora": Run("lora", settings=ACCUMULATED),
    "lora, uneven": Run("lora", settings={"gradient_accumulation_steps": 3}),
    "lora, one row": Run("lora"),
    "lora, unpacked": Run("lora", settings={"packing": False, "per_device_train_batch_size": 3}),
    "full": Run("full", settings=FULL),
    "lora in bf16": Run("lora", torch.bfloat16, settings=ACCUMULATED),
    "full in bf16": Run("full", torch.bfloat16, settings=FULL),
    "lora, zero 1": Run("lora", settings=ACCUMULATED, strategy=ZeroSpec(type="zero", stage=1)),
    "lora, zero 2, offloaded": Run(
        "lora", settings=ACCUMULATED, strategy=ZeroSpec(type="zero", stage=2, offload_optimizer="cpu")
    ),
    "lora, zero 3": Run("lora", settings=ACCUMULATED, strategy=ZeroSpec(type="zero", stage=3)),
    "full, zero 2": Run("full", settings=FULL, strategy=ZeroSpec(type="zero", stage=2)),
    "full, zero 3, offloaded": Run(
        "full",
        settings=FULL,
        strategy=ZeroSpec(type="zero", stage=3, offload_optimizer="cpu", offload_param="cpu"),
    ),
    "lora, fsdp": Run("lora", settings=ACCUMULATED, strategy=FsdpSpec(type="fsdp")),
    "lora in bf16, fsdp, recomputed": Run(
        "lora",
        torch.bfloat16,
        settings=ACCUMULATED | {"gradient_checkpointing": "full"},
        strategy=FsdpSpec(type="fsdp", reshard_after_forward=False),
    ),
    "full, fsdp": Run("full", settings=FULL, strategy=FsdpSpec(type="fsdp")),
    "full in bf16, fsdp": Run("full", torch.bfloat16, settings=FULL, strategy=FsdpSpec(type="fsdp")),
    "lora, skips, fsdp": Run("lora", settings=ACCUMULATED, strategy=FsdpSpec(type="fsdp"), harmful_step=2),
    "lora, skips": Run("lora", settings=ACCUMULATED, harmful_step=2),
    "lora, skips, zero 2": Run("lora", settings=ACCUMULATED, strategy=ZeroSpec(type="zero", stage=2), harmful_step=2),
    "lora, skips, zero 3": Run("lora", settings=ACCUMULATED, strategy=ZeroSpec(type="zero", stage=3), harmful_step=2),
    "lora with dropout": Run("lora", dropout=0.2, settings=ACCUMULATED),
}
RESUMED = (
    "lora with dropout",
    "full",
    "lora, zero 2, offloaded",
    "full, zero 3, offloaded",
    "full, fsdp",
)
"""Those that are also stopped and gone on with."""
HANDED_ON = {
    "full": ("full, fsdp",),
    "full, fsdp": ("full", "full, zero 2"),
    "full, zero 3, offloaded": ("full, fsdp",),
    "lora, zero 2, offloaded": ("lora, fsdp",),
    "alone": ("full", "full, fsdp"),
}
"""Those of RESUMED that two ranks also go on with under other strategies; `alone` was begun by one rank."""


@dataclass(frozen=True)
class Kept:
    """What is left of a run, in JSON values."""

    rows: list[dict[str, float]]
    """Of metrics, without those of time."""
    weights: dict[str, str]
    """Digest of each trained one, all its bits; empty where the rank has nothing of it."""
    checkpoints: list[dict[str, Any]]
    """Newest first."""

    @classmethod
    def of(cls, history: Sequence[Mapping[str, float]], model: nn.Module, report: Recorder) -> "Kept":
        """What a run left that came to an end; of one that was stopped, without a `history`, the checkpoints alone."""
        return cls(
            [{key: value for key, value in row.items() if key not in TIMED} for row in history],
            {key: _digest(value) for key, value in weights(model).items()} if history else {},
            [{"uri": one.uri, "digest": one.digest, "step": one.step} for one in report.checkpoints],
        )

    def earlier(self) -> list[Checkpoint]:
        """Its checkpoints, to go on from."""
        return [Checkpoint(**checkpoint) for checkpoint in self.checkpoints]


class Harmful(Sft):
    """Its loss is NaN in one step; the gradient stays what it is."""

    def __init__(self, step: int | None) -> None:
        super().__init__(SftSpec())
        self._step, self._num_begun = step, 0

    def begin(self, model: nn.Module, samples: Sequence[Sample], compute: torch.dtype) -> None:
        self._num_begun += 1

    def measure(self, model: nn.Module, batch: Batch, compute: torch.dtype) -> Measured:
        measured = super().measure(model, batch, compute)
        return Measured(measured.loss + math.nan) if self._num_begun == self._step else measured


def make(
    name: str,
    folder: Path,
    world: World = ALONE,
    *,
    stop_at: int | None = None,
    earlier: Sequence[Checkpoint] = (),
    fence: int = 1,
) -> Kept:
    """Makes a run, to its end, or until it was asked to stop before forward pass `stop_at` (of the last rank alone)."""
    run = RUNS[name]
    asked = world.rank == world.size - 1
    report = Recorder(lambda num_questions: asked and num_questions == stop_at)
    model = make_model(run.method, run.dropout, run.hidden_size)
    if not world.is_first:
        torch.manual_seed(world.rank)
    engine, _ = make_engine(
        folder,
        report,
        model=model,
        compute=run.compute,
        objective=Harmful(run.harmful_step),
        world=world,
        strategy=make_strategy(world, run.strategy) if world.size > 1 else None,
        earlier=earlier,
        fence=fence,
        **(_CADENCE | run.settings),
    )
    rows: list[dict[str, float]] = []
    try:
        rows = engine.run().history
    except PreemptedError:
        assert stop_at is not None
    return Kept.of(rows, model, report)


def _digest(weight: torch.Tensor) -> str:
    return hashlib.sha256(weight.contiguous().numpy().tobytes()).hexdigest() if weight.numel() else ""


def write(path: Path, kept: Mapping[str, Kept]) -> None:
    """For other processes."""
    path.write_text(json.dumps({name: asdict(run) for name, run in kept.items()}))


def read(path: Path) -> dict[str, Kept]:
    """What another process wrote."""
    return {name: Kept(**document) for name, document in json.loads(path.read_text()).items()}
