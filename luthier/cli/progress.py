"""A job while it runs: a live table in a terminal, plain lines when piped. Takes what `Client.watch` yields."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType, RenderResult
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
_WIDE_COLUMNS = 105


@dataclass(frozen=True)
class _Column:
    name: str
    justify: JustifyMethod = "right"
    only_wide: bool = False
    """Left out of a narrow terminal."""


_COLUMNS = (
    _Column("stage", "left"),
    _Column("state", "left"),
    _Column("try"),
    _Column("progress", "left"),
    _Column("step"),
    _Column("loss"),
    _Column("val. loss", only_wide=True),
    _Column("ETA"),
    _Column("time"),
    _Column("doing", "left", only_wide=True),
)
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

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.job is None:
            yield Text("waiting for the job ...")
            return
        head = Text.assemble((printable(self.job.name), "bold"), f"  {self.job.id}  ", cell(self.job.state))
        elapsed = _elapsed(self.job.created_time, self.job.finished_time)
        if elapsed is not None:
            head.append(f"  {duration(elapsed)}")
        yield head
        if self.job.state == "PAUSED":
            yield Text(f"paused; go on with: luthier jobs resume {self.job.id}")
        yield self._table(self.job, is_wide=options.max_width >= _WIDE_COLUMNS)
        for line in self._events:
            yield Text(line, style="dim", overflow="ellipsis", no_wrap=True)

    def _table(self, job: Job, *, is_wide: bool) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in _COLUMNS:
            if is_wide or not column.only_wide:
                table.add_column(column.name, justify=column.justify, no_wrap=True, overflow="ellipsis")
        for stage in job.stages:
            cells = self._cells(stage, bar_width=24 if is_wide else 12)
            table.add_row(*(cells[column.name] for column in _COLUMNS if is_wide or not column.only_wide))
        return table

    def _cells(self, stage: Stage, bar_width: int) -> dict[str, RenderableType]:
        """One cell for every column."""
        progress = stage.progress if stage.state == "RUNNING" else None
        loss, validation_loss = self._losses.get(stage.name, (None, None))
        return {
            "stage": cell(stage.name),
            "state": cell(stage.state),
            "try": cell(stage.attempt or None),
            "progress": _bar(stage, bar_width),
            "step": cell(f"{progress.step}/{progress.num_steps}" if progress and progress.num_steps else None),
            "loss": cell(loss),
            "val. loss": cell(validation_loss),
            "ETA": cell(progress.eta if progress else None),
            "time": cell(_elapsed(stage.started_time, stage.finished_time)),
            "doing": cell(_doing(stage).replace("\n", " ")),
        }

    def _progress_line(self, stage: Stage) -> str:
        progress = stage.progress
        if stage.state != "RUNNING" or progress is None or not (progress.message or progress.num_steps):
            return ""
        parts = [stage.name, printable(progress.message).replace("\n", " ")]
        if progress.num_steps:
            parts.append(f"step {progress.step}/{progress.num_steps}")
        if progress.eta is not None:
            parts.append(f"ETA {duration(progress.eta)}")
        return "  ".join(part for part in parts if part)


def _doing(stage: Stage) -> str:
    if stage.state == "RUNNING" and stage.pause_requested:
        return "stops at its next checkpoint"
    if stage.state == "RUNNING" and stage.progress is not None:
        return stage.progress.message
    return (stage.failure.message if stage.failure else stage.gate_reason) or ""


def _bar(stage: Stage, width: int) -> RenderableType:
    if stage.state == "SUCCEEDED":
        return ProgressBar(total=1, completed=1, width=width)
    if stage.state != "RUNNING":
        return Text(" " * width)
    progress = stage.progress
    if progress is None or not progress.num_steps:
        return ProgressBar(pulse=True, width=width)
    return ProgressBar(total=progress.num_steps, completed=progress.step, width=width)


def _elapsed(start: datetime | None, end: datetime | None) -> timedelta | None:
    return None if start is None else (end or datetime.now(UTC)) - start


def _clock(event: Event) -> str:
    return event.time.astimezone().strftime("%H:%M:%S") if event.time else "--:--:--"
