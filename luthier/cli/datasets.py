"""`luthier datasets`: the data report of a job, or of a file before any job."""

from pathlib import Path
from typing import Annotated

import typer

from luthier.artifacts import ArtifactError, fetch, join, local_path
from luthier.cli.data_look import DEFAULT_MODEL, has_packages, look
from luthier.cli.output import Output, OutputOption, make_table, plain, print_json, printable, stderr, stdout
from luthier.cli.session import connect
from luthier.errors import ConflictError, InvalidRequestError

app = typer.Typer(help="Look at datasets.", no_args_is_help=True)


@app.callback()
def datasets() -> None:
    """Look at datasets."""


@app.command()
def report(
    source: Annotated[str, typer.Argument(metavar="ID|FILE", help="Id of a job, a dataset file, or a job file.")],
    base_model: Annotated[
        str, typer.Option(help=f"For a FILE: whose tokenizer counts. Default: the job file's, else {DEFAULT_MODEL}.")
    ] = "",
    output: OutputOption = "text",
) -> None:
    """Report counts, lengths, dropped rows and why, of a job's data or of a file."""
    if Path(source).is_file():
        _report_file(Path(source), base_model, output)
    else:
        _report_job(source, output)


def _report_job(job_id: str, output: Output) -> None:
    with connect() as client:
        job = client.get(job_id)
    stage = job.stage("preprocess")
    if stage.state != "SUCCEEDED" or stage.artifact is None:
        raise ConflictError(f"the data of job {job_id} is not ready: preprocess is {stage.state}")
    if output == "json":
        print_json({"job_id": job_id, "artifact": plain(stage.artifact), **plain(stage.result)})
        return
    folder = local_path(stage.artifact.uri)
    if folder is not None and folder.is_dir():
        try:
            fetch(stage.artifact.uri, folder, digest=stage.artifact.digest)
        except ArtifactError as error:
            raise ConflictError(f"the data of job {job_id} is damaged: {error}; submit the job again") from error
        typer.echo(printable((folder / "report.md").read_text("utf-8")))
        return
    stdout().print(make_table(("", ""), list(stage.result.items())))
    stderr().print(f"the whole report: {join(stage.artifact.uri, 'report.md')}", markup=False)


def _report_file(path: Path, base_model: str, output: Output) -> None:
    """
    Raises:
        InvalidRequestError: the worker's packages are not installed.
        LookFailed: the rows cannot be used.
    """
    if not has_packages():
        raise InvalidRequestError("a report on a file needs the worker's packages: pip install 'luthier[worker]'")
    seen = look(path, base_model)
    if output == "json":
        print_json(seen.document)
    else:
        typer.echo(printable(seen.page))
