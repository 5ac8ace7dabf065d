"""The `train` stage for the objective `grpo`: prompts and a base model in; what every training leaves out."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedTokenizerBase, set_seed

from luthier.spec import GrpoSpec, TrainingSpec
from workers.data.dataset import Example, load_split
from workers.data.tokens.render import render_prompt
from workers.failures import ConfigError, DataError, DivergedError, PreemptedError
from workers.models import choose_device, load_tokenizer, resolve_base_of
from workers.task import Report, StageResult, Task
from workers.training.checkpoints import CheckpointStore
from workers.training.distributed.strategies.replicated import Replicated
from workers.training.distributed.world import World
from workers.training.environment import current_environment
from workers.training.forecast import compared, forecast, peak_memory_bytes
from workers.training.grpo.plot import write_reward_plot
from workers.training.grpo.rewards import make_rewards
from workers.training.grpo.rounds import Rounds
from workers.training.grpo.version import PINNED, check_trl
from workers.training.grpo.watch import Watch
from workers.training.methods import METHODS
from workers.training.optimizers import make_optimizer, trainable_parameters
from workers.training.pieces import Stored
from workers.training.precision import choose_dtype, recorded_dtype
from workers.training.rows import Rows
from workers.training.samples import Sample
from workers.training.schedule import check_schedule
from workers.training.skipping import check_learned, rows_of
from workers.training.snapshot import Snapshot
from workers.training.state import Progress

_NO_PROBABILITIES = "probability tensor contains"
"""What torch.multinomial says of logits that are not finite."""


def run(task: Task, report: Report) -> StageResult:
    """Trains by the rewards of the model's own answers; resumes where an earlier attempt left off.

    Raises:
        ConfigError: TRL is not there, a reward is not allowed or fails, an answer has no room, or nothing is learned.
        DataError: nothing to ask, or a reward that is not finite.
        DivergedError: too many steps in a row would have done harm.
        PreemptedError: the worker drains; a checkpoint was committed.
        OSError, SafetensorError: no space left for a checkpoint or the output.
    """
    check_trl()
    from workers.training.grpo.trainer import drop_reference, make_trainer  # here, because it imports TRL

    objective, training, section = task.spec.objective, task.spec.training, task.spec.method
    assert isinstance(objective, GrpoSpec)
    rewards = make_rewards(objective.rewards, task.settings)
    report.progress(0, 0, "loading the model")
    rows = load_split(task.input_dir("preprocess"), "train")
    base = resolve_base_of(task.spec, task.settings)
    tokenizer = load_tokenizer(base)
    check_room(rows, tokenizer, base, objective)
    rounds = Rounds.of(objective, training, len(rows))
    check_schedule(rounds.num_steps, training)
    if report.should_stop():
        raise PreemptedError("asked to stop before the model was loaded")
    with CheckpointStore.of(task, report) as checkpoints:
        snapshot = checkpoints.load_newest()
        device = choose_device()
        compute = _dtype(training, snapshot, device)
        texts = Rows(load_split(task.input_dir("preprocess"), "train", conversations=False))
        planned = forecast(task.spec, base, texts, compute, device)
        set_seed(training.seed)
        method = METHODS[section.type]
        plain = method.load(base, compute, device, section)
        plain.set_attn_implementation("sdpa")  # answers are padded, not end to end
        model = method.adapt(plain, section)
        parameters = trainable_parameters(model)
        ratios = method.control(model, section, rounds.num_steps).rate_ratios
        optimizer = make_optimizer(parameters, training, ratios)
        strategy = Replicated(World())
        strategy.attach(model, parameters, optimizer, training.max_grad_norm)
        progress = Progress() if snapshot is None else snapshot.progress
        first_step = progress.step

        def save() -> None:
            reached = Snapshot(
                progress=progress.detached(),
                weights=strategy.weights(),
                optimizer=strategy.optimizer_tensors(),
                rng={},
                environment=current_environment(compute, device),
            )
            checkpoints.save(reached, rounds.position(progress.step))

        trainer = make_trainer(
            model,
            tokenizer,
            rows,
            rewards,
            optimizer,
            Watch(
                parameters,
                progress,
                rounds,
                texts,
                report,
                save,
                strategy=strategy,
                objective=objective,
                training=training,
            ),
            objective=objective,
            training=training,
            rounds=rounds,
            first_step=first_step,
            compute=compute,
            refit=task.assignment.stage.refit,
            folder=task.new_dir("trl"),
        )
        if snapshot is not None:
            strategy.load_weights(snapshot.weights)
            strategy.load_optimizer_tensors(snapshot.optimizer)
        if first_step < rounds.num_steps:
            with samples_well(progress, rounds, texts):
                trainer.train()
        check_learned(progress.history)
        drop_reference(model)
    folder = task.new_dir("output")
    method.save(model, base, folder)
    further = {"resumed_from_step": first_step or None, "plan": compared(planned, progress, device)}
    figures = _write_figures(folder, progress, parameters, compute, further)
    return StageResult(folder=folder, metrics=_headline(figures, device), result=figures)


def _dtype(training: TrainingSpec, snapshot: Snapshot[Stored] | None, device: torch.device) -> torch.dtype:
    """What the attempts before computed in, or what the first one finds; TRL's loop has no scaled loss for fp16."""
    if snapshot is None:
        return choose_dtype(training.precision, device, may_scale=False)
    return recorded_dtype(snapshot.environment.compute, device)


@contextmanager
def samples_well(progress: Progress, rounds: Rounds, texts: Sequence[Sample]) -> Iterator[None]:
    """Around all steps, which `progress` counts; `texts` are the training split.

    Raises:
        DivergedError: no answer could be sampled.
    """
    try:
        yield
    except RuntimeError as error:
        if _NO_PROBABILITIES not in str(error):
            raise
        asked = ", ".join(rows_of([texts[row] for row in rounds.asked(progress.step)]))
        raise DivergedError(
            f"training diverged at step {progress.step + 1}: the model finds no token likely any more; lower "
            f"training.learning_rate, raise training.warmup_ratio or objective.beta, or look at its rows: {asked}"
        ) from error


def check_room(rows: Sequence[Example], tokenizer: PreTrainedTokenizerBase, base: Path, objective: GrpoSpec) -> None:
    """
    Raises:
        DataError: there are no rows, or one has no prompt.
        ConfigError: the longest prompt and the longest answer are more than the model can read.
    """
    if not rows:
        raise DataError("the training split is empty: there is nothing to ask")
    for row in rows:
        if not row.prompt:
            raise DataError(f"{row.source}:{row.row} has no prompt to answer; give rows with prompt and answer")
        if row.tools or any("tool_calls" in message for message in row.prompt):
            raise DataError(
                f"{row.source}:{row.row} offers or calls tools, and the loop of objective.type grpo runs none; give "
                "rows without tools"
            )
    longest = max(len(render_prompt(tokenizer, row.prompt)) for row in rows)
    context = getattr(AutoConfig.from_pretrained(base, local_files_only=True), "max_position_embeddings", None)
    if context is not None and longest + objective.max_completion_length > context:
        raise ConfigError(
            f"objective.max_completion_length ({objective.max_completion_length}) and the longest prompt ({longest} "
            f"tokens) are more than the {context} tokens that base_model can read; lower it, or data.max_length"
        )


def _write_figures(
    folder: Path,
    progress: Progress,
    parameters: Mapping[str, nn.Parameter],
    compute: torch.dtype,
    further: Mapping[str, Any],
) -> dict[str, Any]:
    """Writes summary, metrics and curve; returns what `summary.json` says."""
    rewards = [row["reward"] for row in progress.history if "reward" in row]
    tenth = max(1, len(rewards) // 10)
    losses = [row["loss"] for row in progress.history if "skipped_steps" not in row]
    losses = losses[-max(1, len(losses) // 10) :]
    figures: dict[str, Any] = {
        "num_steps": progress.step,
        "first_reward": math.fsum(rewards[:tenth]) / tenth,
        "last_reward": math.fsum(rewards[-tenth:]) / tenth,
        "train_loss": math.fsum(losses) / len(losses),
        "num_trainable_parameters": sum(parameter.numel() for parameter in parameters.values()),
        "num_trained_tokens": progress.num_trained_tokens,
        "tokens_per_second": progress.tokens_per_second,
        "precision": str(compute).removeprefix("torch."),
        "skipped": [asdict(one) for one in progress.skipped],
        "trl": PINNED,
        **further,
    }
    (folder / "summary.json").write_text(json.dumps(figures, indent=1) + "\n")
    with (folder / "metrics.jsonl").open("w") as stream:
        for row, samples in zip(progress.history, progress.samples, strict=True):
            stream.write(json.dumps({**row, "samples": samples}) + "\n")
    write_reward_plot(progress.history, folder / "reward.svg")
    return figures


def _headline(figures: Mapping[str, Any], device: torch.device) -> dict[str, float]:
    names = ("last_reward", "train_loss", "tokens_per_second", "num_steps")
    return {name: float(figures[name]) for name in names} | {"peak_memory_bytes": float(peak_memory_bytes(device))}
