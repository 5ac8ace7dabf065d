"""What is to be planned: a model, what the method makes of it, what a pass works on, and what is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from luthier.planning.losses import LOSSES, Loss
from luthier.planning.methods import Adaptation, UnknownMethodError, adapt, read_expert
from luthier.planning.shape import ModelShape, read_shape
from luthier.planning.sharding import CHOICES, Sharding, sharding_of
from luthier.planning.workload import DataFigures, Workload, workload_of
from luthier.spec import GrpoSpec, JobSpec, LoraSpec, ResourcesSpec, TrainingSpec
from luthier.spec.plan import lessons_stage


@dataclass(frozen=True)
class Question:
    """One job."""

    shape: ModelShape
    adaptation: Adaptation
    work: Workload
    """Of one pass with `rows` rows, one device."""
    training: TrainingSpec
    resources: ResourcesSpec
    loss: Loss
    choices: tuple[Sharding, ...]
    """Ways to share among devices that the job allows."""
    teacher: ModelShape | None = None
    """A model that is read before training; None: there is none, or its shape is not known."""
    longest_sample: int = 1
    """Tokens of the longest sample behind what all share: no pass is shorter."""
    reads_whole: bool = False
    """Whether every rank reads all of the base model, also where each keeps a part of it."""
    num_sampled: int = 0
    """Tokens of answers that are sampled at a time, with their prompts; 0: the job samples none."""

    @property
    def rows(self) -> int:
        """Of one forward pass as the job file has it."""
        return self.training.per_device_train_batch_size


def question_of(
    spec: JobSpec,
    config: Mapping[str, Any],
    data: DataFigures,
    teacher: Mapping[str, Any] | None = None,
    experts: Sequence[Mapping[str, Any]] = (),
) -> Question:
    """The question that `spec` asks.

    Args:
        spec: the job.
        config: config.json of its base model.
        data: what is known of its data.
        teacher: config.json of the model that `objective.type: distillation` learns from; None: not known.
        experts: adapter_config.json of each adapter that `method.type: xlora` mixes; empty: not known.

    Raises:
        UnknownModelError: there is no arithmetic for the model.
        UnknownMethodError: there is none for the method or the objective, or nothing is trained.
        InvalidRequestError: the job names layers that the model does not have.
    """
    if spec.merge is not None:
        raise UnknownMethodError("nothing is trained, and a merge needs little more than the base model in memory")
    if spec.objective.type not in LOSSES:
        raise UnknownMethodError(f"no arithmetic for objective.type {spec.objective.type!r} yet")
    shape = read_shape(config)
    work = workload_of(spec, data)
    return Question(
        shape=shape,
        adaptation=adapt(shape, spec.method, [read_expert(document) for document in experts]),
        work=work,
        training=spec.training,
        resources=spec.resources,
        loss=LOSSES["sft" if lessons_stage(spec) == "teach" else spec.objective.type],
        longest_sample=_longest_sample(spec, data, work),
        reads_whole=_reads_whole(spec),
        choices=_choices(spec),
        teacher=None if teacher is None else read_shape(teacher),
        num_sampled=work.row_tokens * work.accumulation if isinstance(spec.objective, GrpoSpec) else 0,
    )


def _longest_sample(spec: JobSpec, data: DataFigures, work: Workload) -> int:
    longest = min(spec.data.max_length, data.longest or spec.data.max_length)
    return spec.objective.num_documents * max(1, longest - work.num_shared)


def _reads_whole(spec: JobSpec) -> bool:
    """Where the method looks at the weights before they are divided (workers/training/stage.py)."""
    return isinstance(spec.method, LoraSpec) and spec.method.looks_at_weights


def _choices(spec: JobSpec) -> tuple[Sharding, ...]:
    """Those that the job file would be accepted with."""
    found = []
    document = spec.model_dump(mode="json")
    for section in CHOICES:
        document["resources"]["distributed"] = section.model_dump(mode="json")
        try:
            JobSpec.model_validate(document)
        except ValidationError:
            continue
        found.append(sharding_of(section))
    return tuple(found)
