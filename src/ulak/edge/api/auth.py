"""Who calls, and may he do this?

A key is judged in three steps, the cheap ones first: its checksum (no look-up for an invented one), its
SHA-256 in a cache, the database. The cache is forgotten whenever the number that every change of keys
moves has moved; it is read again once it is older than ``key_age``, so a revoked key ends everywhere
within that time. When the number can't be read, nobody comes in: that is a 503, not a guess.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from ulak.core.apikey import is_key, key_hash
from ulak.core.token import TokenError
from ulak.edge.api.problem import Refused, refused, unavailable
from ulak.io.postgres.keys import Key, Keys

_MOST = 10_000
_SCHEME = b"bearer "


class KeyRing:
    """The keys that were asked for lately."""

    def __init__(self, store: Keys, clock: Callable[[], datetime], monotonic: Callable[[], float], age: float) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._age = age
        self._known: dict[str, Key | None] = {}
        self._version = -1
        self._read_at = float("-inf")
        self._refreshing = asyncio.Lock()

    async def find(self, text: str) -> Key | None:
        """The key of this text, if it holds now."""
        if text not in self._known and not is_key(text):
            return None
        if self._monotonic() - self._read_at > self._age:
            await self._refresh()
        if text in self._known:
            key = self._known[text]
        else:
            key = await self._look_up(text)
        if key is not None and key.expires_at is not None and key.expires_at <= self._clock():
            return None
        return key

    async def _refresh(self) -> None:
        async with self._refreshing:
            asked_at = self._monotonic()
            if asked_at - self._read_at <= self._age:
                return  # another caller has just done it
            version = await self._store.version()
            if version != self._version:
                self._known = {}
                self._version = version
            self._read_at = asked_at

    async def _look_up(self, text: str) -> Key | None:
        known = self._known
        key = await self._store.find(key_hash(text))
        # Into the dictionary of before the question: one that was replaced meanwhile takes no old answer.
        if len(known) >= _MOST:
            known.clear()
        known[text] = key
        return key


def bearer(header: bytes | None) -> str:
    """The token of an ``Authorization`` header (RFC 6750 §2.1); 401 without one."""
    if header is None or header[:7].lower() != _SCHEME:
        raise unauthorised("no token", "send Authorization: Bearer <token>")
    return header[7:].strip().decode("latin-1")


def not_believed(error: TokenError) -> Refused:
    """The answer to a user token that does not hold (401), or can't be judged now (503)."""
    if error.unavailable:
        return unavailable("the token can't be judged now", 5.0)
    if error.revoked:
        return unauthorised("the user token was taken back", "log the user in again", "token_revoked")
    hint = "fetch a new one: POST /v1/users/{user}/tokens"
    if error.expired:
        return unauthorised("the user token has expired", hint, "token_expired")
    return unauthorised("the user token does not hold", hint)


def unauthorised(detail: str, hint: str | None = None, code: str = "unauthorised") -> Refused:
    """401 with its challenge."""
    error = refused(401, code, detail, hint, path="Authorization")
    return Refused(error.problem, ((b"www-authenticate", b'Bearer realm="ulak"'),))
