"""`luthier validate` and `schema`: the job file, without a gateway."""

from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.output import OutputOption, print_json, warn
from luthier.spec import JobSpec, json_schema, load_job_file
from luthier.spec.idle import idle_fields

JobFile = Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")]


def validate(job_file: JobFile, output: OutputOption = "text") -> None:
    """Check a job file; every fault is named. JSON: the file with all defaults filled in."""
    spec = load_job_file(job_file)
    warn_of_idle_fields(spec)
    if output == "json":
        print_json(spec.model_dump(mode="json"))
    else:
        typer.echo(f"{job_file} is valid")


def warn_of_idle_fields(spec: JobSpec) -> None:
    """Warns on stderr of each field that is set and does nothing."""
    for text in idle_fields(spec):
        warn(text)


def schema(output: OutputOption = "json") -> None:
    """Print the JSON Schema of the job file, for editors. It is JSON whatever the output option says."""
    print_json(json_schema())
