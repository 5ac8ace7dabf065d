"""`luthier`: every command, and what happens when one does not succeed.

Exit codes: 0 success, 1 a failed job or a platform that says no, 2 bad usage or a bad job file, 130 interrupted.
"""

from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from luthier.cli import chat, datasets, dead_letters, demo, deployments, events, jobs, local, models, spec, workers
from luthier.cli import plan as plans
from luthier.cli.output import printable, stderr
from luthier.errors import InvalidRequestError, LuthierError


class Commands(TyperGroup):
    """Says errors in one line with their remedy, never with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the chosen command."""
        try:
            return super().invoke(ctx)
        except LuthierError as error:
            stderr().print(f"error: {printable(str(error))}", markup=False, soft_wrap=True, style="red")
            raise typer.Exit(2 if isinstance(error, InvalidRequestError) else 1) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(130) from error


app = typer.Typer(
    name="luthier",
    cls=Commands,
    help="A dataset and an open model in; a fine-tuned, evaluated, served model out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("luthier"))
        raise typer.Exit


@app.callback()
def luthier(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A dataset and an open model in; a fine-tuned, evaluated, served model out."""


app.command()(local.up)
app.command()(local.down)
app.command()(local.status)
app.command()(demo.demo)
app.add_typer(jobs.app, name="jobs")
app.command()(spec.validate)
app.command()(plans.plan)
app.command()(spec.schema)
app.command()(events.events)
app.add_typer(datasets.app, name="datasets")
app.add_typer(models.app, name="models")
app.add_typer(deployments.app, name="deployments")
app.command()(chat.chat)
app.add_typer(workers.app, name="workers")
app.add_typer(dead_letters.app, name="dead-letters")
