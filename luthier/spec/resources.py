"""`resources`: where stages run and how often they are tried."""

from typing import Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section
from luthier.spec.distributed import DdpSpec, DistributedSpec


class ResourcesSpec(Section):
    """Which workers, how many tries, how much patience."""

    worker_class: Literal["cpu", "gpu"] = "cpu"
    """Workers for train, evaluate and export. Preprocess, merge and deploy always run on `cpu`."""
    num_ranks: int = Field(default=1, ge=1, le=64)
    """Processes of one training on each worker: one per accelerator. They share every optimizer step, which stays as
    large as `training` says. A worker with fewer accelerators trains with as many as it has."""
    num_workers: int = Field(default=1, ge=1, le=64)
    """Workers that share one training. They begin together; when one is lost, all go on from the last checkpoint."""
    min_workers: int | None = Field(default=None, ge=1, le=64)
    """How many of them are enough when the others do not come in time. Left out: all."""
    distributed: DistributedSpec = DdpSpec()
    """How the ranks share weights, gradients and optimizer state. All but `ddp` train `lora` and `full` with
    `training.optim: adamw`."""
    when_too_large: Literal["warn", "refuse"] = "warn"
    """What happens on submitting a job whose training needs more memory than any worker has, by its plan."""
    max_attempts: int = Field(default=4, ge=1, le=100)
    """Tries of one stage. A worker that drains does not use one up."""
    progress_timeout_seconds: float = Field(default=600.0, ge=1)
    """A runner whose progress does not move for this long is failed."""

    @property
    def most_ranks(self) -> int:
        """Processes of one training on all of its workers, if all of them come."""
        return self.num_workers * self.num_ranks

    @property
    def fewest_workers(self) -> int:
        """`min_workers`, or its default."""
        return self.num_workers if self.min_workers is None else self.min_workers

    @model_validator(mode="after")
    def _enough_is_no_more_than_all(self) -> Self:
        if self.fewest_workers > self.num_workers:
            raise ValueError(
                f"min_workers ({self.min_workers}) is more than num_workers ({self.num_workers}); lower it, or raise "
                f"num_workers"
            )
        return self
