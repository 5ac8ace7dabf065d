"""`luthier plan`: what a job will run, need and cost, before anything runs."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from luthier.cli.data_look import LookFailed, has_packages, local_bytes, look
from luthier.cli.output import OutputOption, make_table, plain, print_json, stderr, stdout
from luthier.cli.spec import warn_of_idle_fields
from luthier.errors import InvalidRequestError
from luthier.planning.configs import find_config, find_experts, find_teacher, read_config
from luthier.planning.fit import Layout
from luthier.planning.hardware import Hardware, HardwareTable, load_hardware
from luthier.planning.job_plan import JobPlan, plan_job
from luthier.planning.memory import GIB
from luthier.planning.suitability import UnsuitableError, check_suits
from luthier.planning.workload import DataFigures, read_report
from luthier.settings import ClientSettings
from luthier.spec import JobSpec, load_job_file
from luthier.spec.idle import idle_fields
from luthier.spec.plan import plan as plan_stages
from luthier.spec.training import Precision

_PROBE_SECONDS = 120
_LOOK_BYTES = 16 << 20
_LOOK_SECONDS = 120
_ASKED = ("hardware", "precision", "memory", "fits", "at its peak")
_BEST = ("hardware", "precision", "rows x passes", "checkpointing", "strategy", "memory", "host", "tokens/s", "hours")


def plan(
    job_file: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job file.")],
    data_report: Annotated[
        Path | None, typer.Option(help="report.json of `luthier datasets report -o json`: how long the data is.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="config.json of the base model, if it is not here.")] = None,
    hardware: Annotated[list[str] | None, typer.Option(help="Rows of the table to compare; repeat it.")] = None,
    look_at_data: Annotated[
        bool, typer.Option("--look/--no-look", help="Read the data too, if it is here, small, and the packages are.")
    ] = True,
    probe: Annotated[bool, typer.Option(help="Measure this machine too, if the worker's packages are here.")] = True,
    output: OutputOption = "text",
) -> None:
    """Show what a job file will run, need and cost, without running it."""
    spec = load_job_file(job_file)
    warn_of_idle_fields(spec)
    settings = ClientSettings()
    data = _data(data_report) if data_report or not look_at_data else _look(job_file, spec)
    table = _table(load_hardware(settings.hardware), hardware, probe)
    try:
        shape = read_config(config) if config else find_config(spec.base_model, settings.model_cache_path)
        check_suits(spec, shape, data.longest)
        teacher = find_teacher(spec, settings.model_cache_path)
        found = plan_job(spec, shape, data, table, teacher, find_experts(spec))
        reason = ""
    except UnsuitableError:
        raise
    except InvalidRequestError as error:
        found, reason = None, str(error)
    if output == "json":
        document = {"name": spec.name, "stages": plain(plan_stages(spec)), "figures": _figures(spec)}
        document["warnings"] = [*idle_fields(spec)]
        print_json({**document, "plan": plain(found), "not_planned": reason or None})
        return
    console = stdout()
    rows = [(stage.name, stage.worker_class, ", ".join(stage.needs) or "-") for stage in plan_stages(spec)]
    console.print(make_table(("stage", "workers", "after"), rows))
    console.print()
    console.print(make_table(("", ""), list(_figures(spec).items())))
    console.print()
    if found is None:
        console.print(f"needs and costs are not known: {reason}", markup=False)
    else:
        _print_plan(found, spec.training.precision)


def _data(path: Path | None) -> DataFigures:
    if path is None:
        return DataFigures()
    try:
        return read_report(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequestError(f"{path} is not the report of a dataset: {error}") from error


def _look(job_file: Path, spec: JobSpec) -> DataFigures:
    """The figures of the job's own data, where they cost a person no wait."""
    size = None if spec.merge is not None else local_bytes(spec.data)
    if size is None or not has_packages():
        return DataFigures()
    if size > _LOOK_BYTES:
        return DataFigures(source=f"nothing: {size >> 20} MiB were not read; give --data-report")
    try:
        return read_report(look(job_file, timeout=_LOOK_SECONDS).document)
    except LookFailed as error:
        stderr().print(f"the data could not be looked at: {error}", markup=False)
        return DataFigures()


def _table(table: HardwareTable, wanted: list[str] | None, probe: bool) -> HardwareTable:
    own = _probe() if probe else None
    if own is not None:
        table = replace(table, hardware=(own, *table.hardware))
    return table.name(wanted) if wanted else table


def _probe() -> Hardware | None:
    """This machine, measured in a process of its own, because this one stays light; None without the packages."""
    if find_spec("torch") is None:
        return None
    try:
        done = subprocess.run(
            [sys.executable, "-m", "workers.hardware_probe"],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=True,
        )
        return Hardware.model_validate_json(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, IndexError, ValidationError) as error:
        stderr().print(f"this machine could not be measured: {error}", markup=False)
        return None


def _print_plan(found: JobPlan, asked: Precision) -> None:
    console = stdout()
    console.print(f"parameters  {found.num_parameters:,}, trained {found.num_trainable:,}", markup=False)
    console.print(f"data        {found.data.source}", markup=False)
    console.print("\nas the job file says", markup=False)
    console.print(make_table(_ASKED, [_asked_row(layout, asked) for layout in found.asked]))
    if found.best:
        console.print("\nthe quickest that fits", markup=False)
        console.print(make_table((*_BEST, found.currency, "kWh"), [_best_row(layout, asked) for layout in found.best]))
        console.print(f"\nquickest: {found.quickest}; cheapest: {found.cheapest or 'not known'}", markup=False)
        for name in dict.fromkeys(name for name in (found.cheapest, found.quickest) if name):
            (layout,) = (layout for layout in found.best if layout.hardware == name)
            console.print(f"in the job file for {name}:", markup=False)
            for key, value in layout.job_file().items():
                console.print(f"  {key}: {value}", markup=False)
    for line in (*found.advice, *found.notes):
        console.print(f"- {line}", markup=False)


def _asked_row(layout: Layout, asked: Precision) -> tuple[Any, ...]:
    largest = sorted(layout.memory.parts.items(), key=lambda part: -part[1])[:3]
    parts = ", ".join(f"{name} {_gib(size)}" for name, size in largest)
    fits = "yes" if layout.fits else "no"
    return layout.hardware, _precision(layout, asked), _gib(layout.memory.peak_bytes), fits, parts


def _best_row(layout: Layout, asked: Precision) -> tuple[Any, ...]:
    cost, setting = layout.cost, layout.setting
    return (
        layout.hardware,
        _precision(layout, asked),
        f"{layout.micro_rows} x {layout.accumulation}",
        setting.checkpointing,
        "-" if setting.num_devices == 1 else str(setting.sharding),
        _gib(layout.memory.peak_bytes),
        "-" if setting.on_cpu else _gib(layout.memory.host_bytes),
        f"{cost.tokens_per_second:,.0f}",
        None if cost.seconds is None else f"{cost.seconds / 3600:.2f}",
        None if cost.price is None else f"{cost.price:.2f}",
        None if cost.kilowatt_hours is None else f"{cost.kilowatt_hours:.2f}",
    )


def _precision(layout: Layout, asked: Precision) -> str:
    """What the job file asks for; with `auto` what it will probably be there."""
    return asked if asked != "auto" else {2: "bf16", 4: "fp32"}[layout.setting.compute_bytes]


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def _figures(spec: JobSpec) -> Mapping[str, Any]:
    return {
        "base_model": spec.base_model,
        **_making(spec),
        "metrics": ", ".join(spec.evaluation.metrics),
        "gate": ", ".join(spec.evaluation.gate) or None,
        "formats": ", ".join(spec.export.formats),
        "max_attempts": spec.resources.max_attempts,
    }


def _making(spec: JobSpec) -> Mapping[str, Any]:
    """How the tuned model comes about."""
    if spec.merge is not None:
        return {"merge": spec.merge.describe(), "output": spec.merge.output}
    training = spec.training
    return {
        "method": spec.method.describe(),
        "learning_rate": training.learning_rate,
        "length": f"{training.max_steps} steps" if training.max_steps else f"{training.num_train_epochs:g} epochs",
        "rows_per_step": training.per_device_train_batch_size * training.gradient_accumulation_steps,
        "row_tokens": training.pack_length if training.packing else spec.data.max_length,
    }
