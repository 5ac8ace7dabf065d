"""What comes out of a run, besides the weights."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from workers.training.state import Progress, Skipped


@dataclass(frozen=True)
class Summary:
    """What came out of a run; the model then carries the best weights."""

    num_steps: int
    """Optimizer steps done, over all attempts."""
    best_step: int
    best_validation_loss: float | None
    """Mean nats per target; None without validation rows."""
    train_loss: float
    """Mean nats per target over the last tenth of the steps."""
    num_trainable_parameters: int
    num_trained_tokens: int
    tokens_per_second: float
    """Tokens of real text, prompts included, per second spent in optimizer steps."""
    resumed_from_step: int | None
    stopped_early: bool
    skipped: list[Skipped]
    """Steps that were left out because they would have done harm."""
    history: list[dict[str, float]]
    """One row of metrics per step."""
    samples: list[str]
    """One digest per step, of the documents that it learned from, in their order: equal runs have equal ones."""


def summarise(
    progress: Progress, parameters: Mapping[str, nn.Parameter], *, resumed_from_step: int | None, stopped_early: bool
) -> Summary:
    """The summary of a run that is over."""
    losses = [row["loss"] for row in progress.history if "skipped_steps" not in row]
    last_tenth = losses[-max(1, len(losses) // 10) :]
    return Summary(
        num_steps=progress.step,
        best_step=progress.best.step if progress.best else progress.step,
        best_validation_loss=progress.best.validation_loss if progress.best else None,
        train_loss=sum(last_tenth) / len(last_tenth),
        num_trainable_parameters=sum(parameter.numel() for parameter in parameters.values()),
        num_trained_tokens=progress.num_trained_tokens,
        tokens_per_second=progress.tokens_per_second,
        resumed_from_step=resumed_from_step,
        stopped_early=stopped_early,
        skipped=progress.skipped,
        history=progress.history,
        samples=progress.samples,
    )
