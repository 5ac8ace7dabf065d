"""`luthier workers`: the processes that run stages."""

from typing import Annotated

import typer

from luthier.cli.output import OutputOption, plain, print_json, print_table
from luthier.cli.session import connect

app = typer.Typer(help="Look after the workers of the installation.", no_args_is_help=True)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="Most workers to show.")] = 50, output: OutputOption = "text"
) -> None:
    """List workers; those heard of last come first."""
    with connect() as client:
        workers = client.workers.list(limit)
    if output == "json":
        print_json(plain(workers))
        return
    headers = ("id", "host", "classes", "state", "heard of", "failures in a row", "quarantined until")
    rows = (
        (
            worker.id,
            worker.display_name,
            ", ".join(worker.worker_classes),
            worker.state,
            worker.heartbeat_time,
            worker.num_failures_in_row,
            worker.quarantined_until,
        )
        for worker in workers
    )
    print_table(headers, rows)


@app.command()
def release(
    worker_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the worker.")], output: OutputOption = "text"
) -> None:
    """End the quarantine of a worker, after you mended it."""
    with connect() as client:
        worker = client.workers.release(worker_id)
    if output == "json":
        print_json(plain(worker))
    else:
        typer.echo(f"{worker.id} {worker.state}")
