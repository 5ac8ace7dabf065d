"""The root of the job file."""

from typing import Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from luthier.spec.base import Section
from luthier.spec.data import DataSpec
from luthier.spec.deploy import DeploySpec
from luthier.spec.evaluation import EvaluationSpec
from luthier.spec.export import ExportSpec
from luthier.spec.merge import MergeSpec
from luthier.spec.method import (
    AdaloraSpec,
    BottleneckSpec,
    CustomSpec,
    FullSpec,
    LoraSpec,
    MethodSpec,
    PrefixTuningSpec,
    QloraSpec,
    SpielSpec,
    XloraSpec,
)
from luthier.spec.objective import ClassificationSpec, DistillationSpec, GrpoSpec, ObjectiveSpec, SftSpec
from luthier.spec.objective.classification import CLASS_METRICS
from luthier.spec.resources import ResourcesSpec
from luthier.spec.training import BY_DIFFICULTY, TrainingSpec


class JobSpec(Section):
    """One fine-tuning job: dataset and base model in, evaluated and served model out."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Name of the job, its model and its deployment."""
    base_model: str = Field(min_length=1, max_length=512)
    """A name of the catalogue, a hub id (`org/name` or `org/name@revision`), or a directory."""
    data: DataSpec
    """What to train on."""
    merge: MergeSpec | None = None
    """Adapters to make the model of. Absent: it is trained, as the next three sections say."""
    method: MethodSpec = LoraSpec()
    """Which weights are trained."""
    objective: ObjectiveSpec = SftSpec()
    """What the model learns from a row."""
    training: TrainingSpec = Field(default=TrainingSpec(), validate_default=True)
    """The loop."""
    evaluation: EvaluationSpec = Field(default=EvaluationSpec(), validate_default=True)
    """Base against tuned, and the gate."""
    export: ExportSpec = Field(default=ExportSpec(), validate_default=True)
    """Formats and parity proof."""
    deploy: DeploySpec | None = None
    """Where it is served. Absent: not deployed."""
    resources: ResourcesSpec = ResourcesSpec()
    """Workers and tries."""

    @property
    def added_tokens(self) -> list[str]:
        """Strings that become one token each, which the base model does not know."""
        return self.method.added_tokens if isinstance(self.method, LoraSpec | QloraSpec | FullSpec) else []

    @property
    def has_own_tokenizer(self) -> bool:
        """Whether the tokenizer is not that of the base model."""
        return bool(self.added_tokens or self.data.chat_template)

    @field_validator("data")
    @classmethod
    def _base_writes_for_itself(cls, data: DataSpec, info: ValidationInfo) -> DataSpec:
        writer = None if data.augment is None else data.augment.writer
        own = info.data.get("base_model")
        if data.augment is None or writer is None or writer.endpoint or writer.model != "base" or own is None:
            return data
        writer = writer.model_copy(update={"model": own})
        return data.model_copy(update={"augment": data.augment.model_copy(update={"writer": writer})})

    @field_validator("training")
    @classmethod
    def _what_suits_the_other_sections(cls, training: TrainingSpec, info: ValidationInfo) -> TrainingSpec:
        data, method, objective = (info.data.get(name) for name in ("data", "method", "objective"))
        if data is None or method is None or objective is None or info.data.get("merge") is not None:
            return training
        fitting = {"learning_rate": method.default_learning_rate * objective.learning_rate_ratio}
        if objective.num_documents > 1:
            fitting["pack_length"] = max(training.pack_length, objective.num_documents * data.max_length)
        if isinstance(objective, GrpoSpec):
            fitting |= {"per_device_train_batch_size": objective.num_generations, "packing": False}
        return training.model_copy(
            update={name: value for name, value in fitting.items() if name not in training.model_fields_set}
        )

    @field_validator("evaluation")
    @classmethod
    def _metrics_of_the_objective(cls, evaluation: EvaluationSpec, info: ValidationInfo) -> EvaluationSpec:
        objective = info.data.get("objective")
        if objective is None or "metrics" in evaluation.model_fields_set:
            return evaluation
        return evaluation.model_copy(update={"metrics": list(objective.metrics)})

    @field_validator("export")
    @classmethod
    def _formats_of_the_method(cls, export: ExportSpec, info: ValidationInfo) -> ExportSpec:
        method = info.data.get("method")
        if method is None:
            return export
        merge = info.data.get("merge")
        reasons = _no_formats(method) if merge is None else _no_formats_of_merge(merge)
        objective = info.data.get("objective")
        if objective is not None and objective.has_head:
            reasons |= dict.fromkeys(("adapter", "triton"), "a model with a head is exported as peft and merged alone")
        impossible = [name for name in export.formats if name in reasons]
        if impossible and "formats" in export.model_fields_set:
            name = impossible[0]
            raise ValueError(f"formats has {name!r}, and {reasons[name]}; leave {name!r} out")
        return export.model_copy(update={"formats": [name for name in export.formats if name not in reasons]})

    @model_validator(mode="after")
    def _a_merge_trains_nothing(self) -> Self:
        if self.merge is None:
            return self
        idle = {
            "method": self.method != LoraSpec(),
            "training": self.training.model_copy(update={"precision": "auto"}) != TrainingSpec(),
            f"objective.type {self.objective.type}": self.objective.has_head,
            "resources.num_ranks": self.resources.num_ranks != 1,
            "resources.num_workers": self.resources.num_workers != 1,
        }
        for name, is_given in idle.items():
            if is_given:
                raise ValueError(
                    f"merge makes the model of adapters that are there and trains nothing; leave {name} out "
                    "(training.precision alone counts, for the evaluation)"
                )
        return self

    @model_validator(mode="after")
    def _rows_say_how_difficult_they_are(self) -> Self:
        if self.training.order in BY_DIFFICULTY and self.data.curriculum is None:
            raise ValueError(
                f"training.order: {self.training.order} goes by data.curriculum, which is absent; name the column "
                "there, or take short_first, which goes by length"
            )
        return self

    @model_validator(mode="after")
    def _trl_does_what_is_asked(self) -> Self:
        if isinstance(self.objective, GrpoSpec):
            self.objective.check_suits(self.method, self.training, self.resources)
        return self

    @model_validator(mode="after")
    def _state_can_be_divided(self) -> Self:
        strategy = self.resources.distributed
        if not strategy.divides_state:
            return self
        asked = {
            "method.type": (self.method.type, ("lora", "full")),
            "training.optim": (self.training.optim, ("adamw",)),
            "training.precision": (self.training.precision, ("auto", "bf16", "fp32")),
            "training.ema_decay": (self.training.ema_decay, (None,)),
        }
        for name, (value, fitting) in asked.items():
            if value not in fitting:
                remedy = " or ".join(one or "null" for one in fitting)
                raise ValueError(
                    f"resources.distributed.type {strategy.type} divides the trained state, which {name} {value} does "
                    f"not allow; take {remedy}, or resources.distributed.type: ddp"
                )
        return self

    @model_validator(mode="after")
    def _training_suits_the_method(self) -> Self:
        strategy = self.resources.distributed
        if isinstance(self.method, LoraSpec) and self.method.borrows_start and strategy.divides_state:
            raise ValueError(
                f"method.init_lora_weights {self.method.init_lora_weights} changes frozen weights, which "
                f"resources.distributed.type {strategy.type} divides; take default, gaussian, or ddp"
            )
        if isinstance(self.method, AdaloraSpec | PrefixTuningSpec):
            self.method.check_suits(self.training)
        if isinstance(self.method, SpielSpec):
            self.method.check_suits(self.training, self.resources.most_ranks)
        return self

    @model_validator(mode="after")
    def _optimizer_fits_the_workers(self) -> Self:
        if self.training.optim == "paged_adamw_8bit" and self.resources.worker_class == "cpu":
            raise ValueError(
                "training.optim paged_adamw_8bit moves a GPU's memory to the host's; take adamw_8bit, "
                "or resources.worker_class: gpu"
            )
        return self

    @model_validator(mode="after")
    def _the_adapter_carries_the_head(self) -> Self:
        carries = self.method.is_mergeable or (self.method.makes_adapter and not isinstance(self.method, XloraSpec))
        if self.objective.has_head and not carries:
            raise ValueError(
                f"objective.type {self.objective.type} gives the model a head, which the adapter of method.type "
                f"{self.method.type} cannot carry; take type: lora or full"
            )
        return self

    @model_validator(mode="after")
    def _a_row_is_balanced_by_one_class(self) -> Self:
        has_sets = isinstance(self.objective, ClassificationSpec) and self.objective.multi_label
        if has_sets and self.data.balance is not None:
            raise ValueError(
                "data.balance repeats or leaves out whole rows for the sake of one class, and with "
                "objective.multi_label a row counts for others as well; leave it out and set objective.class_weights: "
                "balanced, or data.select.max_per_class"
            )
        return self

    @model_validator(mode="after")
    def _sources_suit_the_objective(self) -> Self:
        for source in self.data.sources or []:
            which = f"of source {source.name!r}"
            if source.objective is not None and self.objective.type not in ("sft", "pretrain"):
                raise ValueError(
                    f"data.sources: the objective {which} is {source.objective}, which cannot be learned in one run "
                    f"with objective.type {self.objective.type}; leave it out, or train one after the other"
                )
            if source.format not in (None, "auto", *self.objective.row_formats):
                raise ValueError(
                    f"data.sources: the format {which} is {source.format}, which is not what objective.type "
                    f"{self.objective.type} learns from; {_remedy_of_rows(self.objective, source.format)}"
                )
            if source.overlong == "split" and (source.objective or self.objective.type) != "pretrain":
                raise ValueError(
                    f"data.sources: overlong {which} is split, which would tear its rows apart; set it to drop or "
                    "truncate, or its objective to pretrain"
                )
        return self

    @model_validator(mode="after")
    def _the_teacher_knows_something_else(self) -> Self:
        objective = self.objective
        if (
            isinstance(objective, DistillationSpec)
            and objective.level == "sequence"
            and objective.teacher == self.base_model
        ):
            raise ValueError(
                "objective.teacher is base_model itself, which has nothing to learn from its own answers; name another "
                "model"
            )
        return self

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        longest = self.objective.num_documents * self.data.max_length
        if self.merge is None and self.training.packing and self.training.pack_length < longest:
            times = f"{self.objective.num_documents} times " if self.objective.num_documents > 1 else ""
            raise ValueError(
                f"training.pack_length ({self.training.pack_length}) is smaller than {times}data.max_length "
                f"({self.data.max_length}); raise it or set training.packing: false"
            )
        if self.data.format not in ("auto", *self.objective.row_formats):
            raise ValueError(
                f"data.format {self.data.format} is not what objective.type {self.objective.type} learns from; "
                f"{_remedy_of_rows(self.objective, self.data.format)}"
            )
        if self.data.overlong == "split" and self.objective.type != "pretrain":
            raise ValueError(
                f"data.overlong is split, which would tear the rows of objective.type {self.objective.type} apart; "
                "set it to drop or truncate, or objective.type: pretrain"
            )
        if "triton" in self.export.formats and "merged" not in self.export.formats:
            raise ValueError("export.formats has 'triton' without 'merged'; add 'merged'")
        if self.deploy is not None and "triton" not in self.export.formats:
            remedy = "add it or leave deploy out"
            if self.objective.has_head:
                remedy = "a model with a head cannot be served yet, so leave deploy out"
            if not self.method.is_mergeable:
                remedy = f"method.type {self.method.type} cannot be merged into a plain model, so leave deploy out"
            raise ValueError(f"deploy needs 'triton' in export.formats; {remedy}")
        own = self.objective.metrics
        unsuitable = [
            name
            for name in self.evaluation.metrics
            if (name not in own if self.objective.has_head else name in CLASS_METRICS)
        ]
        if unsuitable:
            raise ValueError(
                f"evaluation.metrics has {unsuitable[0]}, which does not suit objective.type {self.objective.type}; "
                f"it has {', '.join(self.objective.metrics)}"
            )
        unmeasured = sorted(set(self.evaluation.gate) - set(self.evaluation.metrics))
        if unmeasured:
            raise ValueError(f"evaluation.gate names {unmeasured}, which evaluation.metrics does not measure")
        return self


def _remedy_of_rows(objective: ObjectiveSpec, row_format: str | None) -> str:
    """What to do about rows of a format that `objective` does not learn from."""
    key = objective.key_for(row_format) if isinstance(objective, ClassificationSpec) else "objective.type"
    return f"set it to {' or '.join(objective.row_formats)}, or change {key}"


def _no_formats(method: MethodSpec) -> dict[str, str]:
    """Export formats that what `method` leaves does not have, each with the reason."""
    who = f"method.type {method.type}"
    reasons: dict[str, str] = {}
    if not method.makes_adapter:
        reasons["peft"] = f"{who} makes no adapter that PEFT knows"
    if not isinstance(method, BottleneckSpec | CustomSpec):
        reasons["adapter"] = f"{who} makes no adapter of a kind of our own"
    if not method.is_mergeable:
        reasons |= dict.fromkeys(("merged", "triton"), f"{who} cannot be merged into a plain model")
    return reasons


def _no_formats_of_merge(merge: MergeSpec) -> dict[str, str]:
    reasons = {"adapter": "what merge makes is no adapter of a kind of our own"}
    if not merge.makes_adapter:
        reasons["peft"] = f"merge.output {merge.output} leaves no adapter"
    return reasons
