"""`luthier jobs`: submit, look at, follow, pause and cancel jobs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli import progress
from luthier.cli.lines import log_lines
from luthier.cli.output import (
    Output,
    OutputOption,
    cell,
    job_document,
    make_table,
    plain,
    print_json,
    print_json_line,
    print_table,
    printable,
    stderr,
    stdout,
)
from luthier.cli.session import connect
from luthier.cli.size_check import warn_of_size
from luthier.cli.spec import warn_of_idle_fields
from luthier.client.types import Event, Job
from luthier.spec import load_job_file

if TYPE_CHECKING:
    from luthier.client import Client

app = typer.Typer(help="Submit, look at, follow, pause and cancel jobs.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="ID", help="Id of the job.")]


@app.command()
def submit(
    job_file: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")],
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end; exit with 1 when it fails.")] = False,
    output: OutputOption = "text",
) -> None:
    """Submit a job file."""
    with connect() as client:
        spec = load_job_file(job_file)
        warn_of_idle_fields(spec)
        warn_of_size(client, spec)
        job = client.submit(job_file)
        if not wait:
            if output == "json":
                print_json(job_document(job))
            else:
                typer.echo(job.id)
            return
        stderr().print(f"job {job.id}", markup=False)
        _finish(_follow(client, job.id), output)


@app.command()
def get(job_id: JobId, output: OutputOption = "text") -> None:
    """Show a job with its stages."""
    with connect() as client:
        _print(client.get(job_id), output)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="Most jobs to show.")] = 50, output: OutputOption = "text"
) -> None:
    """List jobs, newest first."""
    with connect() as client:
        jobs = client.list(limit)
    if output == "json":
        print_json([job_document(job) for job in jobs])
        return
    rows = [
        (job.id, job.name, job.state, job.created_time, job.finished_time and job.finished_time - job.created_time)
        if job.created_time
        else (job.id, job.name, job.state, None, None)
        for job in jobs
    ]
    print_table(("id", "name", "state", "created", "took"), rows)


@app.command()
def watch(job_id: JobId, output: OutputOption = "text") -> None:
    """Follow a job to its end, through pauses too; exit with 1 when it fails. JSON: one update a line."""
    with connect() as client:
        if output == "text":
            _finish(_follow(client, job_id), output)
            return
        for update in client.watch(job_id):
            if isinstance(update, Job):
                print_json_line({"type": "job", **job_document(update)})
            else:
                print_json_line({"type": "event", **plain(update)})
        _check(client.get(job_id))


@app.command()
def cancel(job_id: JobId, output: OutputOption = "text") -> None:
    """Cancel a job. A repeat changes nothing."""
    with connect() as client:
        _print_state(client.cancel(job_id), output)


@app.command()
def pause(
    job_id: JobId,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when nothing of it runs any more; exit with 1 when it failed before.")
    ] = False,
    output: OutputOption = "text",
) -> None:
    """Pause a job: what runs stops at its next checkpoint and frees its worker. A repeat changes nothing."""
    with connect() as client:
        job = client.pause(job_id)
        if wait:
            job = _until_paused(client, job)
    _print_state(job, output)
    if wait and job.state not in ("PAUSED", "SUCCEEDED"):
        raise typer.Exit(1)


@app.command()
def resume(job_id: JobId, output: OutputOption = "text") -> None:
    """Let a paused job go on from its last checkpoint. A repeat changes nothing."""
    with connect() as client:
        _print_state(client.resume(job_id), output)


@app.command()
def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    output: OutputOption = "text",
) -> None:
    """Print the history of a job, failures with their detail."""
    with connect() as client:
        if not follow:
            client.get(job_id)  # an unknown id is an error, not an empty history
        for update in client.watch(job_id) if follow else client.events(job=job_id):
            if isinstance(update, Event):
                print_event(update, output)


def print_event(event: Event, output: Output) -> None:
    """One event on stdout."""
    if output == "json":
        print_json_line(plain(event))
    else:
        for line in log_lines(event):
            typer.echo(line)


def _follow(client: "Client", job_id: str) -> Job:
    try:
        progress.show(client.watch(job_id), stderr())
    except KeyboardInterrupt:
        stderr().print(f"the job goes on; follow it with: luthier jobs watch {job_id}", markup=False)
        raise
    return client.get(job_id)


def _until_paused(client: "Client", job: Job) -> Job:
    """The job once it is paused, or has ended before that."""
    for update in client.watch(job.id):
        if isinstance(update, Job):
            job = update
            if job.state == "PAUSED":
                break
    return job


def _print_state(job: Job, output: Output) -> None:
    if output == "json":
        print_json(job_document(job))
    else:
        typer.echo(f"{job.id} {job.state}")


def _finish(job: Job, output: Output) -> None:
    _print(job, output)
    _check(job)


def _check(job: Job) -> None:
    if job.state != "SUCCEEDED":
        raise typer.Exit(1)


def _print(job: Job, output: Output) -> None:
    if output == "json":
        print_json(job_document(job))
        return
    console = stdout()
    for name, value in (
        ("job", job.id),
        ("name", job.name),
        ("state", job.state),
        ("model", job.model_id),
        ("deployment", job.deployment_id),
        ("trace", job.trace_id),
    ):
        if value:
            console.print(f"{name:11}", cell(value))
    if job.failure is not None:
        console.print("failure    ", printable(f"{job.failure.failure_class}: {job.failure.message}"), markup=False)
    rows = [
        (
            stage.name,
            stage.state,
            stage.attempt or None,
            stage.started_time,
            stage.finished_time - stage.started_time if stage.started_time and stage.finished_time else None,
            stage.failure.failure_class if stage.failure else None,
        )
        for stage in job.stages
    ]
    console.print()
    console.print(make_table(("stage", "state", "try", "started", "took", "failure"), rows))
    if job.metrics:
        console.print()
        console.print(make_table(("metric", "value"), sorted(job.metrics.items())))
