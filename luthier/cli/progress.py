"""A job while it runs: a live table in a terminal, plain lines when piped. Takes what `Client.watch` yields."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from luthier.cli.lines import describe
from luthier.cli.output import cell, duration, printable
from luthier.client.types import Event, Job, Stage

LINE_INTERVAL_SECONDS = 5.0
"""Least time between two lines about the progress of a stage, when piped."""
_NUM_EVENTS = 6
# Too many to be news; their figures are in the table.
_FREQUENT = frozenset({"metrics_reported"})


def show(updates: Iterable[Job | Event], console: Console) -> Job | None:
    """Follows a job to its end on `console`; its last snapshot, or None when there was none."""
    view = JobView()
    if not console.is_terminal:
        for line in view.lines(updates):
            console.print(line, markup=False, soft_wrap=True)
        return view.job
    with Live(view, console=console, refresh_per_second=4):
        for update in updates:
            view.add(update)
    return view.job


class JobView:
    """The latest that is known of one job; renders itself with the time of the moment."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self._events: deque[str] = deque(maxlen=_NUM_EVENTS)
        self._losses: dict[str, tuple[float | None, float | None]] = {}

    def add(self, update: Job | Event) -> None:
        """Takes in a snapshot or an event."""
        if isinstance(update, Job):
            self.job = update
            return
        for point in update.metrics:
            loss, validation_loss = self._losses.get(point.stage, (None, None))
            values = point.values
            self._losses[point.stage] = values.get("loss", loss), values.get("validation_loss", validation_loss)
        if update.kind not in _FREQUENT:
            self._events.append(f"{_clock(update)}  {describe(update)}")

    def lines(self, updates: Iterable[Job | Event]) -> Iterator[str]:
        """One line per event, and one about each running stage every few seconds."""
        said: dict[str, tuple[float, str]] = {}
        for update in updates:
            self.add(update)
            if isinstance(update, Event):
                if update.kind not in _FREQUENT:
                    yield f"{_clock(update)}  {describe(update)}"
                continue
            for stage in update.stages:
                line = self._progress_line(stage)
                last_time, last_line = said.get(stage.name, (0.0, ""))
                now = time.monotonic()
                if line and line != last_line and now - last_time >= LINE_INTERVAL_SECONDS:
                    said[stage.name] = now, line
                    yield f"{datetime.now().astimezone():%H:%M:%S}  {line}"

    def __rich__(self) -> RenderableType:
        if self.job is None:
            return Text("waiting for the job ...")
        head = Text.assemble((printable(self.job.name), "bold"), f"  {self.job.id}  ", cell(self.job.state))
        elapsed = _elapsed(self.job.created_time, self.job.finished_time)
        if elapsed is not None:
            head.append(f"  {duration(elapsed)}")
        events = [Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in self._events]
        return Group(head, self._table(self.job), *events)

    def _table(self, job: Job) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", expand=False)
        for name in ("stage", "state"):
            table.add_column(name, no_wrap=True)
        table.add_column("try", justify="right")
        table.add_column("progress", width=24)
        for name in ("step", "loss", "val. loss", "ETA", "time"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("doing", overflow="ellipsis", no_wrap=True, max_width=40)
        for stage in job.stages:
            table.add_row(*self._row(stage))
        return table

    def _row(self, stage: Stage) -> list[RenderableType]:
        progress = stage.progress
        is_running = stage.state == "RUNNING"
        loss, validation_loss = self._losses.get(stage.name, (None, None))
        step = f"{progress.step}/{progress.num_steps}" if progress and progress.num_steps else ""
        doing = stage.failure.message if stage.failure else stage.gate_reason
        if is_running and progress:
            doing = progress.message
        return [
            cell(stage.name),
            cell(stage.state),
            cell(stage.attempt or None),
            _bar(stage),
            cell(step),
            cell(loss),
            cell(validation_loss),
            cell(progress.eta if is_running and progress else None),
            cell(_elapsed(stage.started_time, stage.finished_time)),
            cell((doing or "").replace("\n", " ")),
        ]

    def _progress_line(self, stage: Stage) -> str:
        progress = stage.progress
        if stage.state != "RUNNING" or progress is None:
            return ""
        parts = [stage.name, printable(progress.message).replace("\n", " ")]
        if progress.num_steps:
            parts.append(f"step {progress.step}/{progress.num_steps}")
        if progress.eta is not None:
            parts.append(f"ETA {duration(progress.eta)}")
        return "  ".join(part for part in parts if part)


def _bar(stage: Stage) -> RenderableType:
    if stage.state == "SUCCEEDED":
        return ProgressBar(total=1, completed=1, width=24)
    progress = stage.progress
    if stage.state != "RUNNING":
        return Text("")
    if progress is None or not progress.num_steps:
        return ProgressBar(pulse=True, width=24)
    return ProgressBar(total=progress.num_steps, completed=progress.step, width=24)


def _elapsed(start: datetime | None, end: datetime | None) -> timedelta | None:
    return None if start is None else (end or datetime.now(UTC)) - start


def _clock(event: Event) -> str:
    return event.time.astimezone().strftime("%H:%M:%S") if event.time else "--:--:--"
