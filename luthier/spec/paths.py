"""Paths of a job file, relative to where it lies, made absolute: whoever runs the job stands elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.spec.data import DataSpec, SourceSpec
from luthier.spec.data.template import template_text
from luthier.spec.job import JobSpec
from luthier.spec.merge import MergeSpec
from luthier.spec.method import MethodSpec, XloraSpec
from luthier.spec.objective import DistillationSpec, ObjectiveSpec


def resolve_paths(spec: JobSpec, folder: Path) -> JobSpec:
    """Makes relative paths of `data` and `merge`, and a model that starts with `.`, absolute against `folder`.

    The path of a chat template is replaced by what is in the file.

    Raises:
        InvalidSpecError: that file cannot be read.
    """
    at = _Place(folder)
    return spec.model_copy(
        update={
            "base_model": at.model(spec.base_model),
            "data": _data(spec.data, at),
            "merge": _merge(spec.merge, at),
            "method": _method(spec.method, at),
            "objective": _objective(spec.objective, at),
        }
    )


@dataclass(frozen=True)
class _Place:
    """Where the job file lies."""

    folder: Path

    def absolute(self, path: str | None) -> str | None:
        """A path from here; a URI and None stay."""
        return path if path is None or "://" in path else str((self.folder / Path(path).expanduser()).absolute())

    def each_absolute(self, paths: str | Sequence[str] | None) -> str | list[str | None] | None:
        """The same for each path of a list."""
        return self.absolute(paths) if paths is None or isinstance(paths, str) else [*map(self.absolute, paths)]

    def model(self, name: str) -> str:
        """A model by its name, or by its folder if it starts like a path."""
        return (self.absolute(name) or name) if name.startswith((".", "~", "/")) else name


def _data(data: DataSpec, at: _Place) -> DataSpec:
    return data.model_copy(
        update={
            **_rows(data, at),
            "chat_template": data.chat_template and template_text(data.chat_template, at.folder),
            "sources": data.sources and [one.model_copy(update=_rows(one, at)) for one in data.sources],
            **_filters(data, at),
            **_choices(data, at),
        }
    )


def _rows(section: DataSpec | SourceSpec, at: _Place) -> dict[str, Any]:
    return {key: at.each_absolute(getattr(section, key)) for key in ("path", "validation_path", "test_path")}


def _filters(data: DataSpec, at: _Place) -> dict[str, Any]:
    """Steps that look at rows one by one."""
    update: dict[str, Any] = {}
    if data.decontaminate is not None:
        paths = [at.absolute(path) for path in data.decontaminate.paths]
        update["decontaminate"] = data.decontaminate.model_copy(update={"paths": paths})
    if data.toxicity is not None and data.toxicity.path is not None:
        classifier = data.toxicity.classifier.model_copy(update={"path": at.absolute(data.toxicity.path)})
        update["toxicity"] = data.toxicity.model_copy(update={"classifier": classifier})
    if data.pii is not None:
        update["pii"] = data.pii.model_copy(update={"names_model": at.absolute(data.pii.names_model)})
    return update


def _choices(data: DataSpec, at: _Place) -> dict[str, Any]:
    """Steps that choose among rows and make others."""
    update: dict[str, Any] = {}
    if data.select is not None and data.select.influence is not None:
        influence = data.select.influence
        influence = influence.model_copy(update={"embedding_model": at.absolute(influence.embedding_model)})
        update["select"] = data.select.model_copy(update={"influence": influence})
    if data.augment is not None:
        writer = data.augment.writer
        if writer is not None and writer.endpoint is None:
            writer = writer.model_copy(update={"model": at.model(writer.model)})
        thesaurus = at.absolute(data.augment.thesaurus)
        update["augment"] = data.augment.model_copy(update={"thesaurus": thesaurus, "writer": writer})
    return update


def _merge(merge: MergeSpec | None, at: _Place) -> MergeSpec | None:
    if merge is None:
        return None
    adapters = [one.model_copy(update={"path": at.absolute(one.path)}) for one in merge.adapters]
    return merge.model_copy(update={"adapters": adapters})


def _method(method: MethodSpec, at: _Place) -> MethodSpec:
    if isinstance(method, XloraSpec):
        return method.model_copy(update={"experts": [at.absolute(path) for path in method.experts]})
    return method


def _objective(objective: ObjectiveSpec, at: _Place) -> ObjectiveSpec:
    if isinstance(objective, DistillationSpec):
        return objective.model_copy(update={"teacher": at.model(objective.teacher)})
    return objective
