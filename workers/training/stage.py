"""The `train` stage: dataset and base model in; adapter or tuned model, curve and figures out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import torch
from transformers import set_seed

from luthier.spec import ClassificationSpec, DataSpec, DistillationSpec, GrpoSpec, PretrainSpec, RewardSpec, SftSpec
from luthier.spec.plan import lessons_stage
from workers.data.dataset import load_split
from workers.failures import DependencyError, PreemptedError
from workers.models import resolve_base_model, resolve_base_of
from workers.models.vocabulary import shared_vocabulary
from workers.task import Report, StageResult, Task
from workers.training.checkpoints import CheckpointStore
from workers.training.classes import Classes
from workers.training.distributed.strategies import make_strategy
from workers.training.distributed.world import World
from workers.training.engine import Engine
from workers.training.forecast import compared, forecast, peak_memory_bytes
from workers.training.grpo.stage import run as run_grpo
from workers.training.heads import put_back, put_head, save_head
from workers.training.isolation import check_attends
from workers.training.kernels.choice import Kernels, use_kernels
from workers.training.methods import METHODS
from workers.training.objectives import OBJECTIVES, Objective
from workers.training.objectives.components import ByComponent
from workers.training.objectives.distillation import Distillation
from workers.training.objectives.labels import classes_of
from workers.training.objectives.reward import CLASSES
from workers.training.objectives.sft import Sft
from workers.training.objectives.teacher import Teacher
from workers.training.pieces import Stored
from workers.training.plot import write_loss_plot
from workers.training.precision import choose_dtype, recorded_dtype
from workers.training.row_limits import check_rows
from workers.training.rows import Rows
from workers.training.samples import Sample
from workers.training.snapshot import Snapshot
from workers.training.summary import Summary
from workers.training.utilisation import flops_per_token, utilisation


def run(task: Task, report: Report) -> StageResult:
    """Fine-tunes the base model on the preprocessed dataset; resumes where an earlier attempt left off.

    See `train` and, for answers that are worth something, `workers.training.grpo.stage` for what it raises.
    """
    if isinstance(task.spec.objective, GrpoSpec):
        return run_grpo(task, report)
    return train(task, report, World())


def train(task: Task, report: Report, world: World) -> StageResult:
    """The part of one rank in `run`. The result is that of rank 0; it is empty on the others.

    Raises:
        StageError: see `Engine`, `resolve_base_model` and the methods.
        OSError, SafetensorError: no space left for a checkpoint or the output.
    """
    report.progress(0, 0, "loading the model")
    dataset = task.input_dir(lessons_stage(task.spec))
    train, validation = (Rows(load_split(dataset, name, conversations=False)) for name in ("train", "validation"))
    _leave_if_asked(report, world)
    checkpoints = CheckpointStore.of(task, report, world)
    snapshot = checkpoints.load_newest()
    device = _device(world)
    dtype = _dtype(task, snapshot, device, world)
    method = METHODS[task.spec.method.type]
    method.check(task.spec.method, task.settings)
    base = resolve_base_of(task.spec, task.settings)
    check_rows(chain(train, validation), base, task.spec.method)
    _leave_if_asked(report, world)
    cache = task.settings.model_cache_path
    section = method.locate(task.spec.method, task, base)
    located = task.spec.model_copy(update={"method": section})
    planned = forecast(located, base, train, dtype, device, num_ranks=world.size, model_cache=cache)
    set_seed(task.spec.training.seed)
    strategy = make_strategy(world, task.spec.resources.distributed)
    classes = _classes(task, train)
    load = method.load_unread if strategy.reads_weights and method.load_unread else method.load
    loaded = load(base, dtype, strategy.loads_on(device), section)
    check_attends(loaded)
    model = method.adapt(loaded, section)
    replaced = None if classes is None else put_head(model, len(classes.labels))
    kernels = use_kernels(model, task.spec, dtype, device)
    if not world.is_first:
        torch.manual_seed(task.spec.training.seed + world.rank)  # the same weights, but a dropout of its own
    _leave_if_asked(report, world)
    engine = Engine(
        model,
        train,
        validation,
        task.spec.training,
        objective=_told_by_source(_objective(task, base, kernels), task.spec.data),
        compute=dtype,
        report=report,
        checkpoints=checkpoints,
        make_control=lambda num_steps: method.control(model, section, num_steps),
        resume_from=snapshot,
        refit=task.assignment.stage.refit,
        world=world,
        strategy=strategy,
    )
    del snapshot  # of full fine-tuning it is three times the size of the model
    summary = engine.run()
    if not world.is_first:
        return StageResult()
    folder = task.new_dir("output")
    if classes is not None and replaced is not None:
        save_head(model, classes, folder)
        put_back(model, replaced)
    method.save(model, base, folder)
    mfu = utilisation(flops_per_token(model, train), summary.tokens_per_second, dtype, device, world.size)
    further = {"mfu": mfu, "kernels": kernels.to_json(), "plan": compared(planned, summary, device)}
    figures = _write_figures(folder, summary, dtype, further)
    return StageResult(folder=folder, metrics=_headline(summary, mfu, device), result=figures)


def _leave_if_asked(report: Report, world: World) -> None:
    """Before the first step of this attempt there is nothing to keep."""
    if world.any(report.should_stop()):
        raise PreemptedError("asked to stop while the model was being loaded")


def _objective(task: Task, base: Path, kernels: Kernels) -> Objective:
    objective = task.spec.objective
    if isinstance(objective, SftSpec | PretrainSpec):
        return Sft(objective, kernels.summed_loss)
    if lessons_stage(task.spec) == "teach":
        return Sft(SftSpec(), kernels.summed_loss)
    if not isinstance(objective, DistillationSpec):
        return OBJECTIVES[objective.type](objective)
    folder = resolve_base_model(objective.teacher, task.settings)
    teacher = Teacher(folder, shared_vocabulary(base, folder, objective.teacher))
    return Distillation(objective, teacher, task.work_dir)


def _told_by_source(objective: Objective, data: DataSpec) -> Objective:
    """The objective, which also tells the loss of each source where the job has several."""
    return objective if data.sources is None else ByComponent(objective)


def _classes(task: Task, train: Sequence[Sample]) -> Classes | None:
    """What a head in place of the output layer scores; None where the model keeps its output layer."""
    objective = task.spec.objective
    if isinstance(objective, RewardSpec):
        return CLASSES
    return classes_of(objective, train) if isinstance(objective, ClassificationSpec) else None


def _device(world: World) -> torch.device:
    """The accelerator of this rank, if there is any."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", world.local_rank)
    torch.cuda.set_device(device)
    return device


def _dtype(task: Task, snapshot: Snapshot[Stored] | None, device: torch.device, world: World) -> torch.dtype:
    """What all ranks compute in: the dtype of the attempts before, or what the first one finds."""
    steps = set(world.gather(snapshot.progress.step if snapshot else None))
    if len(steps) > 1:
        raise DependencyError(f"the ranks do not find the same checkpoints, but those of the steps {steps}; try again")
    if snapshot is not None:
        return recorded_dtype(snapshot.environment.compute, device)
    may_scale = not task.spec.resources.distributed.divides_state
    chosen = choose_dtype(task.spec.training.precision, device, may_scale=may_scale)
    name: str = world.first(str(chosen).removeprefix("torch."))
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _write_figures(
    folder: Path, summary: Summary, dtype: torch.dtype, further: Mapping[str, object]
) -> dict[str, object]:
    """Writes summary, metrics and curve; returns what `summary.json` says."""
    figures = {key: value for key, value in asdict(summary).items() if key not in ("history", "samples")}
    figures["precision"] = str(dtype).removeprefix("torch.")
    figures |= further
    (folder / "summary.json").write_text(json.dumps(figures, indent=1) + "\n")
    with (folder / "metrics.jsonl").open("w") as stream:
        for row, samples in zip(summary.history, summary.samples, strict=True):
            stream.write(json.dumps({**row, "samples": samples}) + "\n")
    write_loss_plot(summary.history, summary.best_step, folder / "loss.svg")
    return figures


def _headline(summary: Summary, mfu: float | None, device: torch.device) -> dict[str, float]:
    validation = {} if summary.best_validation_loss is None else {"validation_loss": summary.best_validation_loss}
    best = next((row for row in summary.history if row["step"] == summary.best_step), {})
    validation |= {name: value for name, value in best.items() if name.startswith("validation_loss/")}
    return {
        **validation,
        **({} if mfu is None else {"mfu": mfu}),
        "train_loss": summary.train_loss,
        "tokens_per_second": summary.tokens_per_second,
        "num_steps": float(summary.num_steps),
        "peak_memory_bytes": float(peak_memory_bytes(device)),
    }
