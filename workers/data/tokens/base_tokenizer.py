"""The tokenizer of a base model, for stages that need nothing else of it.

The imports are in the functions: they bring PyTorch, and whoever calls these by `call_apart` wants to be without it.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from luthier.settings import WorkerSettings
from luthier.spec import DistillationSpec, JobSpec


def tokenizer_of(spec: JobSpec, settings: WorkerSettings) -> PreTrainedTokenizerBase:
    """That of a job's base model, which a teacher is found to fit.

    Raises:
        ConfigError: the base model is not to be used, or a teacher has another vocabulary or cannot answer.
        DependencyError: no source has one of the models at the moment.
    """
    from workers.models import load_tokenizer, resolve_base_model, resolve_base_of
    from workers.models.teacher import check_teacher
    from workers.models.vocabulary import shared_vocabulary

    base = resolve_base_of(spec, settings)
    tokenizer = load_tokenizer(base)
    if isinstance(spec.objective, DistillationSpec):
        teacher = resolve_base_model(spec.objective.teacher, settings)
        check = check_teacher if spec.objective.level == "sequence" else shared_vocabulary
        check(base, teacher, spec.objective.teacher)
    return tokenizer


def tokenizer_named(
    name: str, settings: WorkerSettings, added_tokens: Sequence[str] = (), chat_template: str | None = None
) -> PreTrainedTokenizerBase:
    """That of a base model by its name; raises as `tokenizer_of` does."""
    from workers.models import load_tokenizer, resolve_base_model

    return load_tokenizer(resolve_base_model(name, settings, added_tokens, chat_template))
