"""How our gRPC connections behave: message size, keepalive, reconnection, and what may be spoken without TLS.

The numbers fit each other: clients ping every 20 s, gateway and workers ping coordinators every 5 s, and a server
tolerates a ping every 2 s, so jitter never makes a server call its own clients abusive. A gateway that vanished without
a word is noticed within 30 s, a coordinator within 8 s: there may be another one to turn to.
"""

import ipaddress
import json

MAX_MESSAGE_BYTES = 4 << 20

CLIENT_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # gRPC sends no keepalive while a ping of its own is under way, by which it measures the connection.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

# Every call to a coordinator may be repeated, except one that makes something without being told its request id.
_COORDINATOR_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.05s",
                "maxBackoff": "1s",
                "backoffMultiplier": 4,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        },
        {"name": [{"service": "luthier.v1.JobService", "method": "CreateJob"}]},
    ],
}
_COORDINATOR_OPTIONS: dict[str, int | str] = {
    **dict(CLIENT_OPTIONS),
    "grpc.keepalive_time_ms": 5_000,
    "grpc.keepalive_timeout_ms": 3_000,
    "grpc.http2.ping_timeout_ms": 3_000,
    "grpc.enable_retries": 1,
    "grpc.service_config": json.dumps(_COORDINATOR_CONFIG),
}
COORDINATOR_OPTIONS: tuple[tuple[str, int | str], ...] = tuple(_COORDINATOR_OPTIONS.items())
"""Of a channel to `coordinator_target`: calls take turns between the coordinators that are there."""

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 2_000),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.max_concurrent_streams", 256),
    # Two processes on one port would each get a part of the calls.
    ("grpc.so_reuseport", 0),
)


def coordinator_target(addresses: str) -> str:
    """What to open a channel to for `host:port`, or for `ip:port,ip:port` when there are several coordinators.

    Raises:
        ValueError: it is a list with something else than IP addresses of one family.
    """
    parts = [part.strip() for part in addresses.split(",")]
    if len(parts) == 1:
        return parts[0]
    families = {_family(part) for part in parts}
    if len(families) != 1 or None in families:
        raise ValueError(
            f"{addresses!r} is no list of coordinators: give IP addresses of one family, such as "
            f"127.0.0.1:7430,127.0.0.1:7431, or one DNS name that has several addresses"
        )
    return f"ipv{families.pop()}:{','.join(parts)}"


def _family(address: str) -> int | None:
    """4 or 6 for `ip:port`, None for anything else."""
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return None
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).version
    except ValueError:
        return None


def is_loopback(address: str) -> bool:
    """Whether `host:port` stays on this machine; a name other than `localhost` does not count."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        return False
    host = host.removeprefix("[").removesuffix("]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
