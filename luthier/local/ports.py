"""Loopback ports for the children: free ones, and the same ones again as long as they stay free."""

import errno
import socket
from collections.abc import Mapping, Sequence

LOOPBACK = "127.0.0.1"


def choose_ports(roles: Sequence[str], previous: Mapping[str, int]) -> dict[str, int]:
    """A free port for every role; the one it had last time where nobody took it meanwhile."""
    listeners: list[socket.socket] = []
    try:
        # All are held until the last one is chosen, so that no two roles get the same.
        for role in roles:
            listener = _listen(previous.get(role, 0)) or _listen(0)
            assert listener is not None, "only a port that was asked for can be taken"
            listeners.append(listener)
        return {role: listener.getsockname()[1] for role, listener in zip(roles, listeners, strict=True)}
    finally:
        for listener in listeners:
            listener.close()


def _listen(port: int) -> socket.socket | None:
    listener = socket.socket()
    # Without it a port of the last run is refused until its closed connections are forgotten.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if port and error.errno in (errno.EADDRINUSE, errno.EACCES):
            return None
        raise
    return listener
