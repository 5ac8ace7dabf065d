"""Stage kind `teach`: the dataset with a teacher's answers, for sequence-level distillation.

The teacher answers every prompt of the training and the validation rows once and for all (Kim and Rush, 2016,
arXiv:1606.07947). What it said is the stage's artifact: however often the training is tried, interrupted or resumed, it
reads the same answers, and the teacher is asked no more. The test rows stay as they are: their answers are what the
student is measured by.
"""

import json
import shutil
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from luthier.spec import DistillationSpec
from workers.data.dataset import load_split, split_path
from workers.data.parts import parts_of
from workers.data.tokens.fit import Limit
from workers.failures import DataError, PreemptedError
from workers.models import choose_device, load_model, load_tokenizer, resolve_base_model, resolve_base_of
from workers.models.teacher import check_teacher, context_of
from workers.task import Report, StageResult, Task
from workers.teaching.answering import Answer, Notebook, answer_all
from workers.teaching.lessons import Lessons, Teaching
from workers.teaching.questions import Questions, questions_of
from workers.teaching.seen import Seen
from workers.training.precision import choose_dtype


def run(task: Task, report: Report) -> StageResult:
    """Needs `preprocess`.

    Raises:
        ConfigError: the teacher cannot be had, or cannot answer.
        DataError: none of its answers can be learned.
        PreemptedError: the worker drains; a checkpoint was committed.
    """
    objective = task.spec.objective
    assert isinstance(objective, DistillationSpec), "planned for sequence-level distillation alone"
    report.progress(0, 0, "getting the teacher")
    dataset = task.input_dir("preprocess")
    base = resolve_base_of(task.spec, task.settings)
    teacher = resolve_base_model(objective.teacher, task.settings)
    check_teacher(base, teacher, objective.teacher)
    if report.should_stop():
        raise PreemptedError("asked to stop before the teacher was asked")
    train, validation = load_split(dataset, "train"), load_split(dataset, "validation")
    questions = questions_of(
        train,
        validation,
        load_tokenizer(teacher),
        objective,
        context=context_of(teacher),
        refit=task.assignment.stage.refit,
    )
    answers = _answers(task, teacher, questions, objective, report)
    folder = task.new_dir("output")
    limits = {part.name: Limit(part.max_length, part.overlong) for part in parts_of(task.spec.data, objective)}
    seen = Seen(deduplicate=task.spec.data.deduplication.exact)
    for row in load_split(dataset, "test"):
        seen.fault("test", row, 0, row.messages or [])
    teaching = Teaching(folder, answers, questions.refused, load_tokenizer(base), limits, seen)
    lessons = {
        "validation": teaching.write("validation", validation, 1),
        "train": teaching.write("train", train, objective.num_samples),
    }
    shutil.copyfile(split_path(dataset, "test"), split_path(folder, "test"))
    document = _document(questions, lessons, objective)
    (folder / "teaching.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if lessons["train"].num_kept == 0:
        raise DataError(
            f"no answer of objective.teacher is left to learn from: {lessons['train'].num_asked} asked for, dropped: "
            f"{lessons['train'].ledger.summary()}; see objective.max_new_tokens and data.max_length"
        )
    return StageResult(
        folder=folder,
        metrics={"num_answers": len(questions.asked), "num_train_rows": lessons["train"].num_kept},
        result=document,
    )


def _answers(
    task: Task, teacher: Path, questions: Questions, objective: DistillationSpec, report: Report
) -> dict[str, list[Answer]]:
    """Of each prompt, by its key. The teacher is in memory only while this runs."""
    device = choose_device()
    dtype = choose_dtype(task.spec.training.precision, device)
    notebook = Notebook(task, questions.digest(objective), report)
    model: Any = load_model(teacher, dtype).to(device)  # type: ignore[arg-type]  # the wrapper hides the signature
    said = answer_all(model, load_tokenizer(teacher), questions, objective, notebook, report)
    del model
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    pairs = zip(questions.asked, said, strict=True)
    return {key: [answer for _, answer in own] for key, own in groupby(pairs, key=lambda pair: pair[0].key)}


def _document(questions: Questions, lessons: Mapping[str, Lessons], objective: DistillationSpec) -> dict[str, Any]:
    """What teaching.json says."""
    return {
        "teacher": objective.teacher,
        "how": objective.describe(),
        "num_prompts": len({question.key for question in questions.asked}) + len(questions.refused),
        "num_answers": len(questions.asked),
        "splits": {name: _split(split) for name, split in lessons.items()},
    }


def _split(split: Lessons) -> dict[str, Any]:
    return {
        "num_asked": split.num_asked,
        "num_rows": split.num_kept,
        "num_truncated": split.num_truncated,
        "num_tokens": split.num_tokens,
        "num_trainable_tokens": split.num_trainable_tokens,
        "dropped": split.ledger.document(),
    }
