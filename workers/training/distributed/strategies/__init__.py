"""How trained state is laid out over the ranks, by the name that the job file uses (`resources.distributed.type`).

A new strategy is one file with a class that has the methods of `Strategy`, one row here, and its section in
`luthier/spec/distributed.py`.
"""

from collections.abc import Callable
from typing import Any

from workers.training.distributed.strategies.base import Strategy
from workers.training.distributed.strategies.replicated import Replicated
from workers.training.distributed.strategies.zero import Zero
from workers.training.distributed.world import World

STRATEGIES: dict[str, Callable[[World, Any], Strategy]] = {
    "ddp": Replicated,
    "zero": Zero,
}

__all__ = ["STRATEGIES", "Replicated", "Strategy"]
