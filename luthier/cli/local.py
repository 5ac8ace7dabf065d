"""`luthier up`, `down` and `status`: the local stack from a terminal.

What they need is in the extra `luthier[local]`, so it is imported when a command runs, not before.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from luthier.cli.output import Output, OutputOption, cell, make_table, print_json, stderr, stdout
from luthier.errors import UnavailableError
from luthier.settings import LocalSettings

if TYPE_CHECKING:
    from luthier.local.state import StackRecord

_STYLES = {"running": "green", "stopped": "dim", "failed": "red", "unavailable": "yellow", "restarting": "yellow"}


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Leave it running and return.")] = False,
    output: OutputOption = "text",
) -> None:
    """Start the local stack and wait until every part of it answers."""
    start(detach=detach, output=output)


def down(output: OutputOption = "text") -> None:
    """Stop the local stack. What it stored stays, for the next `up`."""
    with local_extra():
        from luthier.local import control
        from luthier.local.home import Home

    stopped = control.down(Home(LocalSettings().home_dir))
    if output == "json":
        print_json({"stopped": stopped})
    else:
        typer.echo(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


def status(output: OutputOption = "text") -> None:
    """Show what runs, where it answers, and how often it had to be started again."""
    with local_extra():
        from luthier.local import control
        from luthier.local.home import Home

    document = control.status(Home(LocalSettings().home_dir))
    if output == "json":
        print_json(document)
        return
    console = stdout()
    console.print(_state(document["state"]), document["home"], soft_wrap=True)
    if document["error"]:
        console.print(document["error"], markup=False, soft_wrap=True, style="red")
    rows = [
        (row["name"], _state(row["state"]), row["pid"], row["restarts"], row["reason"]) for row in document["processes"]
    ]
    if rows:
        console.print(make_table(("process", "state", "pid", "restarts", "reason"), rows))
    _print_endpoints(document["endpoints"])


def start(*, detach: bool, output: Output | None) -> None:
    """Brings the stack up, or finds it running, and prints its endpoints unless `output` is None.

    Raises:
        LuthierError: it does not come up.
    """
    with local_extra():
        from luthier.local import control
        from luthier.local.home import Home
        from luthier.local.launcher import Launcher
        from luthier.local.state import StackState, read_state

    settings = LocalSettings()
    home = Home(settings.home_dir)
    announcer = Announcer()

    def watch(record: "StackRecord") -> None:
        announcer.announce(record)
        if record.state is StackState.RUNNING and announcer.is_new("the result"):
            _print_result(control.status(home), output)
            if not detach:
                announcer.say("everything runs; Ctrl-C stops it")

    running = read_state(home)
    if running.is_alive() and running.state is StackState.RUNNING:
        announcer.say(f"already running in {home.path}")
        _print_result(control.status(home), output)
    elif detach:
        control.up_detached(home, watch)
    else:
        asyncio.run(Launcher(home, settings, watch).run())


@contextmanager
def local_extra() -> Iterator[None]:
    """Turns a missing package of the local extra into the advice to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"{error.name} is not installed; the local stack needs it: pip install 'luthier[local]'"
        ) from error


class Announcer:
    """Says on stderr, once, whatever happens to a process."""

    def __init__(self) -> None:
        self._console = stderr()
        self._said: set[str] = set()

    def announce(self, record: "StackRecord") -> None:
        """Takes in the state of the stack."""
        for message in record.messages:
            if self.is_new(message):
                self.say(message)
        for row in record.processes:
            restarts = f" (restart {row.restarts})" if row.restarts else ""
            reason = f": {row.reason}" if row.reason else ""
            text = f"{row.name} {row.state}{restarts}{reason}"
            if row.state != "waiting" and self.is_new(text):
                self.say(text)

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False, soft_wrap=True)

    def is_new(self, text: str) -> bool:
        """Whether nobody asked for `text` before."""
        new = text not in self._said
        self._said.add(text)
        return new


def _print_result(document: dict[str, Any], output: Output | None) -> None:
    if output == "json":
        print_json(document)
    elif output == "text":
        _print_endpoints(document["endpoints"])


def _print_endpoints(endpoints: Mapping[str, str]) -> None:
    for name, address in endpoints.items():
        if address:
            typer.echo(f"{name:12} {address}")


def _state(name: str) -> Text:
    text = cell(name)
    text.stylize(_STYLES.get(name, ""))
    return text
