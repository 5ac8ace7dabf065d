"""`resources.distributed`: how several ranks share a training. One section per strategy, told apart by `type`.

A new strategy is one section here, one member of `DistributedSpec`, and one row in
`workers/training/distributed/strategies`.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section


class DdpSpec(Section):
    """Every rank has all weights and all optimizer state."""

    divides_state: ClassVar[bool] = False
    """Whether each rank has only a part of them."""

    type: Literal["ddp"] = "ddp"
    """The strategy."""


class ZeroSpec(Section):
    """State is divided among the ranks by DeepSpeed (Rajbhandari et al., 2019, arXiv:1910.02054)."""

    divides_state: ClassVar[bool] = True
    """Whether each rank has only a part of them."""

    type: Literal["zero"]
    """The strategy."""
    stage: Literal[1, 2, 3] = 2
    """What is divided: optimizer state (1), gradients too (2), weights too (3)."""
    offload_optimizer: Literal["none", "cpu", "nvme"] = "none"
    """Where optimizer state is kept when it is not on the accelerator. `nvme` needs stage 3."""
    offload_param: Literal["none", "cpu", "nvme"] = "none"
    """Where weights are kept that are not being used. Needs stage 3."""
    nvme_path: str | None = None
    """Folder of the worker on a fast disk, for what goes to `nvme`."""

    @model_validator(mode="after")
    def _places_fit_the_stage(self) -> Self:
        if self.stage < 3 and (self.offload_param != "none" or self.offload_optimizer == "nvme"):
            raise ValueError(
                f"stage {self.stage} keeps weights and nvme where they are; take stage: 3, or none and cpu"
            )
        if "nvme" in (self.offload_optimizer, self.offload_param) and self.nvme_path is None:
            raise ValueError("nvme needs nvme_path, a folder on the worker's fast disk")
        return self


class FsdpSpec(Section):
    """State is divided among the ranks by torch's FSDP2 (Zhao et al., 2023, arXiv:2304.11277), layer by layer.

    Messages and layers have the dtype of `training.precision`, sums of gradients are fp32.
    """

    divides_state: ClassVar[bool] = True
    """Whether each rank has only a part of them."""

    type: Literal["fsdp"]
    """The strategy."""
    reshard_after_forward: bool = True
    """Let a layer's weights go after its forward pass and gather them again for the backward pass: less memory, and a
    half more messages. false is ZeRO's stage 2: weights stay whole from the forward pass to the end of the backward."""
    offload: Literal["none", "cpu"] = "none"
    """Where weights, gradients and optimizer state are kept between their uses. On a CPU they are there anyway."""


DistributedSpec = Annotated[DdpSpec | ZeroSpec | FsdpSpec, Field(discriminator="type")]
