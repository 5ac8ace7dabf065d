"""How our gRPC connections behave: message size, keepalive, reconnection, and what may be spoken without TLS.

The numbers fit each other: a client pings every 20 s, a server tolerates a ping every 5 s, so jitter never makes a
server call its own clients abusive. A peer that vanished without a word is noticed within 30 s.
"""

import ipaddress

MAX_MESSAGE_BYTES = 4 << 20

CLIENT_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.max_concurrent_streams", 256),
    # Two processes on one port would each get a part of the calls.
    ("grpc.so_reuseport", 0),
)


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
