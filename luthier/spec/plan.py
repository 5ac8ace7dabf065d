"""The stages of a job: which ones, what each reads, and which workers may run it. Pure."""

from dataclasses import dataclass

from luthier.spec.job import JobSpec

# Nothing in these needs an accelerator, whatever the job asks for.
_CPU_KINDS = frozenset({"preprocess", "merge", "deploy"})

# What each kind reads, in the order of the pipeline, as far as the job has it. A stage is named as its kind.
NEEDS: dict[str, tuple[str, ...]] = {
    "preprocess": (),
    "train": ("preprocess",),
    "merge": ("preprocess",),
    "evaluate": ("preprocess", "train", "merge"),
    "export": ("preprocess", "train", "merge", "evaluate"),
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


def plan(spec: JobSpec) -> tuple[PlannedStage, ...]:
    """The stages of a job, every one after those that it needs."""
    left_out = {"train", "merge"} - {tuning_stage(spec)} | ({"deploy"} if spec.deploy is None else set())
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
