"""Which rows are copies of one another, and what becomes of them."""

from workers.data.dedup.decide import REASONS, Decisions, decide

__all__ = ["REASONS", "Decisions", "decide"]
