"""`method` with `type: oft`: the inputs of frozen layers are rotated."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.method.targets import TargetModules, describe_targets


class OftSpec(Section):
    """Orthogonal fine-tuning (Qiu et al., 2023, arXiv:2306.07280): W R with R orthogonal and block-diagonal."""

    title: ClassVar[str] = "OFT"
    """For people."""
    makes_adapter: ClassVar[bool] = True
    """The result is an adapter beside the base model."""
    is_mergeable: ClassVar[bool] = True
    """The rotation can be multiplied into the weights."""
    default_learning_rate: ClassVar[float] = 2e-4
    """Of a job file that names none."""

    type: Literal["oft"]
    """The method."""
    oft_block_size: int = Field(default=32, ge=2, le=1024)
    """Side of the blocks of R. Divides the number of inputs of every layer that gets one."""
    target_modules: TargetModules = "all-linear"
    """Linear layers whose inputs are rotated, as with `type: lora`."""
    block_share: bool = False
    """All blocks of a layer are the same one."""
    coft: bool = False
    """Constrained: R stays close to where it starts."""
    eps: float = Field(default=6e-5, gt=0)
    """How far R may get, with `coft`."""
    use_cayley_neumann: bool = True
    """R comes from a short sum instead of from an inverse matrix: faster, and orthogonal only nearly."""
    num_cayley_neumann_terms: int = Field(default=5, ge=2, le=64)
    """Terms of that sum."""

    def describe(self) -> str:
        """One line for people."""
        shared = ", shared" if self.block_share else ""
        bound = f", constrained to {self.eps:g}" if self.coft else ""
        return f"OFT on {describe_targets(self.target_modules)}, blocks of {self.oft_block_size}{shared}{bound}"
