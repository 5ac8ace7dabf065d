"""Where the gateway is, with which key, and how a channel to it behaves.

Looked for in this order: arguments, `LUTHIER_GATEWAY` and `LUTHIER_API_KEY`, the files that `luthier up` leaves in
`LUTHIER_HOME`. A key is never sent in clear text beyond this machine, and never read from a file that others can read.
"""

import json
import stat
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from opentelemetry.propagate import inject

from luthier.errors import InvalidRequestError, LuthierError, UnauthenticatedError, UnavailableError, error_of
from luthier.local.home import Home
from luthier.settings import ClientSettings
from luthier.transport import CLIENT_OPTIONS, is_loopback

# Every unary call is safe to repeat: creates carry a request id, verbs are no-ops the second time.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    *CLIENT_OPTIONS,
    ("grpc.enable_retries", 1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
)
# How gRPC begins the text of an UNAVAILABLE that it made itself, because no connection came about.
_NOBODY_LISTENS = "failed to connect to all addresses"


@dataclass(frozen=True)
class Connection:
    """A gateway and the key to it."""

    target: str
    """`host:port`"""
    api_key: str = field(repr=False)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata of one call: the key, and the trace that the caller is in."""
        carrier = {"authorization": f"Bearer {self.api_key}"}
        inject(carrier)
        return tuple(carrier.items())

    def error_of(self, code: grpc.StatusCode, details: str) -> LuthierError:
        """The error that a failed call means to the caller."""
        if code is grpc.StatusCode.UNAVAILABLE and details.startswith(_NOBODY_LISTENS):
            return UnavailableError(f"no gateway answers at {self.target}: run `luthier up` or set LUTHIER_GATEWAY")
        return error_of(code, details)


def find_connection(
    gateway: str | None = None, api_key: str | None = None, settings: ClientSettings | None = None
) -> Connection:
    """The gateway to talk to.

    Raises:
        UnavailableError: none is known.
        UnauthenticatedError: there is no key, or its file is readable by others.
        InvalidRequestError: the address is not on this machine.
    """
    settings = settings or ClientSettings()
    home = Home(settings.home_dir)
    target = gateway or settings.gateway or _local_target(home)
    if not is_loopback(target):
        raise InvalidRequestError(
            f"{target!r} is not a loopback address and port, and an API key is not sent in clear text; "
            f"open a tunnel and use 127.0.0.1:PORT"
        )
    return Connection(target, api_key or settings.api_key.get_secret_value() or _local_key(home.api_key_file))


def _local_target(home: Home) -> str:
    try:
        return str(json.loads(home.endpoints_file.read_text())["grpc"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnavailableError("no gateway: run `luthier up` or set LUTHIER_GATEWAY") from error


def _local_key(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UnauthenticatedError(f"{path} can be read by others; run: chmod 600 {path}")
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UnauthenticatedError(f"no API key: {path} cannot be read; set LUTHIER_API_KEY") from error
