"""One event, one line of text. A kind without a row is shown by its name and its data."""

from collections.abc import Callable, Iterator
from typing import Any

from luthier.cli.output import figures, printable
from luthier.client.types import Event

_LINES: dict[str, Callable[[Event], str]] = {
    "job_created": lambda event: (
        f"job {event.data.get('name', '')} created: {_joined(event.data.get('stage_names'))}{_warned(event)}"
    ),
    "job_started": lambda event: "job started",
    "job_succeeded": lambda event: "job succeeded",
    "job_failed": lambda event: f"job failed{_because(event)}",
    "job_cancelled": lambda event: "job cancelled",
    "job_pause_requested": lambda event: "pause requested; what runs stops at its next checkpoint",
    "job_paused": lambda event: "job paused",
    "job_resumed": lambda event: "job resumed",
    "stage_queued": lambda event: f"{event.stage} queued",
    "stage_started": lambda event: (
        f"{event.stage} started, attempt {event.attempt} on {event.data.get('worker_id', '')}"
    ),
    "stage_succeeded": lambda event: f"{event.stage} succeeded{_outputs(event)}",
    "stage_failed": lambda event: f"{event.stage} failed{_because(event)}",
    "stage_skipped": lambda event: f"{event.stage} skipped: {event.data.get('reason', '')}",
    "stage_cancelled": lambda event: f"{event.stage} cancelled",
    "stage_retried": lambda event: (
        f"{event.stage} attempt {event.attempt} ended{_because(event)}; queued again{_refitted(event)}"
    ),
    "stage_paused": lambda event: f"{event.stage} paused",
    "checkpoint_committed": lambda event: (
        f"{event.stage} checkpoint at step {event.data.get('checkpoint', {}).get('step', 0)}"
    ),
    "metrics_reported": lambda event: f"{event.stage} {_last_metrics(event)}",
    "model_registered": lambda event: f"model {event.data.get('model_id', '')} registered",
    "deployment_activated": lambda event: f"deployment {event.data.get('deployment_id', '')} is active",
    "deployment_failed": lambda event: f"deployment {event.data.get('deployment_id', '')} failed{_because(event)}",
}


def describe(event: Event) -> str:
    """What happened, in a few words."""
    line = _LINES.get(event.kind)
    text = line(event) if line else f"{event.kind} {figures(event.data)}"
    return printable(text).replace("\n", " ")


def log_lines(event: Event) -> Iterator[str]:
    """The event with its time, then the detail of its failure, indented."""
    time = event.time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if event.time else "-"
    yield f"{time}  {event.sequence:>6}  {describe(event)}"
    if event.failure is not None and event.failure.detail:
        yield from (f"    {line}" for line in printable(event.failure.detail).splitlines())


def _because(event: Event) -> str:
    return f" ({event.failure.failure_class}): {event.failure.message}" if event.failure else ""


def _refitted(event: Event) -> str:
    refit = event.data.get("refit", 0)
    return f", with forward passes of 1/{2**refit}" if refit else ""


def _joined(names: Any) -> str:
    return ", ".join(names or ())


def _warned(event: Event) -> str:
    return "".join(f"; warning: {text}" for text in event.data.get("warnings", ()))


def _outputs(event: Event) -> str:
    metrics = event.data.get("outputs", {}).get("metrics", {})
    return f": {figures(metrics)}" if metrics else ""


def _last_metrics(event: Event) -> str:
    if not event.metrics:
        return "reported no metrics"
    point = event.metrics[-1]
    return f"step {point.step}: {figures(point.values)}"
