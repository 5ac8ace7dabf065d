"""`luthier datasets import`: descriptions of datasets that other tools have, as a part of a job file."""

import io
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from luthier.cli.output import OutputOption, print_json, printable
from luthier.importing import Imported, import_datasets


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="LLaMA-Factory's dataset_info.json, or a config of Axolotl.")
    ],
    name: Annotated[list[str] | None, typer.Option(help="Of a dataset in it; may be given several times.")] = None,
    output: OutputOption = "text",
) -> None:
    """Print the section `data` for datasets that are described for LLaMA-Factory or Axolotl."""
    imported = import_datasets(file, name or [])
    if output == "json":
        print_json({**_part(imported), "notes": imported.notes})
        return
    notes = "".join(f"# Note: {note}.\n" for note in imported.notes)
    typer.echo(printable(notes + _yaml(_part(imported))), nl=False)


def _part(imported: Imported) -> dict[str, Any]:
    objective = {} if imported.objective is None else {"objective": {"type": imported.objective}}
    return {"data": imported.data, **objective}


def _yaml(document: dict[str, Any]) -> str:
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(_NULL, "null"))
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


_NULL = "tag:yaml.org,2002:null"
