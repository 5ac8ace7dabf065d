"""The `train` stage: dataset and base model in; adapter, curve and figures out."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from peft import PeftModel
from transformers import set_seed

from luthier.artifacts import join
from workers.data.dataset import load_split
from workers.models.load import load_model
from workers.models.resolve import resolve_base_model
from workers.task import Report, StageResult, Task
from workers.training.attention import register
from workers.training.checkpoints import CheckpointStore
from workers.training.engine import Engine, Summary
from workers.training.methods import METHODS
from workers.training.plot import write_loss_plot
from workers.training.precision import choose_dtype


def run(task: Task, report: Report) -> StageResult:
    """Fine-tunes the base model on the preprocessed dataset; resumes where an earlier attempt left off.

    Raises:
        StageError: see `Engine`, `resolve_base_model` and the methods.
        OSError, SafetensorError: no space left for a checkpoint or the output.
    """
    spec = task.spec
    report.progress(0, 0, "loading the model")
    dataset = task.input_dir("preprocess")
    train, validation = load_split(dataset, "train"), load_split(dataset, "validation")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = choose_dtype(spec.training.precision, device)
    set_seed(spec.training.seed)
    model = _prepare_model(task, dtype, device)
    engine = Engine(
        model, train, validation, spec.training, compute=dtype, report=report, checkpoints=_checkpoints(task)
    )
    summary = engine.run()
    folder = task.new_dir("output")
    figures = _write_outputs(folder, model, summary, dtype)
    return StageResult(folder=folder, metrics=_headline(summary), result=figures)


def _prepare_model(task: Task, dtype: torch.dtype, device: torch.device) -> PeftModel:
    base = load_model(resolve_base_model(task.spec.base_model, task.settings), dtype)
    base.to(device)  # type: ignore[arg-type]  # the wrapper of transformers hides the signature
    base.set_attn_implementation(register())
    return METHODS[task.spec.method.type](base, task.spec.method)


def _checkpoints(task: Task) -> CheckpointStore:
    return CheckpointStore(
        join(task.output_uri, "checkpoints"),
        task.assignment.stage.fence,
        task.work_dir / "checkpoints",
        keep=task.spec.training.save_total_limit,
        key=task.settings.checkpoint_key.get_secret_value().encode(),
        earlier=task.checkpoints,
    )


def _write_outputs(folder: Path, model: PeftModel, summary: Summary, dtype: torch.dtype) -> dict[str, object]:
    """Writes the artifact's files; returns what `summary.json` says."""
    model.save_pretrained(str(folder / "adapter"), safe_serialization=True)
    figures = {key: value for key, value in asdict(summary).items() if key != "history"}
    figures["precision"] = str(dtype).removeprefix("torch.")
    (folder / "summary.json").write_text(json.dumps(figures, indent=1) + "\n")
    with (folder / "metrics.jsonl").open("w") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in summary.history)
    write_loss_plot(summary.history, summary.best_step, folder / "loss.svg")
    return figures


def _headline(summary: Summary) -> dict[str, float]:
    validation = {} if summary.best_validation_loss is None else {"validation_loss": summary.best_validation_loss}
    return {
        **validation,
        "train_loss": summary.train_loss,
        "tokens_per_second": summary.tokens_per_second,
        "num_steps": float(summary.num_steps),
    }
