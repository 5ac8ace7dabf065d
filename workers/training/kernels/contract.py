"""What an attention kernel is asked and what decides whether it can be."""

from dataclasses import dataclass
from typing import Protocol

import torch

from workers.training.layout import Documents

Pair = tuple[torch.Tensor, torch.Tensor]
"""Keys and values [1, key heads, V, head_dim] of tokens that every document sees and that are not in the row."""


class Attend(Protocol):
    """Causal attention within each document of a row."""

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        documents: Documents,
        virtual: Pair | None,
        scale: float,
        dropout: float,
    ) -> torch.Tensor:
        """
        Args:
            query: [1, heads, T, head_dim]; may have a wider dtype than `value`, whose dtype counts.
            key: [1, key heads, T, head_dim]; heads is a multiple of key heads (Ainslie et al., 2023, arXiv:2305.13245).
            value: like `key`.
            documents: the layout of the row.
            virtual: what stands before every document besides.
            scale: of the scores.
            dropout: of the weights.

        Returns:
            [1, T, heads, head_dim]
        """
        ...


@dataclass(frozen=True)
class Wanted:
    """What a run asks of its attention."""

    device: torch.device
    dtype: torch.dtype
    """Of the matrix products."""
    num_heads: int
    num_key_heads: int
    head_dim: int
    has_dropout: bool
    """Whether the model drops attention weights in training."""
