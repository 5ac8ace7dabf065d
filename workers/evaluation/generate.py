"""Answers for many prompts at once, greedy unless somebody chooses otherwise.

A loop of our own rather than `generate`: that one silently adds what a checkpoint's generation config wants (penalties,
suppressed tokens), and what is measured here has to be what the served model does, which is plain arg max.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from workers.evaluation.batches import batches, pad_left, positions_of
from workers.models import stop_token_ids

_MAX_BATCH_TOKENS = 8192

Choose = Callable[[torch.Tensor], torch.Tensor]
"""Logits [rows, vocabulary] -> the next token of each row, int64 [rows]."""


@dataclass(frozen=True)
class Decoding:
    """What a model needs to answer."""

    stop_ids: frozenset[int]
    pad_id: int
    max_new_tokens: int

    @classmethod
    def of(cls, model: Any, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> "Decoding":
        """The stop tokens of model and tokenizer; any stop token pads where the tokenizer has no padding token."""
        stop_ids = stop_token_ids(model, tokenizer)
        pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(stop_ids, default=0)
        return cls(stop_ids, pad_id, max_new_tokens)


def greedy_answers(
    model: Any, prompts: Sequence[Sequence[int]], decoding: Decoding, advance: Callable[[int], None]
) -> list[list[int]]:
    """The likeliest next tokens after each prompt, up to and with the first stop token.

    Args:
        model: a causal language model in evaluation mode.
        prompts: token ids, any lengths above 0.
        decoding: when to stop.
        advance: called after each batch with its number of rows.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    lengths = [len(prompt) + decoding.max_new_tokens for prompt in prompts]
    for indices in batches(lengths, _MAX_BATCH_TOKENS):
        batch = answer_batch(model, [prompts[index] for index in indices], decoding)
        for index, answer in zip(indices, batch, strict=True):
            answers[index] = answer
        advance(len(indices))
    return answers


def likeliest(logits: torch.Tensor) -> torch.Tensor:
    """The token of the largest logit in each row; the first of several. A `Choose`."""
    return logits.argmax(-1)


@torch.inference_mode()
def answer_batch(
    model: Any, prompts: Sequence[Sequence[int]], decoding: Decoding, choose: Choose = likeliest
) -> list[list[int]]:
    """The answers to all of `prompts` at once, each up to and with the first stop token; see `greedy_answers`."""
    tokens, mask = pad_left(prompts, decoding.pad_id, model.device)
    positions = positions_of(mask)
    stop = torch.tensor(sorted(decoding.stop_ids), device=model.device)
    finished = torch.zeros(len(prompts), dtype=torch.bool, device=model.device)
    columns: list[torch.Tensor] = []
    cache = None
    while len(columns) < decoding.max_new_tokens and not finished.all():
        output = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = output.past_key_values
        choice = choose(output.logits[:, -1])
        columns.append(choice)
        finished |= torch.isin(choice, stop)
        tokens = choice[:, None]
        positions = positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=1)
    return [_until_stop(row, decoding.stop_ids) for row in torch.stack(columns, dim=1).tolist()]


def _until_stop(row: list[int], stop_ids: frozenset[int]) -> list[int]:
    end = next((place for place, token in enumerate(row) if token in stop_ids), len(row) - 1)
    return row[: end + 1]
