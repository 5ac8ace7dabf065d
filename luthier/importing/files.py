"""A file of another tool: which one it is of is seen by what it holds."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from luthier.errors import InvalidRequestError, InvalidSpecError
from luthier.importing import axolotl, llama_factory
from luthier.importing.imported import Imported
from luthier.spec.data import DataSpec
from luthier.spec.problems import problem_of

_MAX_BYTES = 1 << 22


def import_datasets(path: Path, names: Sequence[str] = ()) -> Imported:
    """The section `data` for the datasets that `path` describes, or for those of them that are named.

    Raises:
        InvalidRequestError: the file is neither LLaMA-Factory's `dataset_info.json` nor a config of Axolotl, a name is
            not in it, or a dataset cannot be carried over.
    """
    document = _read(path)
    if isinstance(document, dict) and isinstance(document.get("datasets"), list):
        imported = axolotl.convert(document, names)
    elif isinstance(document, dict) and document and all(isinstance(entry, dict) for entry in document.values()):
        imported = llama_factory.convert(document, names, path.parent)
    else:
        raise InvalidRequestError(
            f"{path} is neither a dataset_info.json of LLaMA-Factory (an object of datasets by name) nor a config of "
            "Axolotl (with a list datasets)"
        )
    try:
        DataSpec.model_validate_json(json.dumps(imported.data))
    except ValidationError as error:
        raise InvalidSpecError.of(tuple(problem_of(row) for row in error.errors())) from error
    return imported


def _read(path: Path) -> Any:
    try:
        text = path.read_bytes()[: _MAX_BYTES + 1].decode("utf-8")
    except OSError as error:
        raise InvalidRequestError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{path} is not UTF-8 text (byte {error.start})") from error
    if len(text) > _MAX_BYTES:
        raise InvalidRequestError(f"{path} is larger than {_MAX_BYTES >> 20} MiB; expected a description of datasets")
    try:
        return json.loads(text) if path.suffix == ".json" else YAML(typ="safe", pure=True).load(text)
    except (ValueError, RecursionError, YAMLError) as error:
        raise InvalidRequestError(f"{path} is neither JSON nor YAML: {error}") from error
