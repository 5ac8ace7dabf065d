"""Which addresses of a host may be connected to, told after its name was resolved.

Who connects must use what is returned, not the name: a name may mean another address the next time.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from workers.failures import ConfigError, DependencyError

_NAT64 = IPv6Network("64:ff9b::/96")
"""IPv4 addresses in IPv6 ones (RFC 6052)."""


def addresses_of(host: str, port: int, *, may_be_private: bool) -> list[str]:
    """The addresses of a host, as numbers.

    Raises:
        ConfigError: one of them is not public: private, loopback, link-local, of a cloud's metadata, multicast.
        DependencyError: the name cannot be resolved at the moment.
    """
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise DependencyError(f"the name {host} cannot be resolved ({error}); check it, or try again later") from error
    found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    if not may_be_private and not all(map(is_public, found)):
        raise ConfigError(
            f"{host} has an address that is not public, so it is not read; a host that is meant to have one belongs in "
            f"LUTHIER_DATA_PRIVATE_HOSTS of the worker"
        )
    return found


def is_public(address: str) -> bool:
    """Whether an address, given as numbers, can be reached from everywhere (RFC 6890), also if it hides another."""
    parsed = ip_address(address.split("%", 1)[0])
    return all(one.is_global and not one.is_multicast for one in [parsed, *_hidden_in(parsed)])


def _hidden_in(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    if isinstance(address, IPv4Address):
        return []
    hidden = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        hidden.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in hidden if one is not None]
