"""The `train` stage: dataset and base model in; adapter or tuned model, curve and figures out."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import set_seed

from luthier.artifacts import join
from workers.data.dataset import Example, load_split
from workers.failures import PreemptedError
from workers.models import resolve_base_model
from workers.task import Report, StageResult, Task
from workers.training.checkpoints import CheckpointStore
from workers.training.engine import Engine
from workers.training.methods import METHODS
from workers.training.objectives import OBJECTIVES
from workers.training.plot import write_loss_plot
from workers.training.precision import choose_dtype, recorded_dtype
from workers.training.samples import Sample
from workers.training.summary import Summary


def run(task: Task, report: Report) -> StageResult:
    """Fine-tunes the base model on the preprocessed dataset; resumes where an earlier attempt left off.

    Raises:
        StageError: see `Engine`, `resolve_base_model` and the methods.
        OSError, SafetensorError: no space left for a checkpoint or the output.
    """
    report.progress(0, 0, "loading the model")
    dataset = task.input_dir("preprocess")
    train, validation = (_samples(load_split(dataset, name)) for name in ("train", "validation"))
    _leave_if_asked(report)
    checkpoints = _checkpoints(task, report)
    snapshot = checkpoints.load_newest()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if snapshot is None:
        dtype = choose_dtype(task.spec.training.precision, device)
    else:
        dtype = recorded_dtype(snapshot.environment.compute, device)
    method = METHODS[task.spec.method.type]
    base = resolve_base_model(task.spec.base_model, task.settings)
    _leave_if_asked(report)
    set_seed(task.spec.training.seed)
    section = task.spec.method
    model = method.adapt(method.load(base, dtype, device, section), section)
    _leave_if_asked(report)
    engine = Engine(
        model,
        train,
        validation,
        task.spec.training,
        objective=OBJECTIVES[task.spec.objective.type](task.spec.objective),
        compute=dtype,
        report=report,
        checkpoints=checkpoints,
        make_control=lambda num_steps: method.control(model, section, num_steps),
        resume_from=snapshot,
        refit=task.assignment.stage.refit,
    )
    del snapshot  # of full fine-tuning it is three times the size of the model
    summary = engine.run()
    folder = task.new_dir("output")
    method.save(model, base, folder)
    figures = _write_figures(folder, summary, dtype)
    return StageResult(folder=folder, metrics=_headline(summary), result=figures)


def _leave_if_asked(report: Report) -> None:
    """Before the first step of this attempt there is nothing to keep."""
    if report.should_stop():
        raise PreemptedError("asked to stop while the model was being loaded")


def _samples(rows: Sequence[Example]) -> list[Sample]:
    return [Sample(number, (row,), row.weights) for number, row in enumerate(rows)]


def _checkpoints(task: Task, report: Report) -> CheckpointStore:
    return CheckpointStore(
        join(task.output_uri, "checkpoints"),
        task.assignment.stage.fence,
        task.work_dir / "checkpoints",
        keep=task.spec.training.save_total_limit,
        key=task.settings.checkpoint_key.get_secret_value().encode(),
        report=report,
        earlier=task.checkpoints,
    )


def _write_figures(folder: Path, summary: Summary, dtype: torch.dtype) -> dict[str, object]:
    """Writes summary, metrics and curve; returns what `summary.json` says."""
    figures = {key: value for key, value in asdict(summary).items() if key not in ("history", "samples")}
    figures["precision"] = str(dtype).removeprefix("torch.")
    (folder / "summary.json").write_text(json.dumps(figures, indent=1) + "\n")
    with (folder / "metrics.jsonl").open("w") as stream:
        for row, samples in zip(summary.history, summary.samples, strict=True):
            stream.write(json.dumps({**row, "samples": samples}) + "\n")
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
