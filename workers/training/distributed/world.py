"""The ranks of a run, and what they tell each other.

A `World` of one rank says everything to itself and never touches `torch.distributed`, so a run without ranks costs and
computes what it would without this file. What is said between ranks is numbers and JSON, never pickles. Every method is
called by all ranks, at the same place of the program.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed import FileStore, Store  # type: ignore[attr-defined]  # public, by its documentation

from workers.training.distributed.gradients import sum_tensors


@dataclass(frozen=True)
class World:
    """This rank among all."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Among those of this worker: which of its accelerators is this rank's."""

    @property
    def is_first(self) -> bool:
        """Whether this rank reports, commits checkpoints and saves the result."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on some rank."""
        if self.size == 1:
            return flag
        flags = torch.tensor([flag], dtype=torch.uint8)
        distributed.all_reduce(flags, op=distributed.ReduceOp.MAX)
        return bool(flags.item())

    def gather(self, value: Any) -> list[Any]:
        """The JSON `value` of each rank, in the order of ranks."""
        if self.size == 1:
            return [value]
        return [json.loads(bytes(text.tolist())) for text in self._gather(_as_bytes(json.dumps(value).encode()))]

    def first(self, value: Any) -> Any:
        """The JSON `value` of rank 0."""
        return self.gather(value)[0]

    def sum_figures(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Figures by name, summed over the ranks in their order; one that a rank does not have is 0 there."""
        sums: dict[str, float] = {}
        for one in self.gather(dict(figures)):
            for name, value in one.items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replaces each gradient by its sum over all ranks. A parameter that has none on any rank keeps none."""
        if self.size == 1:
            return
        listed = list(parameters)
        has_any = torch.tensor([parameter.grad is not None for parameter in listed], dtype=torch.uint8)
        distributed.all_reduce(has_any, op=distributed.ReduceOp.MAX)
        members = [parameter for parameter, has in zip(listed, has_any.tolist(), strict=True) if has]
        for parameter in members:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        sum_tensors([parameter.grad for parameter in members if parameter.grad is not None])

    def share(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Gives every rank the values of rank 0."""
        if self.size > 1:
            for parameter in parameters:
                distributed.broadcast(parameter.detach(), src=0)

    def gather_states(self, states: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """uint8 vectors by name: those of rank 0 under their names, those of rank r under `<name>.<r>`."""
        gathered = dict(states)
        if self.size > 1:
            for name in sorted(states):
                others = self._gather(states[name])[1:]
                gathered |= {f"{name}.{rank}": state for rank, state in enumerate(others, start=1)}
        return gathered

    def own_states(self, gathered: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """This rank's part of what `gather_states` returned; empty if it had none, because there were fewer ranks."""
        if self.is_first:
            return {name: state for name, state in gathered.items() if "." not in name}
        ending = f".{self.rank}"
        return {name.removesuffix(ending): state for name, state in gathered.items() if name.endswith(ending)}

    def _gather(self, vector: torch.Tensor) -> list[torch.Tensor]:
        """The uint8 vector of each rank; their lengths may differ."""
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        distributed.all_gather(lengths, torch.tensor([vector.numel()]))
        longest = max(int(length) for length in lengths)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: vector.numel()] = vector
        gathered = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(gathered, padded)
        return [text[: int(length)] for text, length in zip(gathered, lengths, strict=True)]


@contextmanager
def joined(rank: int, size: int, store: Path | Store, *, local_rank: int | None = None) -> Iterator[World]:
    """The world of `size` ranks that meet at `store`: a file that none of them has made before, or what they share.

    Without `local_rank` all of them are of one worker.

    Numbers on the CPU go through gloo, those on an accelerator through NCCL.

    Raises:
        RuntimeError: a rank did not come.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    met_at = FileStore(str(store), size) if isinstance(store, Path) else store
    distributed.init_process_group(backend, store=met_at, rank=rank, world_size=size)
    yield World(rank, size, rank if local_rank is None else local_rank)
    # Not after a failure: a rank that is gone would be waited for.
    distributed.destroy_process_group()


def _as_bytes(text: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)
