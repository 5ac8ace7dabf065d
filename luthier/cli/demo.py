"""`luthier demo`: from nothing to a fine-tuned model that answers, on this machine."""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from luthier.cli import progress
from luthier.cli.local import local_extra, start
from luthier.cli.output import OutputOption, cell, duration, make_table, plain, print_json, printable, stderr, stdout
from luthier.cli.session import connect
from luthier.client.types import Job

if TYPE_CHECKING:
    from luthier.local.demo import Demo


def demo(output: OutputOption = "text") -> None:
    """Fine-tune a small model on support tickets, compare it with its base, and ask it one ticket."""
    with local_extra():
        from luthier.local.demo import job_file, tell

    path = job_file()
    start(detach=True, output=None)
    with connect() as client:
        job = client.submit(path)
        stderr().print(f"job {job.id}", markup=False)
        progress.show(client.watch(job.id), stderr())
        job = client.get(job.id)
        if job.state != "SUCCEEDED":
            _explain(job)
            raise typer.Exit(1)
        result = tell(client, job)
    if output == "json":
        print_json(plain(result))
    else:
        show(stdout(), result)


def show(console: Console, result: "Demo") -> None:
    """Prints the result for people."""
    _head(console, "Base against tuned", f"{result.num_test_rows} held-out tickets")
    console.print(_comparison(result.comparison))
    console.print(f"In brackets: {result.confidence_level:.0%} confidence intervals.", style="dim")
    _head(console, "Parity proof", "the exported files answer as the trained model does")
    console.print(_pairs(_parity(result.parity)))
    _head(console, "One ticket, answered by Triton", "not in the training data")
    ticket = result.ticket
    console.print(_pairs({"ticket": ticket.text, "expected": ticket.expected, "answer": ticket.answer}))
    _head(console, "Time", "")
    seconds = {**result.stage_seconds, "total": result.total_seconds}
    console.print(_pairs({name: duration(timedelta(seconds=value)) for name, value in seconds.items()}))
    _head(console, "Artifacts", "")
    console.print(_pairs(result.artifacts))
    _head(console, "To read", "")
    for report in result.reports:
        console.print(f"  {report}", markup=False, soft_wrap=True)
    console.print()
    console.print(f'The stack stays up. Ask the model: luthier chat {result.deployment} "..."', markup=False)
    console.print("Stop everything: luthier down", markup=False)


def _head(console: Console, title: str, remark: str) -> None:
    console.print(f"\n[bold]{title}[/]  [dim]{remark}[/]")


def _comparison(metrics: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        (
            f"{name.replace('_', ' ')} {'↑' if row['higher_is_better'] else '↓'}",
            *(_interval(row[side]) for side in ("base", "tuned", "difference")),
            f"{row['p_value']:.2g}",
        )
        for name, row in metrics.items()
    ]
    return make_table(("metric", "base", "tuned", "difference", "p"), rows)


def _parity(parity: Mapping[str, Any]) -> dict[str, str]:
    """`parity.json` in four lines."""
    prompts = parity["prompts"]
    return {
        "compared": f"the {parity['subject']} export, read back from its files, with the trained adapter",
        "rendered prompts": f"{sum(prompt['rendered_equal'] for prompt in prompts)} of {len(prompts)} equal",
        "greedy answers": f"{parity['num_identical']} of {len(prompts)} identical, "
        f"{parity['greedy_agreement']:.1%} of the tokens agree",
        "logits": f"largest difference {parity['max_logit_difference']:.2g}",
    }


def _interval(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def _pairs(values: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items():
        table.add_row(name, cell(value))
    return table


def _explain(job: Job) -> None:
    console = stderr()
    console.print(f"{job.name} ({job.id}) ended as {job.state}", markup=False, style="red")
    for stage in job.stages:
        reason = f"{stage.failure.failure_class}: {stage.failure.message}" if stage.failure else stage.gate_reason
        if reason:
            console.print(f"{stage.name}: {printable(reason)}", markup=False, soft_wrap=True)
