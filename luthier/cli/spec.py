"""`luthier validate`, `plan` and `schema`: the job file, without a gateway."""

from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.cli.output import OutputOption, make_table, plain, print_json, stdout
from luthier.spec import JobSpec, json_schema, load_job_file
from luthier.spec.plan import plan as plan_stages

JobFile = Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")]


def validate(job_file: JobFile, output: OutputOption = "text") -> None:
    """Check a job file; every fault is named. JSON: the file with all defaults filled in."""
    spec = load_job_file(job_file)
    if output == "json":
        print_json(spec.model_dump(mode="json"))
    else:
        typer.echo(f"{job_file} is valid")


def plan(job_file: JobFile, output: OutputOption = "text") -> None:
    """Show what a job file will run, without running it."""
    spec = load_job_file(job_file)
    stages = plan_stages(spec)
    if output == "json":
        print_json({"name": spec.name, "stages": plain(stages), "figures": _figures(spec)})
        return
    console = stdout()
    rows = [(stage.name, stage.worker_class, ", ".join(stage.needs) or "-") for stage in stages]
    console.print(make_table(("stage", "workers", "after"), rows))
    console.print()
    console.print(make_table(("", ""), list(_figures(spec).items())))


def schema(output: OutputOption = "json") -> None:
    """Print the JSON Schema of the job file, for editors. It is JSON whatever the output option says."""
    print_json(json_schema())


def _figures(spec: JobSpec) -> dict[str, Any]:
    training = spec.training
    return {
        "base_model": spec.base_model,
        "method": spec.method.describe(),
        "learning_rate": training.learning_rate,
        "length": f"{training.max_steps} steps" if training.max_steps else f"{training.num_train_epochs:g} epochs",
        "rows_per_step": training.per_device_train_batch_size * training.gradient_accumulation_steps,
        "row_tokens": training.pack_length if training.packing else spec.data.max_length,
        "metrics": ", ".join(spec.evaluation.metrics),
        "gate": ", ".join(spec.evaluation.gate) or None,
        "formats": ", ".join(spec.export.formats),
        "max_attempts": spec.resources.max_attempts,
    }
