"""Stage kind `preprocess`: the rows named in the job file become a dataset artifact."""

from luthier.spec import DistillationSpec, GrpoSpec
from workers.data.outcome import Outcome
from workers.data.pipeline import preprocess
from workers.data.places import Remote
from workers.data.report import write_report
from workers.failures import DataError
from workers.models import load_tokenizer, resolve_base_model, resolve_base_of
from workers.models.teacher import check_teacher
from workers.models.vocabulary import shared_vocabulary
from workers.task import Report, StageResult, Task


def run(task: Task, report: Report) -> StageResult:
    """Reads, checks, deduplicates, splits and tokenises; writes the splits and the report.

    Raises:
        ConfigError: a path or the base model is not to be used, the tokenizer does not fit the rows, or a teacher has
            another vocabulary or cannot answer.
        DataError: the files cannot be used, or nothing is left to train on.
        DependencyError: a place of rows does not answer.
        PreemptedError: the worker drains.
    """
    spec = task.spec.data
    report.progress(0, 0, "getting the tokenizer")
    base = resolve_base_of(task.spec, task.settings)
    tokenizer = load_tokenizer(base)
    objective = task.spec.objective
    if isinstance(objective, DistillationSpec):
        teacher = resolve_base_model(objective.teacher, task.settings)
        check = check_teacher if objective.level == "sequence" else shared_vocabulary
        check(base, teacher, objective.teacher)
    output = task.new_dir("output")
    outcome = preprocess(spec, tokenizer, output, task.check_readable, report, objective, Remote.of(task.settings))
    if isinstance(objective, GrpoSpec):
        _check_answers(outcome)
    document = write_report(outcome, spec, tokenizer, output)
    train = outcome.splits["train"]
    return StageResult(
        folder=output,
        metrics={
            "num_train_rows": train.num_rows,
            "num_trainable_tokens": train.num_trainable_tokens,
            "num_dropped_rows": document["num_dropped"],
        },
        result={
            "num_rows": {name: statistics.num_rows for name, statistics in outcome.splits.items()},
            "num_trainable_tokens": train.num_trainable_tokens,
            "num_tokens": int(train.lengths.sum()),
            "num_rows_read": outcome.num_rows,
            "num_dropped": {entry["reason"]: entry["count"] for entry in document["dropped"]},
            "num_truncated": document["num_truncated"],
            "mixture": document["mixture"],
            "sources": {file.uri: f"sha256:{file.sha256}" for file in outcome.files},
            "warnings": document["warnings"],
        },
    )


def _check_answers(outcome: Outcome) -> None:
    """Prompts alone are enough to learn from rewards, and not to evaluate what was learned.

    Raises:
        DataError: there are held-out rows, and none of them has an answer.
    """
    held_out = [outcome.splits["test"], outcome.splits["validation"]]
    if any(split.num_rows for split in held_out) and not any(split.num_trainable_tokens for split in held_out):
        raise DataError(
            "no held-out row has an answer, so there is nothing to evaluate the model by; give data.test_path with "
            "rows of prompt and completion, or say by data.columns which column has the answer: {completion: solution}"
        )
