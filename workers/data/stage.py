"""Stage kind `preprocess`: the rows named in the job file become a dataset artifact, or are found to be one already."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from luthier.artifacts import ArtifactRef
from luthier.spec import GrpoSpec, ObjectiveSpec
from workers.apart import call_apart
from workers.data.augment import writers_of
from workers.data.engine import use_engine
from workers.data.inputs import find_inputs
from workers.data.lineage.versions import DatasetStore
from workers.data.pipeline import process
from workers.data.places import Remote
from workers.data.report import load_report, write_report
from workers.data.tokens.base_tokenizer import tokenizer_of
from workers.failures import DataError
from workers.task import Report, StageResult, Task


def run(task: Task, report: Report) -> StageResult:
    """Reads, checks, deduplicates, splits and tokenises; writes the splits and the report.

    A dataset of the same version that the project has already is used as it is.

    Raises:
        ConfigError: a path or the base model is not to be used, the tokenizer does not fit the rows, or a teacher has
            another vocabulary or cannot answer.
        DataError: the files cannot be used, or nothing is left to train on.
        DependencyError: a place of rows does not answer.
        PreemptedError: the worker drains.
    """
    spec = task.spec.data
    report.progress(0, 0, "getting the tokenizer")
    tokenizer = call_apart(tokenizer_of, task.spec, task.settings)
    objective = task.spec.objective
    store = DatasetStore.of(task)
    remote = Remote.of(task.settings)
    with find_inputs(spec, objective, tokenizer, task.check_readable, remote, task.work_dir, report) as inputs:
        stored = None if store is None else store.find(inputs.version)
        if stored is not None:
            report.progress(1, 1, f"reused dataset {inputs.version}: nothing that it is made of has changed")
            return _result(load_report(stored.folder), objective, artifact=stored.ref, is_reused=True)
        use_engine(spec.engine, task.settings.ray_address, task.work_dir)
        output = task.new_dir("output")
        outcome = process(spec, inputs, tokenizer, output, task.check_readable, report, writers_of(task, report))
    document = write_report(outcome, spec, tokenizer, output)
    if store is None:
        return _result(document, objective, folder=output)
    return _result(document, objective, artifact=store.keep(output, outcome.version))


def _result(
    document: Mapping[str, Any],
    objective: ObjectiveSpec,
    *,
    folder: Path | None = None,
    artifact: ArtifactRef | None = None,
    is_reused: bool = False,
) -> StageResult:
    """What report.json says of a dataset in `folder`, or of one in the store."""
    splits = document["splits"]
    if isinstance(objective, GrpoSpec):
        _check_answers(splits)
    trained_on = _trained_on(document)
    return StageResult(
        folder=folder,
        artifact=artifact,
        metrics={
            "num_train_rows": splits["train"]["num_rows"],
            **trained_on,
            "num_dropped_rows": document["num_dropped"],
        },
        result={
            "dataset_version": document["dataset_version"],
            "is_reused": is_reused,
            "num_rows": {name: split["num_rows"] for name, split in splits.items()},
            **trained_on,
            "num_tokens": splits["train"]["num_tokens"],
            "num_rows_read": document["num_rows_read"],
            "num_dropped": {entry["reason"]: entry["count"] for entry in document["dropped"]},
            "num_truncated": document["num_truncated"],
            "mixture": document["mixture"],
            "sources": {source["path"]: f"sha256:{source['sha256']}" for source in document["sources"]},
            "warnings": document["warnings"],
        },
    )


def _trained_on(document: Mapping[str, Any]) -> dict[str, int]:
    """What the loss counts in an epoch; of rows with a label it counts no token, but reads them all."""
    train = document["splits"]["train"]
    if document["trained_on"] == "labels":
        return {"num_labelled_rows": train["num_rows"], "num_attended_tokens": train["num_tokens"]}
    return {"num_trainable_tokens": train["num_trainable_tokens"]}


def _check_answers(splits: Mapping[str, Mapping[str, Any]]) -> None:
    """Prompts alone are enough to learn from rewards, and not to evaluate what was learned.

    Raises:
        DataError: there are held-out rows, and none of them has an answer.
    """
    held_out = [splits["test"], splits["validation"]]
    if any(split["num_rows"] for split in held_out) and not any(split["num_trainable_tokens"] for split in held_out):
        raise DataError(
            "no held-out row has an answer, so there is nothing to evaluate the model by; give data.test_path with "
            "rows of prompt and completion, or say by data.columns which column has the answer: {completion: solution}"
        )
