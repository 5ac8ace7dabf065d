"""`luthier models`: exported models."""

from typing import Annotated

import typer

from luthier.cli.output import OutputOption, make_table, plain, print_json, print_table, stdout
from luthier.cli.session import connect

app = typer.Typer(help="Look at exported models.", no_args_is_help=True)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="Most models to show.")] = 50, output: OutputOption = "text"
) -> None:
    """List models, newest first."""
    with connect() as client:
        models = client.models.list(limit)
    if output == "json":
        print_json(plain(models))
    else:
        rows = [(model.id, model.name, model.base_model, model.created_time) for model in models]
        print_table(("id", "name", "base model", "created"), rows)


@app.command()
def get(
    model_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the model.")], output: OutputOption = "text"
) -> None:
    """Show a model: where its files are and how it did."""
    with connect() as client:
        model = client.models.get(model_id)
    if output == "json":
        print_json(plain(model))
        return
    facts = (
        ("model", model.id),
        ("name", model.name),
        ("base model", model.base_model),
        ("job", model.job_id),
        ("dataset", model.dataset_version or None),
        ("formats", ", ".join(model.formats)),
        ("artifact", model.artifact.uri if model.artifact else None),
        ("digest", model.artifact.digest if model.artifact else None),
        ("created", model.created_time),
    )
    stdout().print(make_table(("", ""), [*facts, *sorted(model.metrics.items())]))
