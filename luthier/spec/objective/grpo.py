"""`objective` with `type: grpo`: the model learns from what its own answers are worth."""

from typing import ClassVar, Literal

from pydantic import Field

from luthier.spec.base import Section
from luthier.spec.evaluation import MetricName
from luthier.spec.method import LoraSpec, MethodSpec
from luthier.spec.objective.rewards import RewardFunction, reward_names
from luthier.spec.resources import ResourcesSpec
from luthier.spec.training import TrainingSpec


class GrpoSpec(Section):
    """Group-relative policy optimisation (Shao et al., 2024, arXiv:2402.03300), run by TRL; see docs/grpo.md.

    Of every prompt the model samples a group of answers; those that are worth more than the group's mean become
    likelier. A forward pass has `training.per_device_train_batch_size` answers, `num_generations` unless set.
    """

    title: ClassVar[str] = "group-relative policy optimisation"
    """For people."""
    row_formats: ClassVar[tuple[str, ...]] = ("chat", "sharegpt", "prompt_completion", "prompt", "alpaca")
    """What `data.format` may be."""
    num_documents: ClassVar[int] = 1
    """Texts in a row, each of up to `data.max_length` tokens, that only mean something together."""
    metrics: ClassVar[tuple[MetricName, ...]] = ("perplexity", "exact_match", "token_f1")
    """Of a job file that names none."""
    learning_rate_ratio: ClassVar[float] = 0.05
    """Of the method's rate, in a job file that names none."""
    has_head: ClassVar[bool] = False
    """Whether the model gets a head that scores texts, in place of its output layer."""

    type: Literal["grpo"]
    """The objective."""
    rewards: list[RewardFunction] = Field(min_length=1, max_length=32)
    """What an answer is worth: the weighted sum of these."""
    num_generations: int = Field(default=8, ge=2, le=1024)
    """Answers to one prompt, which are compared with each other."""
    max_completion_length: int = Field(default=256, ge=1, le=131072)
    """Longest answer in tokens."""
    num_iterations: int = Field(default=1, ge=1, le=64)
    """Optimizer steps on the same answers."""
    beta: float = Field(default=0.0, ge=0)
    """How close the model is kept to the one that training starts from: weight of the divergence. With `method.type:
    full` any but 0 needs a second copy of the model."""
    epsilon: float = Field(default=0.2, gt=0)
    """How far the likelihood of a token may move from where it was when the answers were sampled, before its gradient
    is cut. Counts with `num_iterations` above 1."""
    epsilon_high: float | None = Field(default=None, gt=0)
    """The same upwards (DAPO, arXiv:2503.14476). Absent: as `epsilon`."""
    temperature: float = Field(default=1.0, gt=0, le=10)
    """Of the sampling."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Sample among the likeliest tokens that have this probability together."""
    top_k: int = Field(default=0, ge=0)
    """Sample among this many of the likeliest tokens; 0: among all."""
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "dapo"
    """What a token counts: `grpo`: each answer as much as any other; `bnpo`: each token of a forward pass; `dapo`: each
    token of the step; `dr_grpo`: divided by the longest possible answer (arXiv:2503.20783)."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """What differences of rewards are divided by: their standard deviation in the group, in the step, or nothing."""
    mask_truncated_completions: bool = False
    """Answers that reach `max_completion_length` count for nothing."""
    max_flat_steps: int = Field(default=20, ge=1)
    """After as many steps in a row in which all answers to every prompt got the same reward, the run ends: it learns
    nothing."""

    def check_suits(self, method: MethodSpec, training: TrainingSpec, resources: ResourcesSpec) -> None:
        """
        Raises:
            ValueError: another section asks for what TRL's loop does not do, or a step has no whole groups.
        """
        start = method.init_lora_weights if isinstance(method, LoraSpec) else "default"
        asked = {
            "method.type": (method.type, ("lora", "full")),
            "method.init_lora_weights": (start, ("default", "gaussian")),
            "method.added_tokens": (len(getattr(method, "added_tokens", [])) or None, (None,)),
            "training.packing": (training.packing, (False,)),
            "training.optim": (training.optim, ("adamw", "sgd", "lamb", "adafactor")),
            "training.order": (training.order, ("shuffled", "as_given")),
            "training.precision": (training.precision, ("auto", "bf16", "fp32")),
            "training.gradient_checkpointing": (training.gradient_checkpointing, ("none", "full")),
            "training.ema_decay": (training.ema_decay, (None,)),
            "training.eval_steps": (training.eval_steps, (None,)),
            "training.early_stopping_patience": (training.early_stopping_patience, (None,)),
            "resources.num_ranks": (resources.num_ranks, (1,)),
            "resources.num_workers": (resources.num_workers, (1,)),
            "resources.distributed.type": (resources.distributed.type, ("ddp",)),
        }
        for name, (value, fitting) in asked.items():
            if value not in fitting:
                remedy = " or ".join(str(one).lower() for one in fitting if one is not None)
                do = f"take {remedy}" if remedy else "leave it out"
                raise ValueError(f"objective.type grpo does not go with {name} {value}; {do}")
        answers = training.per_device_train_batch_size * training.gradient_accumulation_steps
        if answers % self.num_generations:
            raise ValueError(
                f"an optimizer step has {answers} answers (training.per_device_train_batch_size times "
                f"gradient_accumulation_steps), which is no multiple of objective.num_generations "
                f"({self.num_generations}); change one of them"
            )

    def describe(self) -> str:
        """One line for people."""
        names = reward_names(self.rewards)
        worth = ", ".join(f"{one.weight:g} {name}" for one, name in zip(self.rewards, names, strict=True))
        return (
            f"GRPO ({self.loss_type}) on {self.num_generations} answers per prompt of up to "
            f"{self.max_completion_length} tokens at temperature {self.temperature:g}, beta = {self.beta:g}, "
            f"rewards: {worth}"
        )
