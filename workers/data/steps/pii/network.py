"""E-mail addresses, IP addresses, and names with passwords in URLs."""

import ipaddress
import re
from collections.abc import Iterator

from workers.data.steps.pii.spans import START

EMAIL_GATE = r"[\w%+-]@\w"
# Local part and domain as RFC 5321 bounds them.
_EMAIL = re.compile(
    START + r"[^\W_][\w.+%'-]{0,63}(?<!\.)@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(?P<top>[A-Za-z]{2,24})(?![\w@])"
)
_FILES = frozenset({"css", "gif", "html", "jpeg", "jpg", "js", "json", "png", "svg", "txt", "webp"})
"""No top-level domains: `icon@2x.png`."""

URL_GATE = r"://[^\s/@]*:[^\s/@]*@"
_URL = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]{1,20}://(?P<value>[^\s/:@<>{}$\"'`]{0,128}:[^\s/@<>{}$\"'`]{1,256})@(?=[\w\[])"
)

IP_GATE = r"\d\.\d{1,3}\.\d{1,3}\.\d|[23][0-9A-Fa-f]{3}:[0-9A-Fa-f]{0,4}:"
_IPV4 = re.compile(START + r"(?<!\w/)(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_VERSION = re.compile(r"(?i)(?:[=<>~^]|\b(?:v|ver|version|release|build|firmware|driver|section|rev)\.?:?)\s*$")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?!\w)")
_NOBODYS = [
    ipaddress.ip_network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
    )
]
"""Every network has these: they lead to nobody."""


def emails(text: str) -> Iterator[tuple[int, int]]:
    """Addresses with a domain of at least two labels."""
    for match in _EMAIL.finditer(text):
        if match["top"].lower() not in _FILES and not match[0].startswith("git@"):
            yield match.span()


def url_credentials(text: str) -> Iterator[tuple[int, int]]:
    """`user:password` of a URL; the URL stays."""
    for match in _URL.finditer(text):
        yield match.span("value")


def public_addresses(text: str) -> Iterator[tuple[int, int]]:
    """IPv4 addresses of no private network, and IPv6 addresses out of 2000::/3 (RFC 4291)."""
    for match in _IPV4.finditer(text):
        before = text[max(0, match.start() - 12) : match.start()]
        if not _VERSION.search(before) and _is_somebodys(match[0]):
            yield match.span()
    for match in _IPV6.finditer(text):
        address = match[0] if match[0].endswith("::") else match[0].removesuffix(":")
        if _is_address(address):
            yield match.start(), match.start() + len(address)


def _is_somebodys(address: str) -> bool:
    return _is_address(address) and not any(ipaddress.ip_address(address) in block for block in _NOBODYS)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
