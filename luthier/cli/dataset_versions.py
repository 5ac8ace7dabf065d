"""`luthier datasets versions` and `prune`: what the artifact store keeps, and deleting what nobody has."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from luthier.cli.output import OutputOption, plain, print_json, print_table, stderr
from luthier.cli.session import connect
from luthier.client.types import DatasetVersion

_HEADERS = ("version", "datasets", "bytes", "last used", "jobs in flight", "models")


def versions(output: OutputOption = "text") -> None:
    """List the versions of datasets that are kept to be used again, those used last first."""
    with connect() as client:
        found = client.datasets.versions()
    if output == "json":
        print_json(plain(found))
    else:
        _print(found)


def prune(
    days: Annotated[int, typer.Option(min=0, max=36_500, help="Only versions that were not used for so long.")] = 30,
    yes: Annotated[bool, typer.Option("--yes", help="Delete them; without it nothing is.")] = False,
    output: OutputOption = "text",
) -> None:
    """Show which versions of datasets no job in flight and no model has; with --yes delete them."""
    with connect() as client:
        found = client.datasets.prune(timedelta(days=days), dry_run=not yes)
    if output == "json":
        print_json({"deleted": yes, "dataset_versions": plain(found)})
        return
    _print(found)
    num_bytes = sum(version.num_bytes for version in found)
    done = "deleted" if yes else "nothing deleted; --yes deletes"
    stderr().print(f"{done} {len(found)} versions, {num_bytes} bytes", markup=False)


def _print(found: Sequence[DatasetVersion]) -> None:
    rows = (
        (
            version.version,
            version.num_datasets,
            version.num_bytes,
            version.last_use_time,
            ", ".join(version.job_ids) or None,
            ", ".join(version.model_ids) or None,
        )
        for version in found
    )
    print_table(_HEADERS, rows)
