"""Whose token does a user show, and how is one made for him?

The rules are ``core/token``'s; here are only the keys: read from the database, kept for ``age`` seconds
at most, so that a removed key ends everywhere within that time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ulak.core import token
from ulak.core.token import TokenKey
from ulak.io.postgres.keys import Keys


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose user token it is."""

    tenant: int
    user: str


class TokenRing:
    """Makes and checks users' tokens."""

    def __init__(
        self,
        store: Keys,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        entropy: Callable[[int], bytes],
        age: float = 0.5,
    ) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._entropy = entropy
        self._age = age
        self._keys: token.Ring = {}
        self._signing: Mapping[int, TokenKey] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def issue(self, tenant: int, user: str, seconds: int) -> tuple[str, datetime]:
        """A token for ``seconds`` (at most 24 h), and when it ends. Makes the tenant's first key if need be."""
        await self._refresh(self._age)
        key = self._signing.get(tenant)
        if key is None:
            await self._store.add_token_key(tenant, f"tk_{self._entropy(8).hex()}", self._entropy(32))
            await self._refresh(-1)  # at once
            key = self._signing[tenant]
        now = int(self._clock().timestamp())
        return token.mint(key, user, seconds, now), datetime.fromtimestamp(now + seconds, UTC)

    async def verify(self, text: str) -> Owner | None:
        """Whose token this is; None when it is not to be believed."""
        try:
            claims = await self.claims(text)
        except token.TokenError:
            return None
        return Owner(claims.tenant, claims.user)

    async def claims(self, text: str) -> token.Claims:
        """What the token says, its end included; raises ``TokenError`` when it is not to be believed."""
        await self._refresh(self._age)
        return token.verify(text, self._keys, self._clock().timestamp())

    async def _refresh(self, age: float) -> None:
        if self._monotonic() - self._read_at <= age:
            return
        async with self._reading:
            asked_at = self._monotonic()
            if asked_at - self._read_at <= age:
                return  # another caller has just done it
            rows = await self._store.all_token_keys()
            keys = [TokenKey(tenant, kid, secret) for tenant, kid, secret in rows]
            self._keys = token.ring(keys)
            self._signing = {key.tenant: key for key in reversed(keys)}
            self._read_at = asked_at
