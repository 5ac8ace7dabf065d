"""Steps that would do harm are skipped, and too many of them end the run, as does a loss that runs away.

A step is harmful when its loss or gradient norm is not finite, or when the norm is far above the median of those
before it. Then weights, optimizer and method stay as they were; the step counts, and its rows are named. All of it
follows from the progress of the run (state.py), so that a resumed run decides as the straight one would.
"""

import logging
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from luthier.spec import TrainingSpec
from workers.failures import DivergedError
from workers.training.samples import Sample
from workers.training.state import Progress, Skipped

_WINDOW = 64
"""Norms of which the median is taken."""
_MIN_NORMS = 16
"""Steps of which a median is taken at least: at the start norms change quickly."""
_MAX_GROWTH, _MIN_LOSS = 4.0, 0.25
"""How many times the loss of the start, or of a start so good, a loss may become."""
_MAX_ROWS = 100
"""Rows of a step that are named."""
_REMEDY = "lower training.learning_rate, raise training.warmup_ratio or lower training.max_grad_norm"
_log = logging.getLogger(__name__)


def recent_norms(history: Sequence[Mapping[str, float]]) -> list[float]:
    """Gradient norms of the last steps that were taken, newest first; empty before the first one."""
    return [row["grad_norm"] for row in islice(filter(_is_taken, reversed(history)), _WINDOW)]


def usual_norm(norms: Sequence[float]) -> float | None:
    """The median of those above zero; None: too few to tell."""
    moving = [norm for norm in norms if norm > 0]
    return statistics.median(moving) if len(moving) >= _MIN_NORMS else None


def reason_to_skip(loss: float, norm: float, usual: float | None, spec: TrainingSpec) -> str | None:
    """Why a step with this loss and gradient norm, before clipping, is to be skipped; None: it is not.

    A norm that clipping leaves as it is does no harm, however small the others were.
    """
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return f"loss {loss:.4g}, gradient norm {norm:.4g}"
    if spec.spike_factor is None or usual is None or norm <= max(spec.spike_factor * usual, spec.max_grad_norm):
        return None
    return f"loss {loss:.4g}, gradient norm {norm:.4g}, {norm / usual:.3g} times the usual {usual:.4g}"


def skip(
    progress: Progress,
    reason: str,
    samples: Sequence[Sample],
    rate: float,
    fingerprint: Mapping[str, float],
    spec: TrainingSpec,
) -> None:
    """Notes that the step after `progress.step` is skipped.

    Args:
        progress: of the run; the note is added to it.
        reason: what `reason_to_skip` said.
        samples: of the step.
        rate: its learning rate.
        fingerprint: of the trained weights, whole (`Strategy.fingerprint`).
        spec: the job's `training` section.

    Raises:
        DivergedError: it is one too many in a row, or the weights themselves are not finite.
    """
    skipped = Skipped(progress.step + 1, reason, rows_of(samples))
    progress.skipped.append(skipped)
    _log.warning("step %d is skipped: %s; rows: %s", skipped.step, reason, ", ".join(skipped.rows))
    in_a_row = _in_a_row(progress.skipped)
    if all(map(math.isfinite, fingerprint.values())) and in_a_row < spec.max_skipped_steps:
        return
    last = f"{in_a_row} steps in a row were skipped, the last one with " if in_a_row > 1 else ""
    raise DivergedError(
        f"training diverged at step {skipped.step}: {last}{reason}, learning rate {rate:.4g}; {_REMEDY}, or look at "
        f"its rows: {_listed(skipped.rows)}"
    )


def check_learned(history: Sequence[Mapping[str, float]]) -> None:
    """After the last step.

    Raises:
        DivergedError: none was taken.
    """
    if not recent_norms(history):
        raise DivergedError(f"training diverged: not one of {len(history)} steps had a gradient to go by; {_REMEDY}")


def check_loss(history: Sequence[Mapping[str, float]], last_samples: Callable[[], Sequence[Sample]]) -> None:
    """After each step: the loss has not run away, though it stays finite. Medians of 16 steps are compared.

    Args:
        history: rows of metrics of all steps.
        last_samples: those of the last one, for the message.

    Raises:
        DivergedError: it is four times that of the start.
    """
    taken = [*islice(filter(_is_taken, history), _MIN_NORMS)]
    recent = [*islice(filter(_is_taken, reversed(history)), _MIN_NORMS)]
    if len(history) < 2 * _MIN_NORMS or not taken:
        return
    start, now = (statistics.median(row["loss"] for row in rows) for rows in (taken, recent))
    if now > _MAX_GROWTH * max(start, _MIN_LOSS):
        last = history[-1]
        raise DivergedError(
            f"training diverged at step {last['step']:.0f}: the loss was {start:.4g} in the first {_MIN_NORMS} steps "
            f"and is {now:.4g} in the last ones, learning rate {last['learning_rate']:.4g}; {_REMEDY}, or look at the "
            f"rows of the last one: {_listed(rows_of(last_samples()))}"
        )


def rows_of(samples: Sequence[Sample]) -> list[str]:
    """Where they came from, the first hundred of them."""
    return [sample.origin or f"row {sample.number + 1} of its split" for sample in samples[:_MAX_ROWS]]


def _is_taken(row: Mapping[str, float]) -> bool:
    return "grad_norm" in row and "skipped_steps" not in row


def _in_a_row(skipped: Sequence[Skipped]) -> int:
    last = skipped[-1].step
    return sum(1 for back, one in enumerate(reversed(skipped)) if one.step == last - back)


def _listed(rows: Sequence[str], most: int = 8) -> str:
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return ", ".join(rows[:most]) + more
