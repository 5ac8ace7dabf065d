"""Trains by a row of the matrix as the train stage does, and reads back what that leaves as a stranger would."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from pydantic import TypeAdapter
from torch import nn
from transformers import AutoModelForCausalLM, set_seed

from luthier.spec import MethodSpec, XloraSpec
from luthier.v1.stage_pb2 import Checkpoint
from tests.unit.workers.training.methods.rows import Row
from tests.unit.workers.training.tiny_run import Outcome, Recorder, make_documents, make_engine
from workers.models.tuned import ADAPTER, MODEL, TunedModel
from workers.training.engine import Engine
from workers.training.forward import target_logits
from workers.training.methods import METHODS
from workers.training.packing import make_batch

CPU = torch.device("cpu")
STEPS = 12
TRAINING = {"gradient_accumulation_steps": 2, "max_steps": STEPS, "save_steps": 4, "eval_steps": 5}


@dataclass(frozen=True)
class Trained:
    """What a run of `STEPS` steps left."""

    model: TunedModel
    outcome: Outcome
    folder: Path
    """A train artifact."""


def section_of(row: Row) -> MethodSpec:
    """Its `method` section."""
    section: MethodSpec = TypeAdapter(MethodSpec).validate_python(row.section)
    return section


def adapt(row: Row, base: Path, compute: torch.dtype = torch.float32) -> TunedModel:
    """The base model as the method makes it trainable; the same one each time, wherever the generators stand."""
    method, section = METHODS[row.section["type"]], section_of(row)
    if isinstance(section, XloraSpec):
        beside = [str(base.parent / name) for name in section.experts]
        section = section.model_copy(update={"experts": beside})
    set_seed(5)
    return method.adapt(method.load(base, compute, CPU, section), section)


def engine_of(
    row: Row,
    model: TunedModel,
    folder: Path,
    report: Recorder,
    *,
    compute: torch.dtype = torch.float32,
    earlier: Sequence[Checkpoint] = (),
    fence: int = 1,
    training: Mapping[str, Any] = TRAINING,
    **learned: Any,
) -> Engine:
    """An engine for a model from `adapt`, which goes on from the newest of `earlier`.

    `learned` are objective and rows as `make_engine` takes them; supervised fine-tuning by default.
    """
    method, section = METHODS[row.section["type"]], section_of(row)
    engine, _ = make_engine(
        folder,
        report,
        model=model,
        compute=compute,
        earlier=earlier,
        fence=fence,
        make_control=lambda num_steps: method.control(model, section, num_steps),
        **learned,
        **{**training, "learning_rate": row.learning_rate, **row.training},
    )
    return engine


def train(row: Row, base: Path, folder: Path) -> Trained:
    """A run that nobody kills, and its artifact in `folder`."""
    model = adapt(row, base)
    outcome = Outcome.of(engine_of(row, model, folder / "run", Recorder()), model)
    artifact = folder / "artifact"
    artifact.mkdir()
    METHODS[row.section["type"]].save(model, base, artifact)
    return Trained(model, outcome, artifact)


def plain_model(base: Path, trained: Path) -> nn.Module:
    """What is in a train artifact, loaded by PEFT and transformers alone."""
    if (trained / MODEL).is_dir():
        return AutoModelForCausalLM.from_pretrained(trained / MODEL, dtype=torch.float32).eval()
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    folders = sorted((trained / ADAPTER).glob("[0-9]"))
    plain.config.use_cache = not folders
    mixed = {"adapters": {folder.name: str(folder) for folder in folders}} if folders else {}
    return PeftModel.from_pretrained(plain, str(trained / ADAPTER), **mixed).eval()


def logits_in_training(model: TunedModel) -> torch.Tensor:
    """fp32 [N, vocabulary]: what the loop's forward pass says to a few documents in one row, in their order."""
    batch = make_batch(make_documents(5))
    with torch.no_grad():
        return target_logits(model, batch, torch.float32)[batch.owners.argsort(stable=True)]


def logits_of(model: nn.Module) -> torch.Tensor:
    """The same by any model that takes `input_ids`, one document at a time."""
    rows = []
    with torch.no_grad():
        for document in make_documents(5):
            ids = torch.from_numpy(document.input_ids.astype("int64"))
            logits = model(input_ids=ids[None]).logits[0, -len(ids) :]
            rows.append(logits[:-1][torch.from_numpy(document.trainable[1:])].float())
    return torch.cat(rows)
