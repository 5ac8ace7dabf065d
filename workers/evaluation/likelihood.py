"""How likely the model finds the reference tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from workers.data.dataset import Example, Rejected
from workers.evaluation.batches import batches, pad_left, positions_of

_MAX_BATCH_TOKENS = 2048


def negative_log_likelihoods(
    model: Any, examples: Sequence[Example | Rejected], pad_id: int, advance: Callable[[int], None]
) -> list[tuple[float, int]]:
    """Per example the summed negative log-likelihood in nats of its trainable tokens, and their number.

    The first token of an example has nothing before it and is never a target.
    """
    results: list[tuple[float, int]] = [(0.0, 0) for _ in examples]
    for indices in batches([len(example.input_ids) for example in examples], _MAX_BATCH_TOKENS):
        batch = _score_batch(model, [examples[index] for index in indices], pad_id)
        for index, result in zip(indices, batch, strict=True):
            results[index] = result
        advance(len(indices))
    return results


@torch.inference_mode()
def _score_batch(model: Any, examples: list[Example | Rejected], pad_id: int) -> list[tuple[float, int]]:
    input_ids, mask = pad_left([example.input_ids.tolist() for example in examples], pad_id, model.device)
    # Targets, aligned with the token that they are: padding and first tokens are none.
    is_target, _ = pad_left([[0, *example.trainable[1:].tolist()] for example in examples], 0, model.device)
    columns = is_target.any(0).nonzero()
    if not len(columns):
        return [(0.0, 0) for _ in examples]
    # Logits only from the column before the first target on: with a large vocabulary they are most of the memory.
    num_logits = input_ids.shape[1] - int(columns[0])
    logits = model(
        input_ids=input_ids,
        attention_mask=mask,
        position_ids=positions_of(mask),
        use_cache=False,
        logits_to_keep=num_logits + 1,
    ).logits[:, :-1]
    targets = input_ids[:, -num_logits:].masked_fill(is_target[:, -num_logits:] == 0, -100)
    losses = cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none").view_as(targets)
    return list(zip(losses.sum(1).tolist(), is_target.sum(1).tolist(), strict=True))
