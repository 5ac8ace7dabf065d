"""How trained state is laid out over the ranks, by the name that the job file uses (`resources.distributed.type`).

A new strategy is one file with a class that has the methods of `Strategy`, one row here, and its section in
`luthier/spec/distributed.py`. Only the file that is needed is imported: DeepSpeed takes seconds.
"""

from importlib import import_module

from luthier.spec.distributed import DistributedSpec
from workers.training.distributed.strategies.base import Strategy
from workers.training.distributed.world import World

# "module:class"; the class is made of the world and the section.
STRATEGIES: dict[str, str] = {
    "ddp": "workers.training.distributed.strategies.replicated:Replicated",
    "fsdp": "workers.training.distributed.strategies.fsdp:Fsdp",
    "zero": "workers.training.distributed.strategies.zero:Zero",
}


def make_strategy(world: World, section: DistributedSpec) -> Strategy:
    """The strategy that the job file names."""
    module, _, name = STRATEGIES[section.type].partition(":")
    strategy: Strategy = getattr(import_module(module), name)(world, section)
    return strategy


__all__ = ["STRATEGIES", "Strategy", "make_strategy"]
