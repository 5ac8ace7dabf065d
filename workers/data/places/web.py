"""One file by HTTPS, from a host that the worker's settings name.

Every address is checked after its name was resolved, and connected to by number, so that a name that changes its mind
cannot lead elsewhere; a redirect is a new URL with all its checks. No proxy is used, no cookie kept, no password sent.
Without TLS only hosts are read that may have private addresses.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from workers.data.places.addresses import addresses_of
from workers.data.places.downloads import BLOCK_BYTES, Downloads
from workers.data.places.listing import Listed, Listing
from workers.data.places.place import CheckReadable
from workers.data.places.remote import Remote
from workers.failures import ConfigError, DataError, DependencyError

_MAX_REDIRECTS = 5
_TIMEOUT = Timeout(connect=10.0, read=30.0)
_PORTS = {"https": 443, "http": 80}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OK, _MANY_REQUESTS, _FIRST_SERVER_ERROR = 200, 429, 500
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "luthier"}


class _Url(NamedTuple):
    scheme: str
    host: str
    port: int
    target: str
    """Path and query."""

    @property
    def names(self) -> frozenset[str]:
        """What settings may call the host."""
        plain = {self.host} if self.port == _PORTS[self.scheme] else set()
        return frozenset({f"{self.host}:{self.port}"} | plain)

    @property
    def shown(self) -> str:
        """Without the query, which may be a signature."""
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.target.split('?', 1)[0]}"


def find(path: str, key: str, check_readable: CheckReadable, remote: Remote) -> Listing:
    """The one file at a URL. Which hosts may be read says `remote`, not the data roots.

    Raises:
        ConfigError: the host is none of those that may be read.
    """
    url = _parse(path, key, remote)
    name = PurePosixPath(unquote(urlsplit(path).path)).name or url.host
    name = "".join(character if character.isprintable() else "_" for character in name)
    return Listing([Listed(url.shown, name, -1, partial(_fetch, path, key, name))], "name")


def _fetch(path: str, key: str, name: str, downloads: Downloads) -> Path:
    shown = ""
    try:
        for _ in range(_MAX_REDIRECTS + 1):
            url = _parse(path, key, downloads.remote)
            shown = url.shown
            with _get(url, downloads.remote) as response:
                if response.status not in _REDIRECTS:
                    _check_status(response.status, shown, key)
                    downloads.check_room(shown, _length(response))
                    return downloads.save(shown, name, _blocks(response))
                path = _redirected(path, response.headers.get("Location", ""), key)
    except HTTPError as error:
        # Its text may quote the query.
        raise DependencyError(f"{key}: {shown} could not be read: {type(error).__name__}; try again later") from None
    raise DataError(f"{key}: {shown} comes after more than {_MAX_REDIRECTS} redirects; give the last of its URLs")


def _parse(path: str, key: str, remote: Remote) -> _Url:
    try:
        parts = urlsplit(path)
        scheme, host, port = parts.scheme.lower(), (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise _other_kind(key) from None
    if scheme not in _PORTS or not host or "@" in parts.netloc:
        raise _other_kind(key)
    url = _Url(scheme, host, port or _PORTS[scheme], (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    if not url.names & remote.hosts:
        allowed = ", ".join(sorted(remote.hosts)) or "none"
        raise ConfigError(
            f"{key}: {url.shown} is on a host that this worker may not read (allowed: {allowed}); add it to "
            f"LUTHIER_DATA_HOSTS of the worker"
        )
    if scheme == "http" and not url.names & remote.private_hosts:
        raise ConfigError(f"{key}: {url.shown} is without TLS; use https://")
    return url


def _redirected(path: str, location: str, key: str) -> str:
    try:
        return urljoin(path, location)
    except ValueError:
        raise _other_kind(key) from None


def _other_kind(key: str) -> ConfigError:
    return ConfigError(f"{key}: a URL of another kind than https://HOST/PATH, perhaps redirected to; it is not read")


def _get(url: _Url, remote: Remote) -> BaseHTTPResponse:
    may_be_private = bool(url.names & remote.private_hosts)
    *others, last = addresses_of(url.host, url.port, may_be_private=may_be_private)
    for address in others:
        try:
            return _request(url, address)
        except HTTPError:
            continue
    return _request(url, last)


def _request(url: _Url, address: str) -> BaseHTTPResponse:
    if url.scheme == "https":
        pool: HTTPConnectionPool = HTTPSConnectionPool(
            address, url.port, timeout=_TIMEOUT, server_hostname=url.host, assert_hostname=url.host
        )
    else:
        pool = HTTPConnectionPool(address, url.port, timeout=_TIMEOUT)
    host = url.host if url.port == _PORTS[url.scheme] else f"{url.host}:{url.port}"
    return pool.urlopen(
        "GET",
        url.target,
        headers={"Host": host, **_HEADERS},
        retries=False,
        redirect=False,
        preload_content=False,
        decode_content=False,
    )


def _check_status(status: int, shown: str, key: str) -> None:
    if status == _MANY_REQUESTS or status >= _FIRST_SERVER_ERROR:
        raise DependencyError(f"{key}: {shown} answers {status}; it will be asked again")
    if status != _OK:
        raise DataError(f"{key}: {shown} answers {status}; check the URL")


def _length(response: BaseHTTPResponse) -> int:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else 0


def _blocks(response: BaseHTTPResponse) -> Iterator[bytes]:
    # One read of the socket at a time, so that a server that only trickles is noticed.
    while block := response.read1(BLOCK_BYTES):
        yield block
