"""`luthier dead-letters`: what could not be handled, and trying it once more."""

from typing import Annotated

import typer

from luthier.cli.output import OutputOption, plain, print_json, print_table
from luthier.cli.session import connect

app = typer.Typer(help="Look at what could not be handled, and retry it.", no_args_is_help=True)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="Most dead letters to show.")] = 50,
    retried: Annotated[bool, typer.Option("--retried", help="Those that were retried as well.")] = False,
    output: OutputOption = "text",
) -> None:
    """List dead letters, newest first; the payload is in `-o json`, as base64."""
    with connect() as client:
        letters = client.dead_letters.list(limit, retried)
    if output == "json":
        print_json(plain(letters))
        return
    headers = ("id", "from", "job", "created", "retried", "reason")
    rows = (
        (letter.id, letter.source, letter.job_id, letter.created_time, letter.retried_time, letter.reason)
        for letter in letters
    )
    print_table(headers, rows)


@app.command()
def retry(
    dead_letter_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the dead letter.")],
    output: OutputOption = "text",
) -> None:
    """Have a dead letter handled again, after you mended the cause."""
    with connect() as client:
        letter = client.dead_letters.retry(dead_letter_id)
    if output == "json":
        print_json(plain(letter))
    else:
        typer.echo(f"{letter.id} is handled again")
