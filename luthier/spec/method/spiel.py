"""`method` with `type: spiel`: a few weights of every layer are changed, and which ones is found in training."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section
from luthier.spec.method.targets import TargetModules, describe_targets
from luthier.spec.training import TrainingSpec

_OPTIMIZERS = ("adamw", "sgd")
"""Those for which a change is on its own: no other change of the layer, nor a scale that they share, matters to it."""


class SpielSpec(Section):
    """Sparse fine-tuning by iterative change (Ansell et al., 2024, arXiv:2401.16405).

    The result is a SHiRA adapter of PEFT: positions in the base model's matrices, and what is added there.
    """

    title: ClassVar[str] = "sparse fine-tuning"
    """For people."""
    makes_adapter: ClassVar[bool] = True
    """Whether the result is an adapter beside the base model, so that there is something to export as `peft`."""
    is_mergeable: ClassVar[bool] = True
    """Whether what was trained can become a plain model, for the export formats `merged` and `triton`."""
    default_learning_rate: ClassVar[float] = 1e-4
    """Of a job file that names none: the changes are as small as those of full fine-tuning, so a tenth of what suits
    other adapters."""

    type: Literal["spiel"]
    """The method."""
    r: int = Field(default=16, ge=1, le=1024)
    """How many weights of a layer are changed: `r` times the sum of its inputs and outputs, which is what LoRA trains
    with that rank; their rank is not bounded by it."""
    target_modules: TargetModules = "all-linear"
    """Linear layers in which weights are changed, as with `type: lora`."""
    selection: Literal["accumulated_gradient", "momentum"] = "accumulated_gradient"
    """By what new weights are found: their gradient over some steps (SpIEL-AG), or an estimate from the gradients of
    their row and column (SpIEL-MA), which is cheaper and works with several ranks and with fp16."""
    update_steps: int = Field(default=20, ge=1)
    """Optimizer steps from one choice of weights to the next."""
    gradient_steps: int = Field(default=5, ge=1)
    """How many of them, the first ones, the gradient is watched for before the choice is made; at most
    `update_steps`."""
    replaced_part: float = Field(default=0.2, gt=0, le=1)
    """Part of a layer's changes that a choice takes back and replaces; falls in a line to 0 at the end of training. The
    very first choice may replace all."""

    @model_validator(mode="after")
    def _watches_no_longer_than_it_waits(self) -> Self:
        if self.gradient_steps > self.update_steps:
            raise ValueError(
                f"gradient_steps ({self.gradient_steps}) must be at most update_steps ({self.update_steps}): lower it "
                f"or raise update_steps"
            )
        return self

    def check_suits(self, training: TrainingSpec, num_ranks: int) -> None:
        """
        Raises:
            ValueError: the optimizer, the average of the weights, or several ranks cannot follow when weights change
                their place.
        """
        if training.optim not in _OPTIMIZERS:
            raise ValueError(
                f"training.optim {training.optim} looks at the trained values of a layer together, and method.type "
                f"spiel exchanges some of them; take {' or '.join(_OPTIMIZERS)}"
            )
        if training.ema_decay is not None:
            raise ValueError(
                "method.type spiel changes other weights from time to time, whose average would mean nothing; leave "
                "training.ema_decay out"
            )
        if self.selection != "accumulated_gradient":
            return
        if num_ranks > 1:
            raise ValueError(
                f"method.selection accumulated_gradient looks at gradients before the {num_ranks} ranks add theirs up; "
                "take momentum, or one rank on one worker"
            )
        if training.precision == "fp16":
            raise ValueError(
                "method.selection accumulated_gradient adds up gradients over steps, which fp16 scales differently "
                "each time; take momentum, or training.precision: bf16"
            )

    def describe(self) -> str:
        """One line for people."""
        by = {"accumulated_gradient": "accumulated gradient", "momentum": "estimated momentum"}
        return (
            f"sparse fine-tuning (SpIEL) of {describe_targets(self.target_modules)}, as many weights as LoRA has with "
            f"r = {self.r}, chosen by {by[self.selection]} every {self.update_steps} steps"
        )
