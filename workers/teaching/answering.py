"""The teacher at work, batch by batch. What it has said is kept in checkpoints, so that nothing is ever asked twice.

The answers of a batch are a function of the model, the batch and the seed alone: a teacher that is interrupted goes on
where it was, and the answers are those of one that was not.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from luthier.artifacts import ArtifactError, fetch, join, publish, read_manifest
from luthier.spec import DistillationSpec
from workers.evaluation.generate import Choose, Decoding, answer_batch, likeliest
from workers.failures import PreemptedError
from workers.task import Report, Task
from workers.teaching.questions import Questions

_SAVE_SECONDS = 60.0
_FILE = "answers.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """What the teacher said to a question."""

    text: str
    """Without special tokens."""
    is_whole: bool
    """Whether it came to an end by itself."""


class Notebook:
    """The answers so far, and their checkpoints."""

    def __init__(self, task: Task, digest: str, report: Report) -> None:
        """`digest` is that of the questions: a checkpoint of others is not looked at."""
        self._task = task
        self._digest = digest
        self._report = report
        self._key = task.settings.checkpoint_key.get_secret_value().encode() or None
        self._committed = [checkpoint.uri for checkpoint in reversed(task.checkpoints)]
        self.batches: list[list[Answer]] = self._load()
        """Of the batches that are done, in their order."""
        self._num_saved = len(self.batches)

    def save(self) -> None:
        """Commits what is there, unless it is committed already; older checkpoints are retired but for one.

        Raises:
            OSError: it cannot be written.
        """
        if len(self.batches) == self._num_saved:
            return
        folder = self._task.work_dir / f"answers-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        (folder / _FILE).write_text(json.dumps([[asdict(answer) for answer in batch] for batch in self.batches]))
        uri = join(self._task.output_uri, "checkpoints", f"{len(self.batches)}.{self._task.assignment.stage.fence}")
        ref = publish(folder, uri, extra={"digest": self._digest}, key=self._key)
        self._num_saved = len(self.batches)
        self._report.checkpoint(ref, self._num_saved)
        self._committed.append(ref.uri)
        self._report.retire(self._committed[:-2])
        self._committed = self._committed[-2:]

    def _load(self) -> list[list[Answer]]:
        for checkpoint in self._task.checkpoints:
            into = self._task.work_dir / f"fetched-{uuid.uuid4().hex[:8]}"
            try:
                if read_manifest(checkpoint.uri, key=self._key).extra.get("digest") != self._digest:
                    continue
                folder = fetch(checkpoint.uri, into, digest=checkpoint.digest, key=self._key)
                document = json.loads((folder / _FILE).read_text())
            except (ArtifactError, FileNotFoundError, ValueError) as error:
                _log.warning("the answers of %s are not usable, trying those before: %s", checkpoint.uri, error)
                continue
            return [[Answer(**answer) for answer in batch] for batch in document]
        return []


def answer_all(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    questions: Questions,
    objective: DistillationSpec,
    notebook: Notebook,
    report: Report,
    clock: Callable[[], float] = time.monotonic,
) -> list[Answer]:
    """The answer to each question, in their order.

    Args:
        model: the teacher on its device, in evaluation mode.
        tokenizer: the teacher's.
        questions: what it is asked.
        objective: how it answers.
        notebook: what it has said in earlier attempts; gets the rest.
        report: told of the progress.
        clock: seconds.

    Raises:
        PreemptedError: the worker drains. What was said is kept.
    """
    decoding = Decoding.of(model, tokenizer, objective.max_new_tokens)
    total, started, saved = len(questions.asked), clock(), clock()
    num_before = sum(map(len, notebook.batches))
    num_done = num_before
    for number in range(len(notebook.batches), len(questions.batches)):
        if report.should_stop():
            notebook.save()
            raise PreemptedError(f"asked to stop; the teacher goes on after {num_done} of {total} answers")
        batch = questions.batches[number]
        prompts = [questions.asked[index].prompt for index in batch]
        said = answer_batch(model, prompts, decoding, _choice(objective, number, model.device))
        texts = tokenizer.batch_decode(said, skip_special_tokens=True)
        ends = [ids[-1] in decoding.stop_ids for ids in said]
        notebook.batches.append([Answer(text, is_whole) for text, is_whole in zip(texts, ends, strict=True)])
        num_done += len(batch)
        eta = (clock() - started) / (num_done - num_before) * (total - num_done)
        report.progress(num_done, total, "the teacher answers", eta)
        if clock() - saved >= _SAVE_SECONDS:
            notebook.save()
            saved = clock()
    said_by_index = {
        index: answer
        for batch, answers in zip(questions.batches, notebook.batches, strict=True)
        for index, answer in zip(batch, answers, strict=True)
    }
    return [said_by_index[index] for index in range(total)]


def _choice(objective: DistillationSpec, batch: int, device: torch.device) -> Choose:
    """How the next token is chosen in one batch."""
    if objective.temperature == 0:
        return likeliest
    seed = int(np.random.SeedSequence((objective.seed, batch)).generate_state(1)[0])
    generator = torch.Generator(device).manual_seed(seed)

    def drawn(logits: torch.Tensor) -> torch.Tensor:
        top, ids = (logits.float() / objective.temperature).topk(min(objective.top_k, logits.shape[-1]), dim=-1)
        return ids.gather(1, torch.multinomial(top.softmax(-1), 1, generator=generator))[:, 0]

    return drawn
