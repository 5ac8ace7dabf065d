"""What an objective keeps of the output layer's logits, and what its backward pass has besides.

A row per objective; `tests/unit/luthier/planning/test_live.py` measures each. N targets, V tokens of the vocabulary.
"""

from dataclasses import dataclass

from luthier.planning.shape import ModelShape
from luthier.planning.workload import Workload

_FP32 = 4
_NUM_CACHED = 1 << 18
"""Logits that cross-entropy takes at a time on a CPU, before and after its softmax."""
_TILE = (4096, 32768)
"""Tokens and vocabulary of a tile (trl/kernels/chunked_logprob.py, trl/trainer/utils.py)."""
_TILE_COPIES = 7.75
"""Of a tile, in fp32: on a CPU its backward pass is written out. Elsewhere one kernel works in place."""


@dataclass(frozen=True)
class Loss:
    """Numbers of fp32 tensors [N, V]."""

    num_kept: float
    """From the forward to the backward pass."""
    num_transient: float
    """Beside these at the start of the backward pass."""
    is_in_place: bool = False
    """On a CPU it keeps the logits alone, in the dtype of the products, and their gradient takes their place
    (workers/training/kernels/cross_entropy.py)."""
    is_tiled: bool = False
    """It takes some tokens and some of the vocabulary at a time, as TRL does, and keeps none of it."""


_TOKENS = Loss(num_kept=1, num_transient=2, is_in_place=True)
"""PyTorch's keeps the log-probabilities; its backward pass makes the gradient of these, then that of the logits."""
_HEAD = Loss(num_kept=0, num_transient=0)
"""A head scores the last token of a document: a few numbers."""

LOSSES: dict[str, Loss] = {
    **dict.fromkeys(("sft", "pretrain", "dpo", "ipo", "kto", "orpo", "simpo"), _TOKENS),
    **dict.fromkeys(("classification", "reward"), _HEAD),
    # Log-probabilities of both terms, and those without the teacher's likeliest tokens.
    "distillation": Loss(num_kept=3, num_transient=2),
    "grpo": Loss(num_kept=0, num_transient=0, is_tiled=True),
}


def kept_bytes(loss: Loss, shape: ModelShape, work: Workload, compute_bytes: int, *, on_cpu: bool = True) -> float:
    """Of the loss, from the forward to the backward pass."""
    each = compute_bytes if on_cpu and loss.is_in_place else loss.num_kept * _FP32
    return each * shape.vocabulary * work.num_targets


def transient_bytes(loss: Loss, shape: ModelShape, work: Workload, *, on_cpu: bool = True) -> float:
    """Besides, at the start of the backward pass."""
    num_logits = shape.vocabulary * work.num_targets
    if on_cpu and loss.is_in_place:
        return 2 * _FP32 * min(num_logits, _NUM_CACHED)
    if loss.is_tiled:
        # On a CPU of all tokens, elsewhere of the targets.
        num_tokens, copies = (work.row_tokens, _TILE_COPIES) if on_cpu else (work.num_targets, 1.0)
        return copies * _FP32 * min(num_tokens, _TILE[0]) * min(shape.vocabulary, _TILE[1])
    return loss.num_transient * _FP32 * num_logits


def teacher_bytes(teacher: ModelShape, work: Workload, compute_bytes: int) -> float:
    """A teacher while it is read, before training: its weights, and four tensors [N, V] from logits to the likeliest
    tokens (workers/training/objectives/teacher.py)."""
    return compute_bytes * teacher.num_parameters + 4 * _FP32 * teacher.vocabulary * work.num_targets
