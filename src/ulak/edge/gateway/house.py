"""What do all connections of a node share: who may come in, and who somebody is?

Tokens come in the first frame, never in the URL or a cookie, so another site's page can open a socket but say
nothing on it; an origin that is not allowed is refused all the same. Room is asked for before anything else is
spent on a client.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass, field

from ulak.core.connections import connection_id
from ulak.core.handshake import Networks, Refusal, Upgrade, client_address
from ulak.core.session_actions import Authenticate, Mark
from ulak.core.session_commands import Limits
from ulak.core.token import Claims, TokenError, permits
from ulak.edge.gateway.admission import Admission, Room
from ulak.edge.gateway.hub import Hub
from ulak.edge.gateway.model import Owner, Store
from ulak.edge.gateway.socket import Socket, Turn
from ulak.io.postgres.errors import EXPECTED

log = logging.getLogger(__name__)

Verify = Callable[[str], Awaitable[Claims]]
"""Says whose token (or ticket) this is, or raises ``TokenError``."""

_AGENT = 200


async def _no_tickets(_: str) -> Claims:
    raise TokenError("ticket_invalid")


async def _by_token(claims: Claims, topics: Sequence[str]) -> bool:
    return all(permits(claims.topics, topic) for topic in topics)


@dataclass(frozen=True, slots=True)
class Rights:
    """Who somebody is, and what he may do.

    ``ticket`` makes one of claims for a device, if tickets are offered; ``may_subscribe`` answers for all topics
    together.
    """

    verify: Verify
    redeem: Verify = _no_tickets
    ticket: Callable[[Claims, str | None], str | None] = lambda _claims, _device: None
    may_subscribe: Callable[[Claims, Sequence[str]], Awaitable[bool]] = _by_token


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Bounds of the door: times in seconds; no ``origins`` means every origin; ``per_user`` sockets at a time.

    A node without the gateway's role does not ``serve``.
    """

    limits: Limits = field(default_factory=Limits)
    origins: frozenset[str] = frozenset()
    room: Room = field(default_factory=Room)
    per_user: int = 100
    proxies: Container[str] = field(default_factory=Networks)
    longest_retry: float = 10.0
    serves: bool = True


@dataclass(frozen=True, slots=True)
class Surroundings:
    """``monotonic`` and ``unix`` give seconds, ``chance`` numbers in [0, 1), ``entropy`` random bytes.

    ``boot`` is this start of the node, which its connections' ids tell.
    """

    monotonic: Callable[[], float]
    unix: Callable[[], float]
    chance: Callable[[], float]
    entropy: Callable[[int], bytes]
    boot: int = 0


class Counters:
    """What the gateway has done since its start."""

    __slots__ = ("closes", "dropped", "frames", "opened", "refused")

    def __init__(self) -> None:
        self.opened = self.refused = self.frames = self.dropped = 0
        self.closes: Counter[str] = Counter()

    def closed(self, name: str) -> None:
        """Count a close that we said, by its name."""
        self.closes[name] += 1


class House:
    """What connections need of their node."""

    def __init__(
        self,
        inbox: Store,
        rights: Rights,
        hub: Hub,
        surroundings: Surroundings,
        settings: GatewaySettings | None = None,
    ) -> None:
        self._inbox = inbox
        self.rights = rights
        self.hub = hub
        self.monotonic = surroundings.monotonic
        self.unix = surroundings.unix
        self.chance = surroundings.chance
        self._entropy = surroundings.entropy
        self._boot = surroundings.boot
        self.settings = settings or GatewaySettings()
        self.counters = Counters()
        self.turn = Turn()
        self.draining = False
        self._admission = Admission(self.settings.room, self.monotonic, self.chance)
        self._sockets: set[Socket] = set()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()

    # ------------------------------------------------------------------------------------ coming and going

    def enter(self, address: str, upgrade: Upgrade) -> Refusal | None:
        """Let somebody in, until he has left, or say why not."""
        refusal = self._refusal(address, upgrade)
        if refusal is not None:
            self.counters.refused += 1
            return refusal
        self.counters.opened += 1
        self._inside += 1
        self._empty.clear()
        return None

    def leave(self, address: str) -> None:
        """Somebody who was let in has gone."""
        self._admission.leave(address)
        self._inside -= 1
        if not self._inside:
            self._empty.set()

    def admit(self, socket: Socket, address: str, upgrade: Upgrade) -> Refusal | None:
        """The same for a socket."""
        refusal = self.enter(address, upgrade)
        if refusal is None:
            self._sockets.add(socket)
        return refusal

    def forget(self, socket: Socket, address: str) -> None:
        """The transport of a socket is closed."""
        self._sockets.discard(socket)
        self.leave(address)

    def _refusal(self, address: str, upgrade: Upgrade) -> Refusal | None:
        if not self.settings.serves:
            return Refusal(404, "not_found", "this node has no role gateway")
        if self.draining:
            return Refusal(503, "overloaded", "this node goes away", 1 + int(self.chance() * 5))
        origins = self.settings.origins
        if upgrade.origin is not None and origins and upgrade.origin not in origins:
            return Refusal(403, "origin_refused", "this origin is not in ULAK_ALLOW_ORIGINS")
        return self._admission.enter(address)

    def address(self, peer: str, upgrade: Upgrade) -> str:
        """Whose connection it is, by network."""
        return sys.intern(client_address(peer, upgrade.forwarded, self.settings.proxies))

    def agent(self, upgrade: Upgrade) -> str | None:
        """What the client calls itself; kept once for all who do alike."""
        return None if upgrade.user_agent is None else sys.intern(upgrade.user_agent[:_AGENT])

    def new_connection(self) -> str:
        """An id."""
        return connection_id(self._boot, self._entropy(8))

    # ------------------------------------------------------------------------------------ for its connections

    async def believe(self, hello: Authenticate) -> Claims:
        """Whose token or ticket it is; raises ``TokenError``."""
        return await (self.rights.redeem if hello.ticket else self.rights.verify)(hello.token)

    def ticket(self, claims: Claims, device: str | None) -> str | None:
        """For the client's next hello."""
        return self.rights.ticket(claims, device) or None

    def crowded(self, owner: Owner) -> bool:
        """The user has as many sockets on this node as one may."""
        most = self.settings.per_user
        return bool(most) and len(self.hub.members_of(owner)) >= most

    async def mark(self, owner: Owner, action: Mark) -> str | None:
        """Write it; the answer's error code, or None. The change itself comes back as news to every device."""
        tenant, user = owner
        command = action.command
        try:
            await self._inbox.change(tenant, user, action.op, command.ids, command.up_to)
        except EXPECTED as error:
            log.warning("a mark can not be written: %s", type(error).__name__)
            return "unavailable"
        return None
