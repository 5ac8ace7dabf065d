"""Reads a job file: YAML 1.2 or JSON text in, `JobSpec` out, or one error that names every fault.

YAML 1.2 because in 1.1 `1e-4` is a string and `no` is false.
"""

import io
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from luthier.errors import InvalidSpecError
from luthier.spec.job import JobSpec
from luthier.spec.paths import resolve_paths
from luthier.spec.problems import problem_of

_MAX_BYTES = 1 << 20


def load_job_file(path: Path) -> JobSpec:
    """Reads and checks the job file at `path`; relative data and model paths become absolute.

    Raises:
        InvalidSpecError: the file cannot be read, is not YAML, or does not fit the schema.
    """
    try:
        text = path.read_bytes()[: _MAX_BYTES + 1].decode("utf-8")
    except OSError as error:
        raise InvalidSpecError(f"cannot read {path}: {error.strerror}; give the path of a job file") from error
    except UnicodeDecodeError as error:
        raise InvalidSpecError(f"{path} is not UTF-8 text (byte {error.start})") from error
    return resolve_paths(parse_spec(text), path.absolute().parent)


def parse_spec(text: str) -> JobSpec:
    """Checks a job file given as YAML or JSON text.

    Raises:
        InvalidSpecError: with every fault, its path and a suggestion.
    """
    if len(text) > _MAX_BYTES:
        raise InvalidSpecError("the job file is larger than 1 MiB; put data into files of its own")
    try:
        document = YAML(typ="safe", pure=True).load(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise InvalidSpecError(f"not YAML: {where}{error.problem or error}") from error
    except YAMLError as error:
        raise InvalidSpecError(f"not YAML: {error}") from error
    if not isinstance(document, dict):
        raise InvalidSpecError("the job file must be a mapping with the keys name, base_model, data, ...")
    try:
        # Through JSON, because that is what strictness is defined on: lists, no dates, string keys.
        return JobSpec.model_validate_json(json.dumps(document, default=str))
    except ValidationError as error:
        raise InvalidSpecError.of(tuple(problem_of(row) for row in error.errors())) from error


def canonical_json(spec: JobSpec) -> str:
    """The resolved spec with sorted keys: equal specs give equal text. Accepted by `parse_spec`."""
    return json.dumps(spec.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the job file, for editors."""
    return JobSpec.model_json_schema()
