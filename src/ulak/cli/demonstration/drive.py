"""How do the events get in, whatever happens to the node meanwhile?

Each request has an idempotency key and is made again with the same key and body until it is answered:
that is all that a caller has to do so that a killed node costs nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from ulak.cli.client import Answer, Client, Refused, Unreachable
from ulak.cli.demonstration.evidence import Accepted
from ulak.cli.demonstration.program import Post

CALLERS = 16
PATIENCE = 120.0
PASSING = frozenset({429, 502, 503, 504})


class Unanswered(Exception):
    """A request got no usable answer in all our patience."""


async def patiently(client: Client, method: str, path: str, **rest: Any) -> tuple[Answer, int]:
    """Make one request until it is answered, and say how often it was made.

    A lost connection and 429 or 503 are waited out; any other refusal is the caller's business.
    """
    deadline = time.monotonic() + PATIENCE
    tries = 0
    while True:
        tries += 1
        try:
            return await client.call(method, path, **rest), tries
        except Unreachable as error:
            reason: Exception = error
            wait = min(0.05 * 2 ** min(tries, 5), 1.0)
        except Refused as error:
            if error.status not in PASSING:
                raise
            reason, wait = error, min(error.retry_after or 0.2, 2.0)
        if time.monotonic() > deadline:
            raise Unanswered(f"{method} {path} after {tries} tries: {reason}")
        await asyncio.sleep(wait)


class Pace:
    """Lets ``rate`` requests a second through, evenly (0: all at once), without catching up after a stall."""

    def __init__(self, rate: float) -> None:
        self._gap = 1 / rate if rate else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for one's turn."""
        now = time.monotonic()
        at = max(self._next, now)
        self._next = at + self._gap
        if at > now:
            await asyncio.sleep(at - now)


async def drive(
    client: Client,
    posts: Sequence[Post],
    gate: Callable[[int], Awaitable[None]],
    answered: Callable[[Accepted], None],
) -> None:
    """Post everything, ``CALLERS`` at a time, each one once ``gate(place)`` lets it through."""
    line: Iterator[tuple[int, Post]] = iter(enumerate(posts))

    async def caller() -> None:
        for place, post in line:
            await gate(place)
            answered(await _one(client, post))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(CALLERS, len(posts))):
            group.create_task(caller())


async def _one(client: Client, post: Post) -> Accepted:
    sent = time.monotonic()
    answer, tries = await patiently(
        client, "POST", "/v1/notifications", body=post.body, headers={"Idempotency-Key": post.key}
    )
    return Accepted(
        key=post.key,
        id=answer.body["id"],
        type=post.type,
        reaches=post.reaches,
        problems=len(answer.body.get("problems") or ()),
        sent=sent,
        tries=tries,
    )
