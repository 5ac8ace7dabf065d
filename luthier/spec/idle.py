"""Fields that a job file sets and nothing reads: one table, for a warning before anything runs.

Where a new field made no sense from its first day, the sections refuse it. What stands here was accepted once, and
such a job file is accepted still. A field counts as set when it has another value than its default.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce

from luthier.spec.data import DataSpec
from luthier.spec.distributed import ZeroSpec
from luthier.spec.job import JobSpec
from luthier.spec.method import OftSpec, XloraSpec
from luthier.spec.objective import ClassificationSpec, DistillationSpec, GrpoSpec, SftSpec
from luthier.spec.training import BY_DIFFICULTY

_LOOK_AT_ANSWERS = {"exact_match", "token_f1", "json_valid"}
"""Metrics (workers/evaluation/metrics)."""


@dataclass(frozen=True)
class Idle:
    """One field and when it does nothing."""

    field: str
    """As in the job file, sections and all."""
    when: Callable[[JobSpec], bool]
    """Whether it does nothing in this job, set or not."""
    why: str
    """For people, with what to do where that is not to leave it out."""


def _is_set(job: JobSpec, field: str) -> bool:
    *path, name = field.split(".")
    section = reduce(getattr, path, job)
    default = type(section).model_fields[name].get_default(call_default_factory=True)
    return bool(getattr(section, name) != default)


def _mixes_by_one_layer(job: JobSpec) -> bool:
    return isinstance(job.method, XloraSpec) and job.method.xlora_depth == 1


def _leaves_teacher_out(job: JobSpec) -> bool:
    objective = job.objective
    return isinstance(objective, DistillationSpec) and objective.level == "logit" and objective.alpha == 0


def _answers_greedily(job: JobSpec) -> bool:
    objective = job.objective
    return isinstance(objective, DistillationSpec) and objective.level == "sequence" and objective.temperature == 0


def _is_grpo(job: JobSpec) -> bool:
    return isinstance(job.objective, GrpoSpec)


def _learns_once(job: JobSpec) -> bool:
    return isinstance(job.objective, GrpoSpec) and job.objective.num_iterations == 1


def _needs_no_validation(job: JobSpec) -> bool:
    """Nor does the evaluation, which looks at validation rows where there are none for a test."""
    has_test = job.data.test_path is not None or job.data.test_fraction > 0
    return _is_grpo(job) and has_test


def _says_more_than_its_type(job: JobSpec) -> bool:
    """But of `sft`, whose `train_on` says what the evaluation counts too."""
    names = type(job.objective).model_fields.keys() - {"type"}
    return not isinstance(job.objective, SftSpec) and any(_is_set(job, f"objective.{name}") for name in names)


def _draws_from_sources(data: DataSpec) -> bool:
    if data.mixing.strategy != "auto":
        return data.mixing.strategy != "concatenate"
    return any(source.weight is not None for source in data.sources or ())


def _looks_at_answers(job: JobSpec) -> bool:
    return not _LOOK_AT_ANSWERS.isdisjoint(job.evaluation.metrics)


IDLE = (
    # The loop.
    Idle("training.num_train_epochs", lambda job: job.training.max_steps is not None, "training.max_steps counts"),
    Idle("training.warmup_ratio", lambda job: job.training.warmup_steps is not None, "training.warmup_steps counts"),
    Idle(
        "data.curriculum",
        lambda job: job.training.order not in BY_DIFFICULTY,
        "no training.order goes by it but easy_first and hard_first",
    ),
    # Methods.
    Idle("method.eps", lambda job: isinstance(job.method, OftSpec) and not job.method.coft, "it is the bound of coft"),
    Idle(
        "method.num_cayley_neumann_terms",
        lambda job: isinstance(job.method, OftSpec) and not job.method.use_cayley_neumann,
        "use_cayley_neumann is off",
    ),
    Idle("method.xlora_size", _mixes_by_one_layer, "a network of xlora_depth 1 has no inner width"),
    Idle("method.xlora_dropout_p", _mixes_by_one_layer, "a network of xlora_depth 1 has no dropout"),
    # Objectives.
    Idle("objective.teacher", _leaves_teacher_out, "with alpha 0 the loss has no part of it"),
    Idle("objective.seed", _answers_greedily, "with temperature 0 nothing is drawn"),
    Idle("objective.top_k", _answers_greedily, "with temperature 0 nothing is drawn"),
    # TRL's loop.
    Idle("objective.epsilon", _learns_once, "with num_iterations 1 nothing is cut"),
    Idle("objective.epsilon_high", _learns_once, "with num_iterations 1 nothing is cut"),
    Idle("training.pack_length", _is_grpo, "objective.type grpo packs nothing"),
    Idle("data.validation_path", _needs_no_validation, "objective.type grpo has no validation loss"),
    Idle(
        "data.overlong",
        lambda job: _is_grpo(job) and job.data.overlong == "truncate",
        "objective.type grpo asks the whole prompt; take drop",
    ),
    # Ranks.
    Idle(
        "resources.distributed.nvme_path",
        lambda job: (
            isinstance(job.resources.distributed, ZeroSpec)
            and "nvme" not in (job.resources.distributed.offload_optimizer, job.resources.distributed.offload_param)
        ),
        "nothing goes to nvme; set offload_optimizer or offload_param to it",
    ),
    # A merge.
    Idle("resources.distributed", lambda job: job.merge is not None, "merge trains nothing"),
    Idle(
        "objective",
        lambda job: job.merge is not None and _says_more_than_its_type(job),
        "merge trains nothing, and of the objective only the type counts",
    ),
    *(
        Idle(f"data.{name}", lambda job: job.merge is not None, "merge trains nothing")
        for name in ("select", "balance", "augment")
    ),
    Idle(
        "merge.majority_sign",
        lambda job: job.merge is not None and "ties" not in job.merge.type,
        "no type elects a sign but ties and dare_ties",
    ),
    Idle(
        "merge.seed",
        lambda job: job.merge is not None and "dare" not in job.merge.type,
        "nothing is dropped at random but by dare_linear and dare_ties",
    ),
    # The data.
    Idle("data.validation_fraction", lambda job: job.data.validation_path is not None, "data.validation_path counts"),
    Idle("data.test_fraction", lambda job: job.data.test_path is not None, "data.test_path counts"),
    Idle(
        "data.split",
        lambda job: job.data.validation_path is not None and job.data.test_path is not None,
        "validation_path and test_path leave nothing to split",
    ),
    Idle(
        "data.mixing.stopping_strategy",
        lambda job: job.data.sources is not None and not _draws_from_sources(job.data),
        "sources are put one after the other; give them weights, or mixing.strategy",
    ),
    Idle(
        "data.pii.regions",
        lambda job: job.data.pii is not None and not {"phone", "national_id"} & set(job.data.pii.kinds),
        "only phone and national_id of kinds go by them",
    ),
    # What comes after.
    Idle(
        "evaluation.max_new_tokens",
        lambda job: not _looks_at_answers(job),
        "none of evaluation.metrics looks at answers",
    ),
    Idle(
        "evaluation.num_examples",
        lambda job: not _looks_at_answers(job) and not isinstance(job.objective, ClassificationSpec),
        "none of evaluation.metrics looks at answers",
    ),
    Idle(
        "evaluation.gate",
        lambda job: any(rule == type(rule)() for rule in job.evaluation.gate.values()),
        "a rule without min, max and better_than_base checks nothing",
    ),
    Idle("export.dtype", lambda job: "merged" not in job.export.formats, "export.formats has no merged"),
    Idle("export.parity.max_new_tokens", lambda job: job.objective.has_head, "a model with a head gives no answers"),
)
"""All of them."""


def idle_fields(job: JobSpec) -> Iterator[str]:
    """For each field that is set and does nothing, one line that says why."""
    for row in IDLE:
        if row.when(job) and _is_set(job, row.field):
            yield f"{row.field} does nothing here: {row.why}"
