"""The formulas of a merge, for one matrix.

They are PEFT's (`peft.utils.merge_utils`), but given what the papers give them: each adapter's change of the weight
itself, s B A. PEFT's `add_weighted_adapter` gives them A and B one by one, and the product of merged factors is not the
merged product: the mean of two adapters so made has half of its weight in terms B1 A2 that neither of them learned.
"""

import hashlib
from collections.abc import Callable, Sequence

import torch
from peft.utils import merge_utils

from luthier.spec import MergeSpec

_Changes = list[torch.Tensor]


def combine(changes: _Changes, weights: Sequence[float], merge: MergeSpec, layer: str) -> torch.Tensor:
    """fp32 [out, in]: what the changes of several adapters, each of that shape, become together.

    An adapter that leaves `layer` alone is left out of `changes`: zeros neither add to a sum nor vote for a sign.
    Trimming and dropping go by the matrix. What DARE drops depends on the seed and the layer alone, so that the same
    job leaves the same bits.
    """
    weighing = torch.tensor(weights, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(merge.seed, layer))
        return _FORMULAS[merge.type](changes, weighing, merge)


def concatenate(factors: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """A, [sum of ranks, in], and B, [out, sum of ranks], whose product is the sum of the products: exact."""
    return torch.cat([down for down, _ in factors]), torch.cat([up for _, up in factors], dim=1)


def nearest(change: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A, [rank, in], and B, [out, rank], whose product is as near to `change`, [out, in], as any of that rank is."""
    left, singular, right = torch.linalg.svd(change, full_matrices=False)
    root = singular[:rank].sqrt()
    return root[:, None] * right[:rank], left[:, :rank] * root


def _linear(changes: _Changes, weights: torch.Tensor, _: MergeSpec) -> torch.Tensor:
    return merge_utils.task_arithmetic(changes, weights)


def _ties(changes: _Changes, weights: torch.Tensor, merge: MergeSpec) -> torch.Tensor:
    assert merge.density is not None
    return merge_utils.ties(changes, weights, merge.density, merge.majority_sign)


def _dare_linear(changes: _Changes, weights: torch.Tensor, merge: MergeSpec) -> torch.Tensor:
    assert merge.density is not None
    return merge_utils.dare_linear(changes, weights, merge.density)


def _dare_ties(changes: _Changes, weights: torch.Tensor, merge: MergeSpec) -> torch.Tensor:
    assert merge.density is not None
    return merge_utils.dare_ties(changes, weights, merge.density, merge.majority_sign)


_FORMULAS: dict[str, Callable[[_Changes, torch.Tensor, MergeSpec], torch.Tensor]] = {
    "linear": _linear,
    "ties": _ties,
    "dare_linear": _dare_linear,
    "dare_ties": _dare_ties,
}


def _seed(seed: int, layer: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {layer}".encode()).digest()[:8])
