"""How is a request's body read, so that neither a huge nor a dripping sender holds anything?

What all doors share: each has bounds of its own, and answers in its own form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class HungUp(Exception):
    """The caller hung up before his request was complete: nobody waits for an answer."""


class Unread(Exception):
    """The body was not taken: ``status`` 413 for one that is too large, 408 for one that is too slow."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


async def read(receive: Receive, most: int, seconds: float) -> bytes:
    """A body of at most ``most`` bytes, whole within ``seconds``; raises ``Unread`` or ``HungUp``."""
    try:
        async with asyncio.timeout(seconds):
            return await _read(receive, most)
    except TimeoutError:
        raise Unread(408) from None


async def _read(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise HungUp
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise Unread(413)
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        parts.append(part)
