"""`method` with `type: adalora`: low-rank updates whose ranks are shared out among the layers in training."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section
from luthier.spec.method.targets import TargetModules, describe_targets
from luthier.spec.training import TrainingSpec

_INIT_PART, _FINAL_PART = 0.1, 0.3


class AdaloraSpec(Section):
    """Adaptive budget allocation (Zhang et al., 2023, arXiv:2303.10512): an update is a product P E Q like that of a
    singular value decomposition, and the values that matter least to the loss are set to zero."""

    title: ClassVar[str] = "AdaLoRA"
    """For people."""
    makes_adapter: ClassVar[bool] = True
    """The result is an adapter beside the base model."""
    is_mergeable: ClassVar[bool] = True
    """It can be added to the weights."""
    default_learning_rate: ClassVar[float] = 1e-3
    """Of a job file that names none."""

    type: Literal["adalora"]
    """The method."""
    init_r: int = Field(default=12, ge=2, le=1024)
    """Rank of every update at the start; at most the smaller side of every layer that gets one."""
    target_r: int = Field(default=8, ge=1)
    """Mean rank of the updates at the end; below `init_r`."""
    lora_alpha: float = Field(default=32.0, gt=0)
    """The update is scaled by `lora_alpha / init_r`, whatever becomes of its rank."""
    lora_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout before the adapter."""
    target_modules: TargetModules = "all-linear"
    """Linear layers that get an adapter, as with `type: lora`."""
    tinit: int | None = Field(default=None, ge=0)
    """Optimizer steps before the first rank is taken away. Absent: a tenth of all."""
    tfinal: int | None = Field(default=None, ge=0)
    """Optimizer steps at the end in which the ranks stay. Absent: three tenths of all."""
    delta_t: int = Field(default=10, ge=1)
    """Optimizer steps from one allocation of ranks to the next."""
    beta1: float = Field(default=0.85, gt=0, lt=1)
    """How much of a weight's sensitivity is that of the steps before."""
    beta2: float = Field(default=0.85, gt=0, lt=1)
    """How much of a sensitivity's uncertainty is that of the steps before."""
    orth_reg_weight: float = Field(default=0.5, ge=0)
    """How strongly P and Q are drawn to orthogonal columns and rows. The reported loss is without this."""

    @model_validator(mode="after")
    def _there_is_something_to_take_away(self) -> Self:
        if self.target_r >= self.init_r:
            raise ValueError(
                f"target_r ({self.target_r}) must be below init_r ({self.init_r}): raise init_r, or take type: lora "
                f"with r: {self.target_r}"
            )
        return self

    def check_suits(self, training: TrainingSpec) -> None:
        """
        Raises:
            ValueError: an average of the weights would bring back what was taken away, or the run is too short.
        """
        if training.ema_decay is not None:
            raise ValueError(
                "method.type adalora sets singular values to zero, and the average of training.ema_decay would "
                "bring them back; leave ema_decay out"
            )
        if training.max_steps is not None:
            self.fixed_steps(training.max_steps)

    def fixed_steps(self, num_steps: int) -> tuple[int, int]:
        """Out of so many optimizer steps, how many are before the first rank is taken away, and after the last.

        Raises:
            ValueError: they leave none in which ranks could be taken away.
        """
        first = int(_INIT_PART * num_steps) if self.tinit is None else self.tinit
        last = int(_FINAL_PART * num_steps) if self.tfinal is None else self.tfinal
        if first >= num_steps - last:
            raise ValueError(
                f"method.tinit ({first}) and method.tfinal ({last}) leave none of the {num_steps} optimizer steps for "
                f"taking ranks away; lower them, or train longer"
            )
        return first, last

    def describe(self) -> str:
        """One line for people."""
        return (
            f"AdaLoRA on {describe_targets(self.target_modules)}, r = {self.init_r} down to {self.target_r} on "
            f"average, alpha = {self.lora_alpha:g}, dropout = {self.lora_dropout:g}"
        )
