"""How several devices share what a training holds: `resources.distributed` as plain facts, and what can be chosen.

ZeRO's stages are those of Rajbhandari et al., 2020 (arXiv:1910.02054), figure 1: 1 divides the optimizer's state, 2 the
gradients too, 3 the weights too. FSDP (Zhao et al., 2023, arXiv:2304.11277) divides all three.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from luthier.spec.distributed import DdpSpec, DistributedSpec, FsdpSpec, ZeroSpec

LIVE_PARAMETERS = 1_000_000_000
"""That DeepSpeed's stage 3 leaves gathered (its stage3_max_live_parameters)."""
_BUCKET_BYTES = 4 * 500_000_000
"""Of gradients that DeepSpeed puts together before it sends them (its reduce_bucket_size, in fp32)."""


@dataclass(frozen=True)
class Sharding:
    """One strategy."""

    strategy: str = "ddp"
    """As `resources.distributed.type`."""
    stage: int = 0
    """0: every device has all; 1: optimizer state is divided; 2: gradients too; 3: weights too."""
    offloads_state: bool = False
    """Optimizer state lies in the host's memory."""
    offloads_weights: bool = False
    """Weights that are not being used do."""
    gathers_blocks: bool = False
    """Weights are whole a block at a time, in the compute dtype; else DeepSpeed's way."""
    keeps_gathered: bool = False
    """Once gathered they stay until the backward pass is over."""
    writes_in_place: bool = False
    """Checkpoints are written from where the state is, without a copy; the run waits."""
    loads_on_host: bool = False
    """A rank that loads the whole model does so in the host's memory; else on its device (loading.py)."""
    section: Mapping[str, object] = field(default_factory=dict)
    """What the job file says in `resources.distributed`."""

    def __str__(self) -> str:
        """For people, by the names of the job file."""
        name = f"{self.strategy} {self.stage}" if self.strategy == "zero" else self.strategy
        return f"{name}, offload" if self.offloads_state or self.offloads_weights else name

    @property
    def bucket_bytes(self) -> int:
        """Of buffers for messages."""
        return _BUCKET_BYTES if self.strategy == "zero" else 0


def sharding_of(section: DistributedSpec) -> Sharding:
    """What the job file asks for."""
    if isinstance(section, ZeroSpec):
        return Sharding(
            "zero",
            section.stage,
            offloads_state=section.offload_optimizer != "none",
            offloads_weights=section.offload_param != "none",
            section=section.model_dump(exclude_unset=True),
        )
    if isinstance(section, FsdpSpec):
        offloads = section.offload != "none"
        return Sharding(
            "fsdp",
            3,
            offloads_state=offloads,
            offloads_weights=offloads,
            gathers_blocks=True,
            keeps_gathered=not section.reshard_after_forward,
            writes_in_place=offloads,
            loads_on_host=True,
            section=section.model_dump(exclude_unset=True),
        )
    assert isinstance(section, DdpSpec)
    return ALONE


ALONE = Sharding()
"""Every device has all there is."""
CHOICES: tuple[DistributedSpec, ...] = (
    DdpSpec(),
    ZeroSpec(type="zero", stage=1),
    ZeroSpec(type="zero", stage=2),
    ZeroSpec(type="zero", stage=2, offload_optimizer="cpu"),
    FsdpSpec(type="fsdp"),
    FsdpSpec(type="fsdp", offload="cpu"),
)
"""What a plan chooses from, the one with least machinery first. Not stage 3 of ZeRO, which gathers up to a billion
parameters: FSDP needs less in every phase."""
