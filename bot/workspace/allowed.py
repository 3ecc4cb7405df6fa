"""Which hosts a set-up may fetch from, and which addresses their names may lead to.

A name on the list says who may be asked, not where: whoever holds the name decides what it resolves
to, and may say something else each time. So a name is resolved once, every answer is looked at, and
the connection goes to the address that was looked at. Addresses that are not public (this machine,
its network, a cloud's metadata) are refused, unless the list holds the very address.
"""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from bot.domain.errors import NeedsPerson

HTTPS = 443
_MOST_PORT = 65535
_NAME = 253  # letters of the longest name
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
# Public by their numbers only: clouds' inner services, and forms that carry an IPv4 address.
_INNER = tuple(
    ip_network(one)
    for one in ("168.63.129.16/32", "192.0.0.0/24", "64:ff9b::/96", "2002::/16", "2001::/32")
)

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]


class Refused(Exception):  # says what becomes of the request
    """A request that is not answered, and why, in words for people."""


@dataclass(frozen=True, slots=True)
class Place:
    """A host, which is a name in small letters, `*.` and a name, or an address; and its port."""

    host: str
    port: int

    def covers(self, host: str, port: int) -> bool:
        """Tell whether *host* is this one, or below it where this is `*.` and a name."""
        if port != self.port:
            return False
        return host == self.host or (self.host.startswith("*.") and host.endswith(self.host[1:]))


def read(entries: Sequence[str]) -> tuple[Place, ...]:
    """Read the key `sandbox.fetch`; raise NeedsPerson with the entry that makes no sense."""
    return tuple(_place(entry) for entry in entries)


def place(authority: str, default: int) -> Place:
    """Read `host`, `host:port` or `[address]:port`; raise Refused when it is none of these."""
    host, port = authority, ""
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        if not bracket or rest[:1] not in ("", ":"):
            raise Refused(f"{authority[:80]!r} names no host")
        port = rest[1:]
    elif authority.count(":") == 1:
        host, _, port = authority.partition(":")
    host = host.lower().removesuffix(".")
    if (address := _address(host)) is not None:
        host = str(address)
    elif not 0 < len(host) <= _NAME or not set(host) <= _LETTERS:
        raise Refused(f"{authority[:80]!r} names no host")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= _MOST_PORT):
        raise Refused(f"{authority[:80]!r} has no port that exists")
    return Place(host, int(port) if port else default)


def addresses(wanted: Place, allowed: Sequence[Place], resolve: Resolve) -> Sequence[str]:
    """Return the addresses to connect to for *wanted*; raise Refused when there is none.

    `resolve` is asked once. One answer that is not public spoils the others: such a name is not
    what it was put on the list for.
    """
    if not any(one.covers(wanted.host, wanted.port) for one in allowed):
        raise Refused(f"{wanted.host}:{wanted.port} is not in [sandbox] fetch")
    if _address(wanted.host) is not None:
        return (wanted.host,)  # the list holds the very address
    try:
        found = resolve(wanted.host, wanted.port)
    except (OSError, UnicodeError) as error:
        raise Refused(f"{wanted.host} is not found") from error
    for one in found:
        if not _public(ip_address(one)) and Place(str(ip_address(one)), wanted.port) not in allowed:
            raise Refused(f"{wanted.host} leads to {one}, which is not a public address")
    if not found:
        raise Refused(f"{wanted.host} is not found")
    return tuple(found)


def resolved(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(one[4][0]).partition("%")[0] for one in found))


def _place(entry: str) -> Place:
    name = entry.removeprefix("*.")
    try:
        found = place(name, HTTPS)
    except Refused as error:
        raise NeedsPerson(f"sandbox.fetch: {error}") from error
    if entry == name:
        return found
    if _address(found.host) is not None or "." not in found.host:
        raise NeedsPerson(f"sandbox.fetch: {entry!r} would allow too much")
    return Place(f"*.{found.host}", found.port)


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    inner = any(address in net for net in _INNER if net.version == address.version)
    return address.is_global and not address.is_multicast and not inner
