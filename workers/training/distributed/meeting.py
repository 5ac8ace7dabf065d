"""Where the ranks of several workers meet: at a store that the first rank of all keeps, on its worker's own address.

Each worker tells how many ranks it has; from that every rank knows its number among all, so workers may differ. Only
numbers and addresses pass through the store.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]  # public, by its documentation

from luthier.v1.worker_service_pb2 import GangPlace
from workers.training.distributed.world import World, joined

_WAIT = timedelta(minutes=5)
"""For ranks that have not come yet: all are started at about the same time."""
_BACKLOG = 1024


@contextmanager
def joined_across(place: GangPlace, local_rank: int, num_local_ranks: int) -> Iterator[World]:
    """The world of all ranks of a gang, as one of `num_local_ranks` on the worker that has `place`.

    Raises:
        RuntimeError: a rank did not come.
        OSError: the address of the leader is taken.
    """
    store = keep_store(place.address) if place.number == local_rank == 0 else visit_store(place.address)
    rank, size = find_rank(store, place, local_rank, num_local_ranks)
    with joined(rank, size, store, local_rank=local_rank) as world:
        yield world


def find_rank(store: Store, place: GangPlace, local_rank: int, num_local_ranks: int) -> tuple[int, int]:
    """The number of a rank among all, and how many there are; returns once the first rank of each worker has come."""
    if local_rank == 0:
        store.set(_key(place.number), str(num_local_ranks))
    sizes = [int(store.get(_key(number))) for number in range(place.num_workers)]
    return sum(sizes[: place.number]) + local_rank, sum(sizes)


def keep_store(address: str) -> Store:
    """The store at `address`, `host:port` of this machine, for as long as this process has it."""
    host, _, port = address.rpartition(":")
    with socket.socket() as listener:
        # The worker keeps the port for us by a socket that does not listen. A store of its own would listen everywhere.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(_BACKLOG)
        descriptor = listener.detach()
    return TCPStore(host, int(port), is_master=True, timeout=_WAIT, wait_for_workers=False, master_listen_fd=descriptor)


def visit_store(address: str) -> Store:
    """The store that another rank keeps at `address`, once it is there."""
    host, _, port = address.rpartition(":")
    return TCPStore(host, int(port), is_master=False, timeout=_WAIT)


def _key(number: int) -> str:
    return f"ranks/{number}"
