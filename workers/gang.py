"""The part of a worker in a gang, around its runner: where to meet, waiting for the others, who tells why it ended.

The leader keeps a port free for its rank 0, and tells the coordinator which with its heartbeats. No runner is started
before the gang has formed: only then is it known how many there are.
"""

import asyncio
import socket
from contextlib import suppress

from luthier.v1.failure_pb2 import Failure, FailureClass
from luthier.v1.worker_service_pb2 import GangPlace
from workers.contract import Outcome
from workers.drain import Drain
from workers.lease import Heartbeats, Lease

_LOOK_SECONDS = 1.0
"""Between two questions whether the gang has formed."""
_WORD_SECONDS = 3.0
"""How long a worker that only misses another one leaves it to the others to say why."""


def keep_port(host: str) -> socket.socket:
    """A socket that keeps a free port of `host` for a process of ours: it may listen there, others get another port.

    Raises:
        OSError: `host` is no address of this machine, or there is no port left.
    """
    kept = socket.socket()
    # Linux: sockets that all say so may share a port for as long as only one of them listens.
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        kept.bind((host, 0))
    except OSError:
        kept.close()
        raise
    return kept


async def wait_formed(lease: Lease, heartbeats: Heartbeats, drain: Drain) -> GangPlace | None:
    """The place of this worker once its gang has formed; None when the attempt ends or has to stop before."""
    while lease.ended is None and not drain.requested.is_set() and not lease.pause_asked.is_set():
        heartbeats.hurry()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await lease.has_place.wait()
                return lease.place
    return None


async def let_others_speak(outcome: Outcome, lease: Lease, heartbeats: Heartbeats) -> None:
    """Waits for the end of the attempt when all that is known here is that another worker is gone.

    When one rank fails, the others only see that it does not answer. Its worker knows why, and should be heard first.
    """
    if not isinstance(outcome, Failure) or outcome.failure_class != FailureClass.FAILURE_CLASS_LOST_WORKER:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(_WORD_SECONDS):
            while lease.ended is None:
                heartbeats.hurry()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await lease.wait_ended()
