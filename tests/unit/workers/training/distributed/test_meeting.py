"""Ranks of several workers find their numbers at a store that listens on one address only."""

from concurrent.futures import ThreadPoolExecutor

import psutil

from luthier.v1.worker_service_pb2 import GangPlace
from workers.gang import keep_port
from workers.training.distributed.meeting import find_rank, keep_store, visit_store

SIZES = [2, 1, 3]
"""Ranks of each worker."""


def test_workers_with_different_numbers_of_ranks_have_one_order() -> None:
    before = listening()
    with keep_port("127.0.0.1") as kept, ThreadPoolExecutor(sum(SIZES)) as threads:
        port = kept.getsockname()[1]
        address = f"127.0.0.1:{port}"
        store = keep_store(address)

        def find(number: int, local_rank: int) -> tuple[int, int]:
            own = store if number == local_rank == 0 else visit_store(address)
            return find_rank(own, GangPlace(number=number, num_workers=len(SIZES)), local_rank, SIZES[number])

        places = [(number, local_rank) for number, size in enumerate(SIZES) for local_rank in range(size)]
        found = list(threads.map(find, *zip(*places, strict=True)))
        opened = listening() - before
    assert found == [(rank, sum(SIZES)) for rank in range(sum(SIZES))]
    assert opened == {("127.0.0.1", port)}


def listening() -> set[tuple[str, int]]:
    """Addresses and ports of this process, in which other tests may have some open as well."""
    sockets = [one.laddr for one in psutil.Process().net_connections("tcp") if one.status == "LISTEN"]
    return {(address.ip, address.port) for address in sockets}
