"""What the numbers of a run depend on besides its state: kept with every checkpoint, compared when it is taken up."""

from dataclasses import asdict, dataclass, fields
from typing import Any

import torch


@dataclass(frozen=True)
class Environment:
    """Equal environments compute equal bits on a CPU; others only nearly so."""

    compute: str
    """dtype of the matrix products, such as `float32`."""
    torch: str
    """Version of PyTorch."""
    device: str
    """Kind of the device: the CPU's vector instructions, or the accelerator's name."""
    num_threads: int
    """Threads of one operation on the CPU; sums are split among them."""
    num_ranks: int = 1
    """Processes that a step is dealt to."""

    def to_json(self) -> dict[str, Any]:
        """JSON values only."""
        return asdict(self)

    def differences(self, other: "Environment") -> list[str]:
        """One phrase for each thing that is otherwise in `other`."""
        pairs = [(field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return [f"{name} {ours} instead of {theirs}" for name, ours, theirs in pairs if ours != theirs]


def current_environment(compute: torch.dtype, device: torch.device, num_ranks: int = 1) -> Environment:
    """That of this process, one of `num_ranks`."""
    cuda = device.type == "cuda"
    return Environment(
        compute=str(compute).removeprefix("torch."),
        torch=str(torch.__version__),
        device=torch.cuda.get_device_name(device) if cuda else f"cpu {torch.backends.cpu.get_cpu_capability()}",
        num_threads=torch.get_num_threads(),
        num_ranks=num_ranks,
    )
