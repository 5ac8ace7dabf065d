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
from luthier.spec.data import DataSpec, SourceSpec
from luthier.spec.data.template import template_text
from luthier.spec.job import JobSpec
from luthier.spec.method import XloraSpec
from luthier.spec.objective import DistillationSpec
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


def resolve_paths(spec: JobSpec, folder: Path) -> JobSpec:
    """Makes relative paths of `data` and `merge`, and a model that starts with `.`, absolute against `folder`.

    The path of a chat template is replaced by what is in the file.

    Raises:
        InvalidSpecError: that file cannot be read.
    """

    def absolute(path: str | None) -> str | None:
        return path if path is None or "://" in path else str((folder / Path(path).expanduser()).absolute())

    def paths(section: DataSpec | SourceSpec) -> dict[str, Any]:
        return {key: absolute(getattr(section, key)) for key in ("path", "validation_path", "test_path")}

    decontaminate = spec.data.decontaminate
    if decontaminate is not None:
        located_paths = [absolute(path) for path in decontaminate.paths]
        decontaminate = decontaminate.model_copy(update={"paths": located_paths})
    sources = spec.data.sources and [source.model_copy(update=paths(source)) for source in spec.data.sources]

    def located(model: str) -> str:
        return (absolute(model) or model) if model.startswith((".", "~", "/")) else model

    select, augment = spec.data.select, spec.data.augment
    if select is not None and select.influence is not None:
        model = absolute(select.influence.embedding_model)
        select = select.model_copy(update={"influence": select.influence.model_copy(update={"embedding_model": model})})
    toxicity = spec.data.toxicity
    if toxicity is not None and toxicity.path is not None:
        classifier = toxicity.classifier.model_copy(update={"path": absolute(toxicity.path)})
        toxicity = toxicity.model_copy(update={"classifier": classifier})
    pii = spec.data.pii
    if pii is not None:
        pii = pii.model_copy(update={"names_model": absolute(pii.names_model)})
    if augment is not None:
        writer = augment.writer
        if writer is not None and writer.endpoint is None:
            writer = writer.model_copy(update={"model": located(writer.model)})
        augment = augment.model_copy(update={"thesaurus": absolute(augment.thesaurus), "writer": writer})
    objective = spec.objective
    if isinstance(objective, DistillationSpec):
        objective = objective.model_copy(update={"teacher": located(objective.teacher)})
    merge = spec.merge
    if merge is not None:
        adapters = [one.model_copy(update={"path": absolute(one.path)}) for one in merge.adapters]
        merge = merge.model_copy(update={"adapters": adapters})
    method = spec.method
    if isinstance(method, XloraSpec):
        method = method.model_copy(update={"experts": [absolute(path) for path in method.experts]})
    return spec.model_copy(
        update={
            "base_model": located(spec.base_model),
            "data": spec.data.model_copy(
                update={
                    **paths(spec.data),
                    "chat_template": spec.data.chat_template and template_text(spec.data.chat_template, folder),
                    "sources": sources,
                    "decontaminate": decontaminate,
                    "toxicity": toxicity,
                    "pii": pii,
                    "select": select,
                    "augment": augment,
                }
            ),
            "merge": merge,
            "method": method,
            "objective": objective,
        }
    )
