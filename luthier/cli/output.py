"""How commands print: tables for people, JSON for programs, and nothing that could steer a terminal."""

import base64
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from luthier.client.types import Job

Output = Literal["text", "json"]
OutputOption = Annotated[Output, typer.Option("-o", "--output", help="How to print the result.")]

STATE_STYLES = {
    "PENDING": "dim",
    "QUEUED": "cyan",
    "RUNNING": "yellow",
    "PAUSED": "blue",
    "SUCCEEDED": "green",
    "ACTIVE": "green",
    "READY": "green",
    "DRAINING": "yellow",
    "LOST": "red",
    "QUARANTINED": "magenta",
    "FAILED": "red",
    "CANCELLED": "magenta",
    "SKIPPED": "dim",
}
_PIPE_WIDTH = 240
_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def stdout() -> Console:
    """Where results go."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)


def stderr() -> Console:
    """Where progress and errors go."""
    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _PIPE_WIDTH)


def warn(text: str) -> None:
    """One warning on stderr."""
    stderr().print(f"warning: {text}", markup=False, soft_wrap=True, style="yellow")


def printable(text: str) -> str:
    """`text` without control characters: what a model or a log says must not move the cursor."""
    return text.translate(_CONTROLS)


def plain(value: Any) -> Any:
    """JSON values of anything that the SDK returns: times as ISO 8601 in UTC, durations in seconds, bytes in base64."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


def job_document(job: Job) -> dict[str, Any]:
    """A job as `-o json` shows it; `deployment` is the id that `luthier chat` takes."""
    document: dict[str, Any] = plain(job)
    document["deployment"] = document.pop("deployment_id")
    return document


def print_json(document: Any) -> None:
    """One document on stdout."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_json_line(document: Any) -> None:
    """One document of a stream, on one line of stdout, at once."""
    typer.echo(json.dumps(document, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on stdout; cells that name a state are coloured."""
    stdout().print(make_table(headers, rows))


def make_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table without borders; None is an empty cell."""
    table = Table(*headers, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    return table


def cell(value: Any) -> Text:
    """One value as a person reads it."""
    if value is None:
        return Text("")
    if isinstance(value, datetime):
        return Text(value.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    if isinstance(value, timedelta):
        return Text(duration(value))
    if isinstance(value, float):
        return Text(f"{value:.4g}")
    text = printable(str(value))
    return Text(text, style=STATE_STYLES.get(text, ""))


def duration(value: timedelta) -> str:
    """`3.4 s`, `2 m 05 s` or `1 h 02 m`."""
    seconds = max(0.0, value.total_seconds())
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} m"


def figures(values: Mapping[str, Any]) -> str:
    """`loss 0.51  step 3`: names and values on one line, by name."""
    return "  ".join(f"{name} {cell(value).plain}" for name, value in sorted(values.items()))
