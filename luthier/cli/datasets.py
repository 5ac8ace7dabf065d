"""`luthier datasets`: the data report of a job, or of a file before any job; versions that are kept."""

from pathlib import Path
from typing import Annotated

import typer

from luthier.artifacts import ArtifactError, fetch, join, local_path
from luthier.cli.data_look import DEFAULT_MODEL, has_packages, look
from luthier.cli.dataset_versions import prune, versions
from luthier.cli.import_datasets import import_
from luthier.cli.output import Output, OutputOption, make_table, plain, print_json, printable, stderr, stdout
from luthier.cli.session import connect
from luthier.errors import ConflictError, InvalidRequestError

app = typer.Typer(help="Look at datasets, and delete those that nobody has.", no_args_is_help=True)
app.command("import")(import_)
app.command()(versions)
app.command()(prune)


@app.callback()
def datasets() -> None:
    """Look at datasets, and delete those that nobody has."""


@app.command()
def report(
    source: Annotated[str, typer.Argument(metavar="ID|FILE", help="Id of a job, a dataset file, or a job file.")],
    base_model: Annotated[
        str, typer.Option(help=f"For a FILE: whose tokenizer counts. Default: the job file's, else {DEFAULT_MODEL}.")
    ] = "",
    html: Annotated[Path | None, typer.Option(help="Write the report as a web page to this file, instead.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open that page in a browser.")] = False,
    output: OutputOption = "text",
) -> None:
    """Report on a job's data or on a file: what came in, what was done to it, what is trained on."""
    if show and html is None:
        raise InvalidRequestError("--open needs a file for the page: --html report.html")
    if Path(source).exists():
        _report_file(Path(source), base_model, html, output)
    elif Path(source).name != source or Path(source).suffix:
        raise InvalidRequestError(f"{source} does not exist; give a file or folder that does, or the id of a job")
    else:
        _report_job(source, html, output)
    if show:
        typer.launch(str(html))


def _report_job(job_id: str, html: Path | None, output: Output) -> None:
    with connect() as client:
        job = client.get(job_id)
    stage = job.stage("preprocess")
    if stage.state != "SUCCEEDED" or stage.artifact is None:
        raise ConflictError(f"the data of job {job_id} is not ready: preprocess is {stage.state}")
    if output == "json":
        print_json({"job_id": job_id, "artifact": plain(stage.artifact), **plain(stage.result)})
        if html is None:
            return
    uri, digest = stage.artifact.uri, stage.artifact.digest
    folder = _checked_folder(job_id, uri, digest)
    if html is not None:
        if folder is None:
            raise ConflictError(f"the page is not on this machine: it is {join(uri, 'report.html')}")
        _write(html, (folder / "report.html").read_text("utf-8"))
    elif folder is not None:
        typer.echo(printable((folder / "report.md").read_text("utf-8")))
    else:
        stdout().print(make_table(("", ""), list(stage.result.items())))
        stderr().print(f"the whole report: {join(uri, 'report.md')}", markup=False)


def _checked_folder(job_id: str, uri: str, digest: str) -> Path | None:
    """Of the dataset artifact, if it is on this machine.

    Raises:
        ConflictError: it is damaged.
    """
    folder = local_path(uri)
    if folder is None or not folder.is_dir():
        return None
    try:
        fetch(uri, folder, digest=digest)
    except ArtifactError as error:
        raise ConflictError(f"the data of job {job_id} is damaged: {error}; submit the job again") from error
    return folder


def _report_file(path: Path, base_model: str, html: Path | None, output: Output) -> None:
    """
    Raises:
        InvalidRequestError: the worker's packages are not installed.
        LookFailed: the rows cannot be used.
    """
    if not has_packages():
        raise InvalidRequestError("a report on a file needs the worker's packages: pip install 'luthier[worker]'")
    seen = look(path, base_model)
    if html is not None:
        _write(html, seen.html)
    if output == "json":
        print_json(seen.document)
    elif html is None:
        typer.echo(printable(seen.page))


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InvalidRequestError(f"--html {path} cannot be written: {error.strerror}") from error
    stderr().print(f"wrote {path}", markup=False)
