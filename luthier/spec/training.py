"""`training`: the loop. Names follow Hugging Face's TrainingArguments."""

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from luthier.spec.base import Section

Precision = Literal["auto", "bf16", "fp16", "fp32"]
OptimizerName = Literal["adamw", "sgd", "lamb", "adafactor", "adamw_8bit", "paged_adamw_8bit"]
BY_DIFFICULTY = ("easy_first", "hard_first")
"""Values of `order` that go by `data.curriculum`."""
_ADAM = ("adamw", "lamb", "adamw_8bit", "paged_adamw_8bit")
_READ_ONLY_WITH: dict[str, tuple[str, tuple[str, ...]]] = {
    "adam_beta1": ("optim", _ADAM),
    "adam_beta2": ("optim", _ADAM),
    "adam_epsilon": ("optim", _ADAM),
    "sgd_momentum": ("optim", ("sgd",)),
    "wsd_decay_ratio": ("lr_scheduler_type", ("wsd",)),
}
"""Fields that mean nothing unless another one has one of these values."""


class TrainingSpec(Section):
    """How long, how fast, how often to look."""

    learning_rate: float = Field(default=2e-4, gt=0, le=1.0)
    """Peak of the schedule. 2e-5 instead with `method.type: full`."""
    lr_scheduler_type: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """Shape after the warm-up; all but `constant` end at zero. `wsd` stays at the peak, then falls in a line."""
    warmup_ratio: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Part of all steps in which the rate rises from zero."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """The same in steps; overrides `warmup_ratio`."""
    wsd_decay_ratio: float = Field(default=0.1, gt=0.0, le=1.0)
    """Part of all steps, the last ones, in which `wsd` falls."""
    min_lr_ratio: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Part of the peak that the rate ends at, instead of zero."""
    num_train_epochs: float = Field(default=3.0, gt=0, le=1000)
    """Passes over the training split."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; overrides `num_train_epochs`."""
    packing: bool = True
    """Put several examples into one row, without attention between them."""
    pack_length: int = Field(default=1024, ge=8, le=131072)
    """Tokens in a packed row; at least `data.max_length`."""
    order: Literal["shuffled", "as_given", "short_first", "easy_first", "hard_first"] = "shuffled"
    """Of the examples within an epoch. `as_given`: that of the training split, for a curriculum of one's own.
    `short_first`: by length; `easy_first`, `hard_first`: by `data.curriculum`; equal ones are shuffled. All but
    `shuffled` fill packs less tightly, in that order."""
    per_device_train_batch_size: int = Field(default=1, ge=1)
    """Rows (packed, or examples without packing) in one forward pass."""
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """Forward passes in one optimizer step."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this global L2 norm."""
    spike_factor: float | None = Field(default=20.0, gt=1)
    """A step is skipped when its gradient norm is this many times the median of the last 64 and above `max_grad_norm`,
    or when it or the loss is not finite. null: only then."""
    max_skipped_steps: int = Field(default=5, ge=1)
    """With as many skipped in a row, the run ends as DIVERGED."""
    optim: OptimizerName = "adamw"
    """Bytes of state per trained parameter: `adamw` and `lamb` 8, `sgd` 4 (0 without momentum), `adamw_8bit` 2,
    `adafactor` nearly 0. `paged_adamw_8bit` needs a GPU. `lamb` (arXiv:1904.00962) is for full fine-tuning in large
    batches, at 10 to 100 times AdamW's rate; with `adafactor` (arXiv:1804.04235) the rate is relative to the weights;
    `sgd` needs a rate of its own too."""
    weight_decay: float = Field(default=0.0, ge=0, lt=1)
    """Of matrices, embeddings included; never of biases and scales. Decoupled (Loshchilov & Hutter, 2017,
    arXiv:1711.05101), but with `sgd`, where it is added to the gradient."""
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the first moment, of AdamW and LAMB."""
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the second moment, of AdamW and LAMB."""
    adam_epsilon: float = Field(default=1e-8, gt=0, le=1e-2)
    """Added to the denominator of AdamW and LAMB."""
    sgd_momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of `sgd`."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Validate and keep the exponential moving average of the trained weights; this much of it stays in each step, less
    in the first ones. 4 bytes more per trained parameter."""
    precision: Precision = "auto"
    """Of the matrix products and of frozen weights. `auto` measures which is faster, and takes `fp16`, which needs a
    scaled loss, only where bf16 is slower than fp32. Trained weights stay fp32."""
    gradient_checkpointing: Literal["none", "selective", "full"] = "none"
    """Compute activations again in the backward pass instead of keeping them: less memory, more time. `full`: of every
    layer; `selective`: of every second one."""
    eval_steps: int | None = Field(default=None, ge=1)
    """Steps between two validation losses. Absent: ten over the run."""
    save_steps: int | None = Field(default=None, ge=1)
    """Steps between two checkpoints. Absent: with every validation."""
    save_total_limit: int = Field(default=2, ge=2)
    """Checkpoints kept; older ones are removed, the best one never."""
    early_stopping_patience: int | None = Field(default=None, ge=1)
    """Stop after this many validations without a better loss."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Of an adapter's initial weights, dropout and the order of the rows."""

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        if self.warmup_steps and self.max_steps and self.warmup_steps >= self.max_steps:
            raise ValueError(f"warmup_steps ({self.warmup_steps}) must be fewer than max_steps ({self.max_steps})")
        if self.warmup_steps is None and self.max_steps and self.num_warmup_steps(self.max_steps) >= self.max_steps > 1:
            raise ValueError(
                f"warmup_ratio ({self.warmup_ratio}) leaves none of max_steps ({self.max_steps}) at the peak; lower it"
            )
        if self.lr_scheduler_type == "wsd" and self._warmup_part + self.wsd_decay_ratio > 1.0:
            raise ValueError("the warm-up and wsd_decay_ratio are more than the whole run; lower one of them")
        if self.min_lr_ratio and self.lr_scheduler_type == "constant":
            raise ValueError("min_lr_ratio has no use with lr_scheduler_type: constant, which never falls")
        return self

    @model_validator(mode="after")
    def _every_setting_is_read(self) -> Self:
        for name, (switch, users) in _READ_ONLY_WITH.items():
            is_set = getattr(self, name) != type(self).model_fields[name].default
            if is_set and getattr(self, switch) not in users:
                raise ValueError(
                    f"{name} has no use with {switch}: {getattr(self, switch)}; leave it out, or set {switch} to "
                    f"{' or '.join(users)}"
                )
        return self

    def num_warmup_steps(self, num_steps: int) -> int:
        """Optimizer steps, out of so many, in which the rate rises."""
        return math.ceil(self.warmup_ratio * num_steps) if self.warmup_steps is None else self.warmup_steps

    @property
    def _warmup_part(self) -> float:
        """Part of the run, as far as the job file alone can tell."""
        if self.warmup_steps is None:
            return self.warmup_ratio
        return self.warmup_steps / self.max_steps if self.max_steps else 0.0
