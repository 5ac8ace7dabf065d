"""The sources of a job, with everything filled in that they leave to `data` and to the objective.

A job with one `data.path` has one part, without a name. Everything below works on parts, and so never asks which of the
two ways to name its rows a job file took.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from luthier.spec import ClassificationSpec, DataSpec, ObjectiveSpec, PretrainSpec, SftSpec, SourceSpec
from luthier.spec.data import Overlong
from luthier.spec.data.location import paths_of
from workers.data.dataset import SplitName
from workers.data.shapes import Names
from workers.data.tokens.targets import Targets, targets_of

_OBJECTIVES: dict[str, ObjectiveSpec] = {"sft": SftSpec(), "pretrain": PretrainSpec(type="pretrain")}


@dataclass(frozen=True)
class Part:
    """One source of rows."""

    name: str
    """Empty where the job has but one, without a name."""
    key: str
    """What stands before `path` in messages: where the job file has it."""
    paths: Mapping[SplitName, Sequence[str]]
    """By split, in reading order; those of `train` also stand for rows that are still to be split."""
    fractions: Mapping[SplitName, float]
    """Share of the rows of `train` that goes to the splits without rows of their own."""
    file_type: str
    format: str
    names: Names
    """What its files call columns, keys and roles."""
    targets: Targets
    system_prompt: str | None
    max_length: int
    overlong: Overlong
    max_samples: int | None
    weight: float
    classes: Sequence[str] = ()
    """What a label may be, where the job names its classes; empty: anything."""


def parts_of(spec: DataSpec, objective: ObjectiveSpec) -> list[Part]:
    """The parts of a job, in the order of its file."""
    if spec.sources is not None:
        return [_part(source, spec, objective) for source in spec.sources]
    return [
        Part(
            name="",
            key="data",
            paths=_paths(spec),
            fractions=_fractions(spec, spec),
            file_type=spec.file_type,
            format=spec.format,
            names=_names(spec, spec),
            targets=targets_of(objective),
            system_prompt=spec.system_prompt,
            max_length=spec.max_length,
            overlong=spec.overlong,
            max_samples=None,
            weight=1.0,
            classes=_classes(objective),
        )
    ]


def _part(source: SourceSpec, spec: DataSpec, objective: ObjectiveSpec) -> Part:
    own = source.objective is not None and source.objective != objective.type
    return Part(
        name=source.name,
        key=f"data.sources.{source.name}",
        paths=_paths(source),
        fractions=_fractions(source, spec),
        file_type=source.file_type or spec.file_type,
        format=source.format or spec.format,
        names=_names(source, spec),
        targets=targets_of(_OBJECTIVES[source.objective] if own and source.objective else objective),
        system_prompt=spec.system_prompt if source.system_prompt is None else source.system_prompt,
        max_length=spec.max_length,
        overlong=source.overlong or spec.overlong,
        max_samples=source.max_samples,
        weight=1.0 if source.weight is None else source.weight,
        classes=_classes(objective),
    )


def _classes(objective: ObjectiveSpec) -> Sequence[str]:
    return objective.labels or () if isinstance(objective, ClassificationSpec) else ()


def _names(section: DataSpec | SourceSpec, spec: DataSpec) -> Names:
    columns = spec.columns if section.columns is None else section.columns
    message_keys = spec.message_keys if section.message_keys is None else section.message_keys
    roles = spec.roles if section.roles is None else section.roles
    return Names(dict(columns.items()), dict(message_keys.items()), dict(roles.items()))


def _paths(section: DataSpec | SourceSpec) -> dict[SplitName, Sequence[str]]:
    return {
        "train": paths_of(section.path),
        "validation": paths_of(section.validation_path),
        "test": paths_of(section.test_path),
    }


def _fractions(section: DataSpec | SourceSpec, spec: DataSpec) -> dict[SplitName, float]:
    """Test first: its rows are drawn first."""
    return {
        "test": 0.0 if section.test_path else spec.test_fraction,
        "validation": 0.0 if section.validation_path else spec.validation_fraction,
    }
