"""Messages that no bus can ever take, as opposed to those that it cannot take now. Publishing these again is no use.

The client checks little: a payload that is too large together with its headers, or a space in the subject, makes the
server close the connection, and every message that is on its way at that moment with it. So we look before we send.
"""

from nats import errors as nats_errors
from nats.js.errors import APIError

from coordinator.store.tables import OutboxRow
from luthier.subjects import is_subject

_HEADER_START = len(b"NATS/1.0\r\n") + len(b"\r\n")
# Our message is larger than the stream takes, its headers are larger than any stream takes (nats-server, errors.json).
_TOO_LARGE = frozenset({10054, 10097})


def why_never(row: OutboxRow, max_payload: int) -> str:
    """Why a server that takes `max_payload` bytes will not take this message; empty when it will."""
    if not is_subject(row.subject):
        return f"{row.subject[:200]!r} is no subject of ours"
    num_bytes = len(row.payload) + _HEADER_START
    num_bytes += sum(len(f"{name}: {value}\r\n".encode()) for name, value in row.headers.items())
    if num_bytes > max_payload:
        return f"it has {num_bytes} bytes with its headers; the server takes {max_payload} (max_payload)"
    return ""


def is_never(error: Exception) -> bool:
    """Whether client or server refused this very message, for ever."""
    if isinstance(error, APIError):
        return error.err_code in _TOO_LARGE
    return isinstance(error, nats_errors.BadHeaderError | nats_errors.BadSubjectError | nats_errors.MaxPayloadError)
