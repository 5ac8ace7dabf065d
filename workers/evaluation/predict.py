"""What base and tuned model do with the rows: likelihoods and, where a metric asks for them, answers."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from workers.data.dataset import Example
from workers.data.tokens.render import render_prompt
from workers.evaluation.generate import Decoding, greedy_answers
from workers.evaluation.likelihood import negative_log_likelihoods
from workers.evaluation.metrics import Prediction
from workers.evaluation.steps import Steps


def num_steps(examples: Sequence[Example], *, with_answers: bool) -> int:
    """How often `predict` on both models advances."""
    num_pairs = sum(example.rejected is not None for example in examples)
    num_answers = sum(bool(example.messages) for example in examples) if with_answers else 0
    return 2 * (len(examples) + num_answers + num_pairs)


def predict(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    max_new_tokens: int | None,
    who: str,
    steps: Steps,
) -> list[Prediction]:
    """One prediction per example, in their order.

    Args:
        model: base or tuned model on its device, in evaluation mode.
        tokenizer: has a chat template when answers are wanted.
        examples: rows of a split.
        max_new_tokens: longest answer; None: no answers. Rows of plain text are not answered.
        who: `base` or `tuned`, for the progress message.
        steps: advanced by the rows of each batch.
    """
    decoding = Decoding.of(model, tokenizer, max_new_tokens or 0)
    likelihoods = negative_log_likelihoods(
        model, examples, decoding.pad_id, lambda rows: steps.advance(rows, f"{who} model reads the references")
    )
    worse = [example.rejected for example in examples if example.rejected is not None]
    of_worse = iter(
        negative_log_likelihoods(
            model, worse, decoding.pad_id, lambda rows: steps.advance(rows, f"{who} model reads the rejected answers")
        )
    )
    preferred = [
        None if example.rejected is None else prefers(likelihood, next(of_worse))
        for example, likelihood in zip(examples, likelihoods, strict=True)
    ]
    texts = [""] * len(examples)
    references = [example.reference for example in examples]
    if max_new_tokens is not None:
        asked = [place for place, example in enumerate(examples) if example.messages]
        prompts = [render_prompt(tokenizer, examples[place].prompt, examples[place].tools) for place in asked]
        answers = greedy_answers(
            model, prompts, decoding, lambda rows: steps.advance(rows, f"{who} model answers the prompts")
        )
        for place, text in zip(asked, tokenizer.batch_decode(answers, skip_special_tokens=True), strict=True):
            texts[place] = text
        for place, prompt in zip(asked, prompts, strict=True):
            references[place] = _reference(tokenizer, examples[place], len(prompt))
    return [
        Prediction(text, reference, *likelihood, is_preferred)
        for text, reference, likelihood, is_preferred in zip(texts, references, likelihoods, preferred, strict=True)
    ]


def _reference(tokenizer: PreTrainedTokenizerBase, example: Example, num_before: int) -> str:
    """The last answer as a model writes it: calls of tools and reasoning are part of that, control tokens are not.

    `num_before` tokens are those of the prompt.
    """
    if not example.is_answered or not example.prompt or len((example.messages or [])[-1]) == 2:
        return example.reference
    answer = example.input_ids[num_before:][example.trainable[num_before:]]
    return str(tokenizer.decode(answer.tolist(), skip_special_tokens=True))


def prefers(chosen: tuple[float, int], rejected: tuple[float, int]) -> bool:
    """Whether the chosen answer is likelier than the rejected one, per token.

    Sums would favour the shorter answer whatever it says (Meng et al., 2024, arXiv:2405.14734, section 2.1).

    Args:
        chosen: negative log-likelihood in nats, and the number of tokens.
        rejected: likewise.
    """
    return chosen[0] / chosen[1] < rejected[0] / rejected[1]
