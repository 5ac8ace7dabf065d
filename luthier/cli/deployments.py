"""`luthier deployments`: models in Triton."""

from typing import Annotated

import typer

from luthier.cli.output import OutputOption, make_table, plain, print_json, print_table, stdout
from luthier.cli.session import connect

app = typer.Typer(help="Look at deployments.", no_args_is_help=True)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="Most deployments to show.")] = 50, output: OutputOption = "text"
) -> None:
    """List deployments, newest first."""
    with connect() as client:
        deployments = client.deployments.list(limit)
    if output == "json":
        print_json(plain(deployments))
    else:
        rows = [(row.id, row.name, row.state, row.model_id, row.created_time) for row in deployments]
        print_table(("id", "name", "state", "model", "created"), rows)


@app.command()
def get(
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Its id or name.")],
    output: OutputOption = "text",
) -> None:
    """Show a deployment."""
    with connect() as client:
        found = client.deployments.get(deployment)
    if output == "json":
        print_json(plain(found))
        return
    facts = (
        ("deployment", found.id),
        ("name", found.name),
        ("state", found.state),
        ("model", found.model_id),
        ("in Triton", found.triton_model),
        ("job", found.job_id),
        ("created", found.created_time),
        ("active since", found.active_time),
        ("failure", found.failure.message if found.failure else None),
    )
    stdout().print(make_table(("", ""), facts))
