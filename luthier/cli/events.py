"""`luthier events`: the project's log."""

from typing import Annotated

import typer

from luthier.cli.jobs import print_event
from luthier.cli.output import OutputOption
from luthier.cli.session import connect


def events(
    job: Annotated[str | None, typer.Option("--job", metavar="ID", help="Only events of this job.")] = None,
    since: Annotated[
        int, typer.Option("--since", metavar="SEQ", min=0, help="Only events after this sequence number.")
    ] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones as they happen.")] = False,
    output: OutputOption = "text",
) -> None:
    """Print events, oldest first. JSON: one a line."""
    with connect() as client:
        for event in client.events(after=since, job=job, follow=follow):
            print_event(event, output)
