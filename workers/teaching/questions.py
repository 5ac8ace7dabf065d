"""What the teacher is asked: each prompt of the dataset, however many rows have it, as often as it is to answer."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from luthier.spec import DistillationSpec
from workers.data import problems
from workers.data.dataset import Example
from workers.data.tokens.render import render_prompt
from workers.evaluation.batches import batches

_MAX_BATCH_TOKENS = 8192

BEYOND_CONTEXT = "beyond the teacher's context"
"""Reason of a row whose prompt leaves no room for the longest answer."""


def key_of(example: Example) -> str:
    """What rows with the same prompt have in common."""
    return json.dumps([example.prompt, example.tools] if example.tools else example.prompt, ensure_ascii=False)


@dataclass(frozen=True)
class Question:
    """One prompt, to be answered once."""

    key: str
    """Of the rows that have it; the samples of a prompt are questions with one key."""
    prompt: tuple[int, ...]
    """Token ids by the teacher's tokenizer and template, with the head of the answer."""


@dataclass(frozen=True)
class Questions:
    """All that the teacher is asked, in the batches in which it is asked."""

    asked: list[Question]
    batches: list[list[int]]
    """Indices into `asked`."""
    refused: dict[str, tuple[str, str]]
    """Prompts that cannot be asked, by key: the reason, one of `workers.data.problems` or of below, and the detail."""

    def digest(self, objective: DistillationSpec) -> str:
        """Equal digests mean equal answers: it stands for prompts, batches and the way to answer."""
        parts = [objective.model_dump(mode="json"), [question.prompt for question in self.asked], self.batches]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def questions_of(
    train: Iterable[Example],
    validation: Iterable[Example],
    tokenizer: PreTrainedTokenizerBase,
    objective: DistillationSpec,
    *,
    context: int | None,
    refit: int,
) -> Questions:
    """
    Args:
        train: rows whose prompts are answered `num_samples` times.
        validation: rows whose prompts are answered once.
        tokenizer: the teacher's.
        objective: how it answers.
        context: longest text that the teacher was made for; None: there is no limit.
        refit: how often a batch is halved, because one did not fit into memory.
    """
    wanted: dict[str, int] = {}
    rows_of: dict[str, Example] = {}
    for rows, number in ((train, objective.num_samples), (validation, 1)):
        for row in rows:
            key = key_of(row)
            wanted[key] = max(number, wanted.get(key, 0))
            rows_of[key] = row
    asked: list[Question] = []
    refused: dict[str, tuple[str, str]] = {}
    for key, number in wanted.items():
        try:
            ids = tuple(render_prompt(tokenizer, rows_of[key].prompt, rows_of[key].tools))
        except TemplateError as error:
            refused[key] = problems.REFUSED_BY_TEMPLATE, f"of the teacher: {error}"
            continue
        if context is not None and len(ids) + objective.max_new_tokens > context:
            refused[key] = BEYOND_CONTEXT, f"the prompt has {len(ids)} tokens; the teacher was made for {context}"
        else:
            asked += [Question(key, ids)] * number
    lengths = [len(question.prompt) + objective.max_new_tokens for question in asked]
    return Questions(asked, list(batches(lengths, _MAX_BATCH_TOKENS // 2**refit)), refused)
