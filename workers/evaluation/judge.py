"""Which of two answers a trained reward model scores higher, against which of them the base model finds likelier."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from workers.data.dataset import Example
from workers.evaluation.classify import score_rows
from workers.evaluation.metrics import Prediction
from workers.evaluation.plan import Plan
from workers.evaluation.predict import num_steps, predict
from workers.evaluation.steps import Steps
from workers.models import choose_device, load_model, load_tokenizer, resolve_base_of
from workers.models.tuned import load_tuned
from workers.task import Report, Task
from workers.training.heads import load_head
from workers.training.precision import choose_dtype

STAND_IN = "the likelihood of the answers by the base model, per token"


def judge_both(task: Task, plan: Plan, report: Report) -> tuple[list[Prediction], list[Prediction]]:
    """Predictions of base and tuned model, of which only the preferences mean something."""
    base = resolve_base_of(task.spec, task.settings)
    tokenizer = load_tokenizer(base)
    device = choose_device()
    dtype = choose_dtype(task.spec.training.precision, device)
    steps = Steps(report, num_steps(plan.examples, with_answers=False))
    trained = task.tuned_dir()

    def by_score() -> list[Prediction]:
        model: Any = load_tuned(base, trained, dtype, task.settings.custom_methods)
        load_head(model, trained)
        model.to(device)
        scores = score_pairs(
            model, tokenizer, plan.examples, lambda rows: steps.advance(rows, "tuned model scores the answers")
        )
        return [Prediction("", "", 0.0, 0, chosen > rejected) for chosen, rejected in scores.tolist()]

    tuned = by_score()
    plain: Any = load_model(base, dtype)
    return predict(plain.to(device), tokenizer, plan.examples, max_new_tokens=None, who="base", steps=steps), tuned


def score_pairs(
    model: Any, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Example], advance: Callable[[int], None]
) -> torch.Tensor:
    """fp32 [num_pairs, 2], on the CPU: scores of the chosen and of the rejected answer. See `score_rows`."""
    rejected = [pair.rejected for pair in pairs if pair.rejected is not None]
    return torch.cat([score_rows(model, tokenizer, texts, advance) for texts in (pairs, rejected)], dim=1)
