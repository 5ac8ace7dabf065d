"""The stages of a job: which ones, what each reads, and which workers may run it. Pure."""

from dataclasses import dataclass

from luthier.spec.job import JobSpec

# Nothing in these needs an accelerator, whatever the job asks for.
_CPU_KINDS = frozenset({"preprocess", "deploy"})

# What each kind reads, in the order of the pipeline. A stage is named as its kind.
NEEDS: dict[str, tuple[str, ...]] = {
    "preprocess": (),
    "train": ("preprocess",),
    "evaluate": ("preprocess", "train"),
    "export": ("preprocess", "train", "evaluate"),
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


def plan(spec: JobSpec) -> tuple[PlannedStage, ...]:
    """The stages of a job, every one after those that it needs."""
    kinds = [kind for kind in NEEDS if kind != "deploy" or spec.deploy is not None]
    return tuple(
        PlannedStage(
            name=kind,
            kind=kind,
            worker_class="cpu" if kind in _CPU_KINDS else spec.resources.worker_class,
            needs=NEEDS[kind],
        )
        for kind in kinds
    )
