"""A training run so small that it takes a second: model, documents, engine, and a report that remembers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, set_seed

from luthier.artifacts import ArtifactRef
from luthier.spec import LoraSpec, SftSpec, TrainingSpec
from luthier.v1.stage_pb2 import Checkpoint
from workers.training.attention import register
from workers.training.checkpoints import CheckpointStore
from workers.training.distributed.strategies import Strategy
from workers.training.distributed.world import World
from workers.training.engine import Engine
from workers.training.methods.base import Control, NoControl
from workers.training.methods.lora import add_lora
from workers.training.objectives import Objective
from workers.training.objectives.sft import Sft
from workers.training.pieces import Stored
from workers.training.samples import Sample

KEY = b"a key of the test"


class Recorder:
    """A report that remembers. `stop` is asked, with the number of questions so far, whether to stop."""

    def __init__(self, stop: Callable[[int], bool] = lambda _: False) -> None:
        self.rows: dict[int, dict[str, float]] = {}
        self.checkpoints: list[Checkpoint] = []
        """Newest first."""
        self.retired: list[str] = []
        self.etas: list[float | None] = []
        self.num_questions = 0
        self._stop = stop

    def progress(self, step: int, num_steps: int, message: str, eta_seconds: float | None = None) -> None:
        self.etas.append(eta_seconds)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.rows.setdefault(step, {}).update(values)

    def checkpoint(self, ref: ArtifactRef, step: int) -> None:
        self.checkpoints.insert(0, Checkpoint(uri=ref.uri, digest=ref.digest, step=step))

    def retire(self, uris: Sequence[str]) -> None:
        self.retired.extend(uris)

    def should_stop(self) -> bool:
        self.num_questions += 1
        return self._stop(self.num_questions)


def make_documents(num: int, seed: int = 0) -> list[SimpleNamespace]:
    """Ascending runs: the next token is the last one plus one, which a tiny model learns at once."""
    rng = np.random.default_rng(seed)
    documents = []
    for start, length in zip(rng.integers(3, 30, num), rng.integers(5, 14, num), strict=True):
        ids = np.arange(start, start + length, dtype=np.int32)
        documents.append(SimpleNamespace(input_ids=ids, trainable=np.arange(length) >= 2))
    return documents


def as_samples(documents: Sequence[Any]) -> list[Sample]:
    """One sample per document; what is a sample already stays."""
    return [row if isinstance(row, Sample) else Sample(number, (row,)) for number, row in enumerate(documents)]


def make_base(vocab_size: int = 64, hidden_size: int = 32) -> LlamaForCausalLM:
    """Two layers of random weights, large enough for a few steps to move the loss."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 3 // 2,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3 * (32 / hidden_size) ** 0.5,
        attn_implementation=register(),
    )
    set_seed(3)
    return LlamaForCausalLM(config)


def make_model(method: str = "lora", dropout: float = 0.1, hidden_size: int = 32) -> nn.Module:
    """The base as the method leaves it; `dropout` is that of LoRA."""
    base = make_base(hidden_size=hidden_size)
    if method == "full":
        return base.requires_grad_(True)
    return add_lora(base, LoraSpec(r=4, lora_dropout=dropout))


ALONE = World()


def make_store(
    folder: Path,
    report: Recorder,
    *,
    fence: int = 1,
    earlier: Sequence[Checkpoint] = (),
    keep: int = 2,
    world: World = ALONE,
) -> CheckpointStore:
    return CheckpointStore(
        str(folder / "checkpoints"),
        fence,
        folder / "scratch",
        keep=keep,
        key=KEY,
        report=report,
        earlier=earlier,
        world=world,
    )


def make_engine(
    folder: Path,
    report: Recorder,
    *,
    model: nn.Module | None = None,
    earlier: Sequence[Checkpoint] = (),
    fence: int = 1,
    refit: int = 0,
    train: list[Any] | None = None,
    validation: list[Any] | None = None,
    compute: torch.dtype = torch.float32,
    make_control: Callable[[int], Control] = lambda _: NoControl(),
    objective: Objective | None = None,
    world: World = ALONE,
    strategy: Strategy | None = None,
    **overrides: Any,
) -> tuple[Engine, nn.Module]:
    """An engine that goes on from the newest of `earlier`; `overrides` are of the job's `training` section."""
    settings = {"learning_rate": 0.02, "num_train_epochs": 3.0, "pack_length": 48, "eval_steps": 4, "seed": 5}
    model = model or make_model()
    checkpoints = make_store(folder, report, fence=fence, earlier=earlier, world=world)
    engine = Engine(
        model,
        as_samples(make_documents(40) if train is None else train),
        as_samples(make_documents(6, seed=9) if validation is None else validation),
        TrainingSpec.model_validate(settings | overrides),
        objective=objective or Sft(SftSpec()),
        compute=compute,
        report=report,
        checkpoints=checkpoints,
        make_control=make_control,
        resume_from=checkpoints.load_newest(),
        refit=refit,
        world=world,
        strategy=strategy,
    )
    return engine, model


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of what is trained."""
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters() if tensor.requires_grad}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether they are equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def read_weights(store: CheckpointStore, checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint."""
    return read_all(store.load(checkpoint.uri, checkpoint.digest).weights)


def read_all(stored: Mapping[str, Stored]) -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint, whole."""
    return {name: tensor.whole() for name, tensor in stored.items()}


class KilledError(BaseException):
    """Nothing in the engine expects it."""


class Killer(Recorder):
    """Ends the run when it reports a step: after its checkpoint if `saved`, else before."""

    def __init__(self, step: int, *, saved: bool) -> None:
        super().__init__()
        self._step, self._saved = step, saved

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        super().metrics(step, values)
        if step == self._step and ("checkpoint_stall_seconds" in values) == self._saved:
            raise KilledError


TIMED = ("tokens_per_second", "checkpoint_stall_seconds")
"""Figures of a step that no two runs have in common."""


@dataclass(frozen=True)
class Outcome:
    """What two runs must have in common to be the same training."""

    samples: list[str]
    rows: list[dict[str, float]]
    """Loss, learning rate, gradient norm and validation loss of every step."""
    best: tuple[int, float | None]
    weights: dict[str, list[float]]

    @classmethod
    def of(cls, engine: Engine, model: nn.Module) -> "Outcome":
        """Runs `engine` to the end."""
        summary = engine.run()
        return cls(
            samples=summary.samples,
            rows=[{key: value for key, value in row.items() if key not in TIMED} for row in summary.history],
            best=(summary.best_step, summary.best_validation_loss),
            weights={name: tensor.flatten().tolist() for name, tensor in weights(model).items()},
        )
