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
    store = _store(place.address, is_keeper=place.number == 0 and local_rank == 0)
    if local_rank == 0:
        store.set(_key(place.number), str(num_local_ranks))
    sizes = [int(store.get(_key(number))) for number in range(place.num_workers)]
    rank = sum(sizes[: place.number]) + local_rank
    with joined(rank, sum(sizes), store, local_rank=local_rank) as world:
        yield world


def _store(address: str, *, is_keeper: bool) -> Store:
    host, _, port = address.rpartition(":")
    if not is_keeper:
        return TCPStore(host, int(port), is_master=False, timeout=_WAIT)
    with socket.socket() as listener:
        # The worker keeps the port for us by a socket that does not listen. A store of its own would listen everywhere.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, int(port)))
        listener.listen(_BACKLOG)
        descriptor = listener.detach()
    return TCPStore(host, int(port), is_master=True, timeout=_WAIT, wait_for_workers=False, master_listen_fd=descriptor)


def _key(number: int) -> str:
    return f"ranks/{number}"
