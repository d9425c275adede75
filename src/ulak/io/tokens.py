"""Whose token or ticket is this, how is one made, and what was taken back?

The rules are ``core/token``, ``core/ticket`` and ``core/revocation``; here is what they are applied to, kept in
memory: keys, secrets and the log of revocations. ``poll`` brings it up to date at each heartbeat of the node, so
believing somebody never waits for PostgreSQL, and a storm of reconnecting clients does not reach it. The price: when
the last good poll is older than ``BLIND`` seconds, nobody is believed any more (``token_unavailable``: come back),
because a revocation could have been missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from ulak.core import ticket, token
from ulak.core.issuer import Issuer
from ulak.core.recent import Recent
from ulak.core.revocation import Revocation, Revoked
from ulak.core.token import OWN, Claims, Grant, TokenError, TokenKey, UnknownKeyError
from ulak.io.outbound.jwks import Http, KeySets
from ulak.io.postgres.errors import EXPECTED
from ulak.io.postgres.keys import Keys
from ulak.io.postgres.revocations import Revocations
from ulak.io.postgres.secrets import Purpose, Secrets

log = logging.getLogger(__name__)

BLIND = 5.0
REMEMBERED = 20_000
ROTATE = 86_400.0
KEEP_TICKET_SECRETS = 2.0 * ticket.MAX_LIFE
SETTLE = 5.0
"""Seconds for which a new ticket secret signs nothing, so that every node knows it before it meets a ticket of it."""
_KEYS_PAUSE = 0.25
"""Seconds between two readings of our own keys for the sake of tokens with key ids that are not known."""
_STEP = 1.0
_UPKEEP = 600.0

Heard = Callable[[Sequence[Revocation]], None]
Issuers = Callable[[], Mapping[tuple[int, str], Issuer]]


@dataclass(frozen=True, slots=True)
class Stores:
    """Where keys, secrets and the log of revocations are kept; ``http`` fetches the keys of ``issuers``."""

    keys: Keys
    secrets: Secrets
    revocations: Revocations
    issuers: Issuers
    http: Http


@dataclass(frozen=True, slots=True)
class Times:
    """``unix`` and ``monotonic`` give seconds, ``entropy`` random bytes."""

    unix: Callable[[], float]
    monotonic: Callable[[], float]
    entropy: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Issued:
    """A token that was made."""

    text: str
    token_id: str
    expires_at: datetime


class Tokens:
    """Believes, makes and takes back users' tokens."""

    def __init__(self, stores: Stores, times: Times) -> None:
        self._stores = stores
        self._times = times
        self._key_sets = KeySets(stores.http, times.monotonic, self._keys_changed)
        self._own: Sequence[TokenKey] = ()
        self._ring: token.Ring = {}
        self._signing: Mapping[int, TokenKey] = {}
        self._recent: Recent[bytes, Claims] = Recent(REMEMBERED)
        self._revoked = Revoked()
        self._position = 0
        self._log_at = float("-inf")
        self._tickets: Mapping[int, bytes] = {}
        self._met: dict[int, float] = {}
        self._versions: Mapping[str, int] = {}
        self._polled_at = float("-inf")
        self._keys_at = float("-inf")
        self._reading = asyncio.Lock()
        self._learning = asyncio.Lock()
        self._heard: list[Heard] = []

    # ---------------------------------------------------------------------------------- believing

    async def verify(self, text: str) -> Claims:
        """What a token says; raises ``TokenError`` when it is not to be believed."""
        await self._see()
        digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
        claims = self._recent.get(digest)
        if claims is None:
            claims = await self._judge(text, digest)
        elif claims.expires_at <= self._times.unix():
            raise TokenError("token_expired")
        return self._unless_revoked(claims)

    async def redeem(self, text: str) -> Claims:
        """What a ticket says; raises ``TokenError``. Its ``expires_at`` is that of the token it came from."""
        await self._see()
        return self._unless_revoked(ticket.read(text, self._tickets, self._times.unix()))

    def revoked(self, claims: Claims) -> bool:
        """Whether a token or ticket with these claims was taken back, as far as is known here."""
        return self._revoked.covers(claims)

    def ticket(self, claims: Claims, device: str | None) -> str:
        """A ticket for these claims; empty when none can be made."""
        kid = self._ticket_kid()
        if kid is None:
            return ""
        return ticket.make(claims, device, kid, self._tickets[kid], self._times.unix())

    def _unless_revoked(self, claims: Claims) -> Claims:
        """The last step, with no wait behind it: who is believed here is registered before the next poll."""
        if self._revoked.covers(claims):
            raise TokenError("token_revoked")
        return claims

    async def _see(self) -> None:
        """Refuse to believe anybody while revocations could be missed."""
        if self._polled_at == float("-inf"):
            await self.poll()
        if self._times.monotonic() - self._polled_at > BLIND:
            raise TokenError("token_unavailable")

    async def _judge(self, text: str, digest: bytes) -> Claims:
        try:
            claims = token.verify(text, self._ring, self._times.unix())
        except UnknownKeyError as error:
            if not await self._learned(error.issuer):
                if self._key_sets.away(error.issuer):
                    raise TokenError("token_unavailable") from None
                raise
            claims = self._again(text)
        self._recent.put(digest, claims)
        return claims

    def _again(self, text: str) -> Claims:
        """With the keys that were just read. There is no wait between this and remembering what it says."""
        try:
            return token.verify(text, self._ring, self._times.unix())
        except UnknownKeyError as error:
            if self._key_sets.away(error.issuer):
                raise TokenError("token_unavailable") from None
            raise

    async def _learned(self, issuer: str) -> bool:
        """A key is not known: read its issuer's again, unless that was just done."""
        if issuer != OWN:
            return await self._key_sets.unknown(issuer)
        asked_at = self._times.monotonic()
        async with self._learning:
            if self._keys_at > asked_at:
                return True  # for another caller, and after this one came
            # A key may have been made a moment ago, so nobody is refused by what was read before he came.
            await asyncio.sleep(max(0.0, self._keys_at + _KEYS_PAUSE - self._times.monotonic()))
            async with self._reading:
                await self._read_keys()
        return True

    # ------------------------------------------------------------------------------------- making

    async def issue(self, tenant: int, user: str, seconds: int, topics: Sequence[str] = ()) -> Issued:
        """A token for ``seconds`` (at most 24 h). Makes the tenant's first key if need be."""
        key = self._signing.get(tenant)
        if key is None:
            await self._stores.keys.add_token_key(tenant, f"tk_{self._times.entropy(8).hex()}", self._times.entropy(32))
            async with self._reading:
                await self._read_keys()
            key = self._signing[tenant]
        # Read before the token is made: what is taken back from here on ends it, what was before does not.
        position = await self._stores.revocations.position()
        now = int(self._times.unix())
        token_id = f"tok_{self._times.entropy(12).hex()}"
        text = token.mint(key, user, seconds, now, Grant(token_id, tuple(topics), position))
        return Issued(text, token_id, datetime.fromtimestamp(now + seconds, UTC))

    async def revoke(self, tenant: int, user: str, token_id: str | None = None) -> Revocation:
        """Take back one token of a user, or all until now; here at once, on other nodes with their next poll."""
        entry = await self._stores.revocations.add(tenant, user, token_id)
        async with self._reading:
            await self._read_log(entry.id)
            self._log_at = self._times.monotonic()  # numbers that were asked for before are older than this
        return entry

    def listen(self, heard: Heard) -> None:
        """Tell of every entry of the log, in order, as soon as it is known here."""
        self._heard.append(heard)

    # ------------------------------------------------------------------------------------- upkeep

    async def poll(self, versions: Mapping[str, int] | None = None, asked_at: float | None = None) -> None:
        """Catch up with the numbers of ``changes`` that were asked for at ``asked_at`` (monotonic seconds).

        Without them they are read here. Raises what the database raises; nothing is believed for longer then.
        """
        async with self._reading:
            if versions is None or asked_at is None:
                asked_at = self._times.monotonic()
                versions = await self._stores.revocations.versions()
            if asked_at >= self._log_at and (versions.get("revocations") != self._position or not self._versions):
                await self._read_log(versions.get("revocations", 0))
            if versions.get("api_keys") != self._versions.get("api_keys") or not self._versions:
                await self._read_keys()
            if versions.get("secrets") != self._versions.get("secrets") or not self._tickets:
                await self._read_secrets()
            self._key_sets.want(self._stores.issuers())
            self._versions = dict(versions)
            self._polled_at = max(asked_at, self._polled_at)

    async def run(self) -> None:
        """Keep issuers' keys fresh, rotate the secrets of tickets, forget what can matter no longer."""
        next_upkeep = 0.0
        while True:
            try:
                await self._key_sets.refresh()
                if self._times.monotonic() >= next_upkeep:
                    next_upkeep = self._times.monotonic() + _UPKEEP
                    await self.tidy()
            except EXPECTED as error:
                log.warning("the upkeep of tokens failed: %s", type(error).__name__)
            await asyncio.sleep(_STEP)

    async def tidy(self) -> None:
        """Rotate and forget."""
        self._revoked.forget(self._times.unix())
        await self._stores.revocations.purge()
        secrets = self._stores.secrets
        await secrets.rotate(Purpose.TICKET, self._times.entropy(32), ROTATE)
        await secrets.delete(Purpose.TICKET, KEEP_TICKET_SECRETS)

    async def stop(self) -> None:
        """Give up what is being read."""
        await self._key_sets.stop()

    async def _read_log(self, reached: int) -> None:
        """Read what is new. ``reached`` was read before: the entries up to it are visible now."""
        since = self._position if self._position <= reached else 0  # else the database was put back in time
        entries = await self._stores.revocations.since(since)
        self._revoked.add(entries)
        self._position = max([reached, *(entry.id for entry in entries)])
        for heard in self._heard:
            heard(entries)

    async def _read_keys(self) -> None:
        self._keys_at = self._times.monotonic()
        rows = await self._stores.keys.all_token_keys()
        own = [TokenKey(tenant, kid, secret) for tenant, kid, secret in rows]
        if own != self._own:
            self._own = own
            self._signing = {key.tenant: key for key in reversed(own)}
            self._keys_changed()

    async def _read_secrets(self) -> None:
        secrets = self._stores.secrets
        held = await secrets.all(Purpose.TICKET)
        if not held:
            await secrets.rotate(Purpose.TICKET, self._times.entropy(32), ROTATE)
            held = await secrets.all(Purpose.TICKET)
        new = self._times.monotonic() if self._tickets else float("-inf")
        self._met = {kid: self._met.get(kid, new) for kid in held}
        self._tickets = held

    def _ticket_kid(self) -> int | None:
        """The newest secret that every node knows by now; while there is only one, that."""
        now = self._times.monotonic()
        settled = [kid for kid in self._tickets if now - self._met[kid] >= SETTLE]
        return max(settled or self._tickets, default=None)

    def _keys_changed(self) -> None:
        """Believe nothing that other keys have shown."""
        self._ring = token.ring(_all(self._own, self._key_sets.usable()))
        self._recent.clear()


def _all(*groups: Iterable[TokenKey]) -> Iterable[TokenKey]:
    for group in groups:
        yield from group
