"""What of the world outside a worker may read, and how much of it."""

from dataclasses import dataclass

from luthier.settings import WorkerSettings


@dataclass(frozen=True)
class Remote:
    """Nothing, unless the worker's settings say otherwise."""

    hosts: frozenset[str] = frozenset()
    """Hosts of `https://`, as `host` or `host:port`."""
    private_hosts: frozenset[str] = frozenset()
    """Those of them that may have private addresses, and may be read without TLS."""
    max_bytes: int = 0
    """Of all downloads of one run together."""
    hub_url: str = ""
    """Base URL of the hub, or a local directory laid out as one; empty: the library's default."""
    s3_endpoint: str = ""
    """Base URL of the store behind `s3://`; empty: AWS."""

    @classmethod
    def of(cls, settings: WorkerSettings) -> "Remote":
        """As a worker is set up."""
        private = _hosts(settings.data_private_hosts)
        return cls(
            hosts=_hosts(settings.data_hosts) | private,
            private_hosts=private,
            max_bytes=settings.data_download_bytes,
            hub_url=settings.hub_url,
            s3_endpoint=settings.data_s3_endpoint,
        )


def _hosts(value: str) -> frozenset[str]:
    return frozenset(host.strip().lower() for host in value.split(",") if host.strip())
