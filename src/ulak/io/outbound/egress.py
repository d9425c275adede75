"""Which addresses and ports may Ulak dial on behalf of a URL that a user gave?

Rule 1: never judge the text of a URL, judge the address that is being dialled, on every dial. A name can
resolve to something else a second later, and libc takes ``0x7f.1`` for loopback.

Rule 2: the list is our own. ``ipaddress.is_global`` calls NAT64, 6to4, IPv4-compatible and site-local
forms of private addresses global in some releases of Python and not in others.

Rule 3: an exception is a network that the operator named. It never reaches through a translator: an
allowed ``64:ff9b::/96`` still has the IPv4 address inside it judged.

Sources: IANA special-purpose address registries (RFC 6890), RFC 6052 (NAT64), RFC 3056 (6to4),
RFC 4380 (Teredo), RFC 4291 §2.5.5 (IPv4 inside IPv6).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DENIED_V4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this_network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "metadata"),
        ("169.254.0.0/16", "link_local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmark"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
"""IPv4 networks that are never dialled, each with the reason that is told."""

DENIED_V6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("::/128", "this_network"),
        ("::1/128", "loopback"),
        ("::/96", "ipv4_compatible"),
        ("64:ff9b::/96", "nat64"),
        ("64:ff9b:1::/48", "nat64"),
        ("100::/64", "discard"),
        ("100:0:0:1::/64", "reserved"),
        ("2001::/32", "teredo"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment_routing"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link_local"),
        ("fec0::/10", "site_local"),
        ("ff00::/8", "multicast"),
    )
)
"""IPv6 networks that are never dialled; the first match names the reason."""

GLOBAL_V6 = IPv6Network("2000::/3")
"""All that IANA has given out as global unicast; an address outside is refused even without a row above."""

_NAT64 = IPv6Network("64:ff9b::/96")
_PLAIN_PORTS = frozenset({80, 443})
_FIRST_FREE_PORT = 1024


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read an operator's allow-list such as ``["10.1.0.0/16"]``; raises ``ValueError`` naming the entry."""
    return tuple(ip_network(text) for text in texts)


def judge(address: str | Address, allow: Iterable[Network] = ()) -> str | None:
    """Say why an address must not be dialled, or None if it may be.

    ``address`` is the one that the socket is about to connect to, in any form that ``ipaddress`` reads
    (a scope id is ignored). ``allow`` holds the operator's networks.
    """
    try:
        parsed = ip_address(address) if isinstance(address, str) else address
    except ValueError:
        return "not_an_address"
    return _judge(parsed, tuple(allow))


def judge_dial(address: str | Address, port: int, allow: Iterable[Network] = ()) -> str | None:
    """Say why this address and port must not be dialled, or None.

    Below 1024 only 80 and 443 are open: the others belong to protocols that an HTTP request could be
    made to speak (SMTP, DNS, SMB). A network that the operator allowed is open on every port.
    """
    allowed = tuple(allow)
    reason = judge(address, allowed)
    if reason is not None:
        return reason
    if port in _PLAIN_PORTS or _FIRST_FREE_PORT <= port <= 65_535:
        return None
    return None if _within(_unmapped(ip_address(address)), allowed) else "port"


def _judge(address: Address, allow: tuple[Network, ...]) -> str | None:
    plain = _unmapped(address)
    if _within(plain, allow):
        return _judge(_embedded(plain), allow) if plain in _NAT64 else None
    if isinstance(plain, IPv4Address):
        return next((reason for network, reason in DENIED_V4 if plain in network), None)
    reason = next((reason for network, reason in DENIED_V6 if plain in network), None)
    if reason is None and plain not in GLOBAL_V6:
        return "not_global"
    return reason


def _unmapped(address: Address) -> Address:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _embedded(address: Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFF_FFFF)


def _within(address: Address, allow: tuple[Network, ...]) -> bool:
    return any(address in network for network in allow)
