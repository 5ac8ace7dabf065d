"""The principal of the call that is being served, and how the coordinator is told of it."""

from contextvars import ContextVar

from opentelemetry.propagate import inject

from luthier.v1.access_service_pb2 import Principal

_CURRENT: ContextVar[Principal] = ContextVar("principal")

Metadata = tuple[tuple[str, str], ...]


def current_principal() -> Principal:
    """Who made the call that this task serves.

    Raises:
        LookupError: outside of an authenticated call.
    """
    return _CURRENT.get()


def set_principal(principal: Principal) -> None:
    """Binds `principal` to the call that this task serves."""
    _CURRENT.set(principal)


def internal_metadata(token: str, principal: Principal | None = None) -> Metadata:
    """Metadata of a call to the coordinator: our secret, the caller's project and key, the trace.

    Nothing that the client sent is in it; a client cannot claim a project.
    """
    carrier: dict[str, str] = {"authorization": f"Bearer {token}"}
    if principal is not None:
        carrier["x-luthier-project"] = principal.project_id
        carrier["x-luthier-key"] = principal.key_id
    inject(carrier)
    return tuple((key.lower(), value) for key, value in carrier.items())
