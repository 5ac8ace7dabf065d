"""The stages of a job: which ones, what each reads, and which workers may run it. Pure."""

from dataclasses import dataclass

from luthier.spec.job import JobSpec
from luthier.spec.objective import DistillationSpec

# Nothing in these needs an accelerator, whatever the job asks for.
_CPU_KINDS = frozenset({"preprocess", "merge", "deploy"})

# What each kind reads, in the order of the pipeline, as far as the job has it. A stage is named as its kind.
NEEDS: dict[str, tuple[str, ...]] = {
    "preprocess": (),
    "teach": ("preprocess",),
    "train": ("preprocess", "teach"),
    "merge": ("preprocess",),
    "evaluate": ("preprocess", "train", "merge"),
    "export": ("preprocess", "teach", "train", "merge", "evaluate"),
    "deploy": ("export",),
}


@dataclass(frozen=True)
class PlannedStage:
    """One node of the graph."""

    name: str
    kind: str
    worker_class: str
    needs: tuple[str, ...]
    """Names of earlier stages of the same plan."""


def tuning_stage(spec: JobSpec) -> str:
    """Name of the stage that leaves the tuned model."""
    return "train" if spec.merge is None else "merge"


def lessons_stage(spec: JobSpec) -> str:
    """Name of the stage that leaves the dataset to train on: it may be one whose answers are a teacher's."""
    objective = spec.objective
    return "teach" if isinstance(objective, DistillationSpec) and objective.level == "sequence" else "preprocess"


def plan(spec: JobSpec) -> tuple[PlannedStage, ...]:
    """The stages of a job, every one after those that it needs."""
    left_out = {"train", "merge"} - {tuning_stage(spec)} | ({"deploy"} if spec.deploy is None else set())
    if spec.merge is not None or lessons_stage(spec) != "teach":
        left_out.add("teach")
    kinds = [kind for kind in NEEDS if kind not in left_out]
    return tuple(
        PlannedStage(
            name=kind,
            kind=kind,
            worker_class="cpu" if kind in _CPU_KINDS else spec.resources.worker_class,
            needs=tuple(name for name in NEEDS[kind] if name in kinds),
        )
        for kind in kinds
    )
