"""What commands that talk to a gateway have in common: a client, and a trace that begins here."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.client import Client


@contextmanager
def connect() -> Iterator["Client"]:
    """A client for one command. Logging is quiet unless LUTHIER_LOG_LEVEL says otherwise.

    Raises:
        LuthierError: no gateway or no key is known.
    """
    # Only now, so that `luthier --help` and its like answer at once.
    from luthier import telemetry
    from luthier.client import Client
    from luthier.settings import ClientSettings

    settings = ClientSettings()
    chosen = settings.model_fields_set
    quiet = {
        "log_level": settings.log_level if "log_level" in chosen else "ERROR",
        "log_format": settings.log_format if "log_format" in chosen else "text",
    }
    telemetry.start("cli", settings.model_copy(update=quiet))
    try:
        with Client(settings=settings) as client:
            yield client
    finally:
        telemetry.stop()
