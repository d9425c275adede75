"""Is this request the opening of a socket ``ulak.v1``, and how is it answered?

RFC 6455 §4.2, from the head of the request to the bytes of the answer, without any I/O. The head is what the
HTTP server has already parsed, put together again: one line for each header, names in lower case.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode
from collections.abc import Container
from dataclasses import dataclass
from hashlib import sha1
from ipaddress import ip_address, ip_network

from ulak.core.websocket import GUID

SUBPROTOCOL = "ulak.v1"
PATH = "/v1/socket"

_ADDRESS = 64
"""Characters that are kept of what a proxy calls a client; addresses and their ports have fewer."""

_STATUS = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    426: "Upgrade Required",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A client that may come in, as far as the request tells; the rest is for the door to say."""

    key: bytes
    origin: str | None = None
    user_agent: str | None = None
    forwarded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why it may not: an HTTP status, a stable code, what to do; ``retry_after`` in seconds for a 503."""

    status: int
    code: str
    detail: str
    retry_after: int | None = None


NO_UPGRADE = Refusal(
    426,
    "upgrade_missing",
    "this is the address of a WebSocket: send Connection: Upgrade and Upgrade: websocket. "
    "A proxy in between drops them unless it is told to pass them on",
)
"""For a request that was meant for the socket, and did not arrive as one."""


def read_upgrade(head: bytes) -> Upgrade | Refusal:
    """What a request for a socket asks for, or what is wrong with it."""
    lines = head.decode("latin-1").split("\r\n")
    method, _, rest = lines[0].partition(" ")
    if rest.partition(" ")[0].partition("?")[0] != PATH:
        return Refusal(404, "not_found", f"the socket is at {PATH}")
    if method != "GET":
        return Refusal(400, "bad_handshake", "a handshake is a GET (RFC 6455, 4.1)")
    headers: dict[str, list[str]] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers.setdefault(name, []).append(value.strip())
    if headers.get("sec-websocket-version") != ["13"]:
        return Refusal(426, "bad_version", "send Sec-WebSocket-Version: 13")
    key = _key(headers.get("sec-websocket-key", []))
    if key is None:
        return Refusal(400, "bad_handshake", "Sec-WebSocket-Key is 16 random bytes in base64, once")
    offered = [each.strip() for line in headers.get("sec-websocket-protocol", []) for each in line.split(",")]
    if SUBPROTOCOL not in offered:
        return Refusal(400, "subprotocol_missing", f"offer the subprotocol {SUBPROTOCOL}")
    origin = headers.get("origin")
    return Upgrade(
        key,
        None if origin is None else ", ".join(origin),
        headers.get("user-agent", [None])[0],
        tuple(each.strip() for line in headers.get("x-forwarded-for", []) for each in line.split(",")),
    )


def _key(values: list[str]) -> bytes | None:
    if len(values) != 1:
        return None
    try:
        good = len(b64decode(values[0], validate=True)) == 16
    except (binascii.Error, ValueError):
        return None
    return values[0].encode("ascii") if good else None


def acceptance(key: bytes) -> bytes:
    """The answer that opens the socket."""
    accept = b64encode(sha1(key + GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: " + accept + b"\r\nsec-websocket-protocol: " + SUBPROTOCOL.encode() + b"\r\n\r\n"
    )


def problem_of(refusal: Refusal) -> bytes:
    """The body of a refusal: a problem (RFC 9457)."""
    problem = {
        "type": "about:blank",
        "title": "The socket was refused",
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.detail,
    }
    return json.dumps(problem).encode()


def rejection(refusal: Refusal) -> bytes:
    """The answer that does not. The connection ends with it."""
    body = problem_of(refusal)
    head = [
        f"HTTP/1.1 {refusal.status} {_STATUS[refusal.status]}",
        "content-type: application/problem+json",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    if refusal.retry_after is not None:
        head.append(f"retry-after: {refusal.retry_after}")
    if refusal.status == 426:
        head.append("sec-websocket-version: 13")
    return "\r\n".join([*head, "", ""]).encode() + body


class Networks:
    """Addresses by network; made of a list with commas (raises ``ValueError``)."""

    def __init__(self, text: str = "") -> None:
        self._networks = [ip_network(each.strip(), strict=False) for each in text.split(",") if each.strip()]

    def __contains__(self, address: object) -> bool:
        if not self._networks or not isinstance(address, str):
            return False
        try:
            known = ip_address(address)
        except ValueError:
            return False
        return any(known in network for network in self._networks if network.version == known.version)


def client_address(peer: str, forwarded: tuple[str, ...], trusts: Container[str]) -> str:
    """Who speaks: the peer, or, where that is a proxy that ``trusts`` holds, whom it forwards for.

    From the right, because only what our own proxies have added is to be believed.
    """
    address = peer
    for hop in reversed(forwarded):
        if address not in trusts:
            break
        address = hop[:_ADDRESS]
    return address
