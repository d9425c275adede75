"""What hears who comes to the socket's address without asking for a socket?

Most of them meant to: a proxy that does not pass ``Upgrade`` on makes a plain request of it. Requests that do ask never
come here: ``gateway.socket`` is handed them before there is a request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ulak.core.handshake import NO_UPGRADE, PATH, problem_of

SOCKET = PATH.encode()
"""As it stands in the request."""


async def tell_to_upgrade(send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:
    """Answer 426, with the fields that RFC 9110 (15.5.22) asks for."""
    body = problem_of(NO_UPGRADE)
    head = (
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
    )
    await send({"type": "http.response.start", "status": NO_UPGRADE.status, "headers": head})
    await send({"type": "http.response.body", "body": body})
