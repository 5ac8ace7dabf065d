"""How a training is laid out on its devices: what a plan chooses, and what it finds in the job file."""

from dataclasses import dataclass
from typing import Literal

from luthier.planning.sharding import ALONE, Sharding

Checkpointing = Literal["none", "selective", "full"]


@dataclass(frozen=True)
class Setting:
    """Devices, and what is computed and kept on each."""

    compute_bytes: int = 2
    """Of the compute dtype: 2 for bf16 and fp16, 4 for fp32."""
    device: Literal["cpu", "gpu"] = "cpu"
    num_devices: int = 1
    """Ranks, on all machines."""
    num_machines: int = 1
    sharding: Sharding = ALONE
    """How they share."""
    checkpointing: Checkpointing = "none"
    """As `training.gradient_checkpointing`."""

    @property
    def recomputed(self) -> float:
        """Part of the blocks that are computed again in the backward pass (workers/training/recompute.py)."""
        return {"none": 0.0, "selective": 0.5, "full": 1.0}[self.checkpointing]

    @property
    def num_local(self) -> int:
        """Ranks on one machine."""
        return -(-self.num_devices // self.num_machines)

    @property
    def on_cpu(self) -> bool:
        """Whether the process's own memory is what counts."""
        return self.device == "cpu"
