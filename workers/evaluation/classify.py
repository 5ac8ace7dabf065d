"""Classes of held-out rows by the trained model, against the most frequent class or set of classes in training.

A base model has no trained head, and an untrained one says nothing: so what the tuned model has to beat is the best
that can be done without reading the rows.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from luthier.spec import EvaluationSpec
from workers.data.dataset import Example, Rejected, SplitName, load_split
from workers.evaluation.batches import batches, pad_left, positions_of
from workers.evaluation.label_sets import in_words, most_frequent, wanted_of
from workers.evaluation.metrics import Prediction
from workers.evaluation.plan import Plan, first_of_each
from workers.evaluation.steps import Steps
from workers.failures import DataError
from workers.models import choose_device, load_tokenizer, resolve_base_of
from workers.models.tuned import load_tuned
from workers.task import Report, Task
from workers.training.heads import load_head, scores_read
from workers.training.precision import choose_dtype

_MAX_BATCH_TOKENS = 2048


def labelled_rows(dataset: Path, max_rows: int | None) -> tuple[SplitName, list[Example]]:
    """Up to `max_rows` rows, see `first_of_each`, of the test split, or of the validation split when that one is empty.

    Raises:
        DataError: both are empty.
    """
    for split in ("test", "validation"):
        if examples := first_of_each(load_split(dataset, split), max_rows):
            return split, examples
    raise DataError(
        "there are no held-out rows: test and validation split are empty; give data.test_path or raise "
        "data.test_fraction"
    )


def plan_of_labels(dataset: Path, spec: EvaluationSpec) -> Plan:
    """Rows and metrics of the evaluation of a classifier, and what stands for the base model.

    Raises:
        DataError: there are no held-out rows.
    """
    split, examples = labelled_rows(dataset, spec.max_samples)
    frequent = most_frequent(dataset)
    if examples[0].labels is None:
        constant = f"the most frequent class of the training split, {min(frequent)!r}"
    else:
        constant = f"the most frequent set of labels of the training split, {in_words(frequent)}"
    return Plan(split, examples, list(spec.metrics), [], f"{constant}, for every row")


def classify_both(task: Task, plan: Plan, report: Report) -> tuple[list[Prediction], list[Prediction]]:
    """Predictions of what stands for the base model, and of the tuned one: of classes alone."""
    base = resolve_base_of(task.spec, task.settings)
    device = choose_device()
    dtype = choose_dtype(task.spec.training.precision, device)
    model: Any = load_tuned(base, task.tuned_dir(), dtype, task.settings.custom_methods)
    classes = load_head(model, task.tuned_dir())
    steps = Steps(report, len(plan.examples))
    scores = score_rows(
        model.to(device), load_tokenizer(base), plan.examples, lambda rows: steps.advance(rows, "classifying")
    )
    frequent = most_frequent(task.input_dir("preprocess"))
    base_rows = [_prediction(frequent, row) for row in plan.examples]
    return base_rows, list(map(_prediction, classes.given(scores), plan.examples))


@torch.inference_mode()
def score_rows(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example | Rejected],
    advance: Callable[[int], None],
) -> torch.Tensor:
    """fp32 [num_rows, num_classes], on the CPU.

    `model` has a head in place of its output layer, see `workers.training.heads`. `advance` is called with the number
    of rows of each batch.
    """
    results: dict[int, torch.Tensor] = {}
    for indices in batches([len(example.input_ids) for example in examples], _MAX_BATCH_TOKENS):
        rows = [examples[index].input_ids.tolist() for index in indices]
        input_ids, mask = pad_left(rows, int(tokenizer.pad_token_id or 0), model.device)
        with scores_read(model) as seen:
            model(
                input_ids=input_ids,
                attention_mask=mask,
                position_ids=positions_of(mask),
                use_cache=False,
                logits_to_keep=1,
            )
        results |= zip(indices, seen[0][:, -1].float().cpu(), strict=True)
        advance(len(indices))
    return torch.stack([results[index] for index in range(len(examples))])


def _prediction(given: frozenset[str], example: Example) -> Prediction:
    return Prediction("", "", 0.0, 0, given=given, wanted=wanted_of(example))
