"""Makes a job's graph of stages into rows. The graph itself is `luthier.spec.plan`, shown by `luthier plan` too."""

from collections.abc import Callable

from coordinator.store.tables import StageRow
from luthier.spec import JobSpec
from luthier.spec.plan import plan

# Kinds that several workers can share.
_SHARED_KINDS = frozenset({"train"})


def stage_rows(job_id: str, spec: JobSpec, make_id: Callable[[str], str]) -> list[StageRow]:
    """New rows for every stage of a job, each after those that it needs; all of them PENDING."""
    return [
        StageRow(
            stage_id=make_id("stage"),
            job_id=job_id,
            position=position,
            name=stage.name,
            kind=stage.kind,
            worker_class=stage.worker_class,
            needs=list(stage.needs),
            max_attempts=spec.resources.max_attempts,
            progress_timeout_seconds=spec.resources.progress_timeout_seconds,
            num_workers=spec.resources.num_workers if stage.kind in _SHARED_KINDS else 1,
            min_workers=spec.resources.fewest_workers if stage.kind in _SHARED_KINDS else 1,
        )
        for position, stage in enumerate(plan(spec))
    ]
