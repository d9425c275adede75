"""What happens on one socket of a user, from its handshake to its end?

The protocol is ``core/session``; here its actions touch the world. What is done at once is done in the callback
that brought the frame. What takes time (a token, a mark, a topic) is done by a task that lives as long as that;
meanwhile nothing more is read, so that commands are carried out in their order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from math import inf

from ulak.core.connections import Described
from ulak.core.handshake import Refusal, Upgrade
from ulak.core.session import Session
from ulak.core.session_actions import (
    Acked,
    Action,
    Authenticate,
    Fetch,
    Mark,
    Refresh,
    Send,
    Subscribe,
    Unsubscribe,
)
from ulak.core.session_commands import Close
from ulak.core.token import Claims, TokenError
from ulak.core.websocket import Encoded, Event, Opcode, frame
from ulak.edge.gateway.house import House
from ulak.edge.gateway.model import Owner
from ulak.edge.gateway.socket import Socket
from ulak.io.postgres.errors import EXPECTED

log = logging.getLogger(__name__)

_SLOW = (Authenticate, Mark, Refresh, Subscribe)
_NOBODY: Owner = (-1, "")
_NO_CLAIMS = Claims(-1, "", inf)


class Connection(Socket):
    """One socket; a ``Member`` of the hub from the moment its token is believed."""

    __slots__ = (
        "_address",
        "_agent",
        "_connected_at",
        "_device",
        "_house",
        "_meta",
        "_ping_at",
        "_pong_by",
        "_seen",
        "_task",
        "claims",
        "owner",
        "session",
        "slot",
        "topics",
    )

    def __init__(self, house: House) -> None:
        super().__init__(house.turn)
        self._house = house
        self.session: Session = None  # type: ignore[assignment]  # opened comes first
        self.owner = _NOBODY
        self.claims = _NO_CLAIMS
        self.topics: set[str] | None = None
        self.slot = 0
        self._task: asyncio.Task[None] | None = None
        self._device: str | None = None
        self._meta: str | None = None
        self._agent: str | None = None
        self._address = ""
        self._connected_at = self._seen = 0.0
        self._ping_at = self._pong_by = inf

    # ------------------------------------------------------------------------------------ as a member of the hub

    def act(self, actions: Iterable[Action]) -> None:
        """Carry out what can be carried out at once; what is to be sent together is one frame."""
        texts: list[str] = []
        for action in actions:
            if isinstance(action, Send):
                texts.append(action.text)
                continue
            if texts:
                self._say(texts)
                texts = []
            if isinstance(action, Fetch):
                self._house.hub.want(self, action.since)
            elif isinstance(action, Close):
                self.bye(action.code, action.reason)
                self._house.counters.closed(action.reason.partition(":")[0])
            elif isinstance(action, Acked):
                self._house.hub.ack(self, action)
            elif isinstance(action, Unsubscribe):
                self._house.hub.unsubscribe(self, action.topics)
                self.act(self.session.answered(action.command))
            else:
                raise TypeError(f"{type(action).__name__} comes only from a frame")
        if texts:
            self._say(texts)

    def tell(self, frame: Encoded) -> None:
        """Send what the session has counted as sent."""
        self._house.counters.frames += 1
        self.write(frame.frame)

    def ephemeral(self, frame: Encoded) -> None:
        """Send a message or notice, unless the client reads slowly or is not welcomed yet."""
        counters = self._house.counters
        if self._full or not self.session.open:
            counters.dropped += 1
        else:
            counters.frames += 1
            self.write(frame.frame)

    def close(self, name: str) -> None:
        """End by this name of a close code."""
        self.act(self.session.end(name))

    def tick(self, now: float, unix: float) -> float:
        """Close what is over, ask whether the client is there, and let go of one that did not say so."""
        if not self.is_open:
            return inf
        session = self.session
        over = session.tick(now, unix)
        if over:
            self.act(over)
        if self._full or self.busy:  # its pong may be there, unread
            self._pong_by = inf
        elif now >= self._pong_by:
            self.close("missed_ping")
        if session.closed:
            return inf
        if now >= self._ping_at:
            self.ping()
            self._pong_by = now + session.limits.pong_seconds
            self._ping_at = now + session.limits.ping_seconds
        return min(self._ping_at, self._pong_by, session.due(now, unix))

    def describe(self) -> Described:
        """What operators are told of it."""
        return Described(
            id=self.session.connection,
            user=self.owner[1],
            transport="socket",
            connected_at=self._connected_at,
            seen=self._seen,
            active=self.session.active,
            device=self._device,
            user_agent=self._agent,
            address=self._address,
            topics=tuple(sorted(self.topics or ())),
            meta=self._meta,
            expires_at=self.session.expires_at,
        )

    # ------------------------------------------------------------------------------------ as a socket

    @property
    def busy(self) -> bool:
        """A command is being carried out."""
        return self._task is not None

    def admit(self, upgrade: Upgrade) -> Refusal | None:
        """Ask the door."""
        peer = self.transport.get_extra_info("peername")
        self._address = self._house.address(peer[0] if peer else "", upgrade)
        self._agent = self._house.agent(upgrade)
        return self._house.admit(self, self._address, upgrade)

    def opened(self) -> None:
        """Wait for the hello."""
        house = self._house
        now = house.monotonic()
        self._connected_at = self._seen = house.unix()
        self.session = Session(house.new_connection(), now, house.settings.limits)
        # Spread over the time between two pings, so that thousands who came together do not beat together.
        self._ping_at = now + self.session.limits.ping_seconds * house.chance()
        self._look()

    def received(self, event: Event) -> None:
        """Hand a message to the session."""
        self._pong_by = inf
        data = event.text if event.opcode == Opcode.TEXT else event.data
        self._carry_out(self.session.receive(data, self._house.monotonic()))

    def controlled(self, event: Event) -> None:
        """A client that floods us with pings and pongs is sent away."""
        self._pong_by = inf
        if event.opcode == Opcode.PONG:
            self._seen = self._house.unix()
        too_many = self.session.control(self._house.monotonic())
        if too_many:
            self.act(too_many)

    def filled(self) -> None:
        """Tell nothing more."""
        self.session.hold(self._house.monotonic())
        self._look()

    def drained(self) -> None:
        """Go on from where we stopped."""
        self._carry_out(self.session.release())

    def oversized(self, reason: str) -> None:
        """The limits are the protocol's own."""
        self.act(self.session.end("too_big", reason))

    def failed(self) -> None:
        """Say so, and invite back."""
        self.act(self.session.fail())

    def ended(self) -> None:
        """Presence ends here, before the transport's last byte."""
        self.session.gone()
        self._house.hub.leave(self)

    def gone(self) -> None:
        """Make room."""
        self._house.forget(self, self._address)

    # ------------------------------------------------------------------------------------ carrying out

    def _look(self) -> None:
        """What time has to do next may have changed."""
        house = self._house
        if self.is_open:
            due = self.session.due(house.monotonic(), house.unix())
            house.hub.look(self, min(self._ping_at, self._pong_by, due))

    def _say(self, texts: list[str]) -> None:
        if not self.is_open:
            return
        self._house.counters.frames += 1
        text = texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"
        self.write(frame(Opcode.TEXT, text.encode()))

    def _carry_out(self, actions: list[Action]) -> None:
        for position, action in enumerate(actions):
            if isinstance(action, _SLOW):
                self.act(actions[:position])
                self.pause()
                self._task = asyncio.get_running_loop().create_task(self._work(actions[position:]))
                return
        self.act(actions)

    async def _work(self, actions: list[Action]) -> None:
        """Carry these out one after the other; then read on."""
        try:
            for action in actions:
                if isinstance(action, Authenticate):
                    await self._authenticate(action)
                elif isinstance(action, Mark):
                    self.act(self.session.answered(action.command, await self._house.mark(self.owner, action)))
                elif isinstance(action, Refresh):
                    await self._refresh(action)
                elif isinstance(action, Subscribe):
                    self.act(self.session.answered(action.command, await self._subscribe(action)))
                else:
                    self.act([action])
        except Exception:
            log.exception("a command ends its socket by a fault of ours")
            self.failed()
        finally:
            self._task = None
        self.resume()

    async def _authenticate(self, action: Authenticate) -> None:
        house, session = self._house, self.session
        try:
            claims = await house.believe(action)
        except TokenError as error:
            self.act(
                session.fail() if error.unavailable else session.refused(expired=error.expired, revoked=error.revoked)
            )
            return
        except EXPECTED as error:
            log.warning("tokens can not be checked: %s", type(error).__name__)
            self.act(session.fail())
            return
        if not self.is_open:
            return
        self.claims, self.owner = claims, (claims.tenant, claims.user)
        self._device, self._meta = action.device or claims.device, action.meta
        if house.crowded(self.owner):
            self.act(session.end("too_many"))
            return
        house.hub.enter(self)
        self.act(session.authenticated(claims.user, claims.expires_at, house.ticket(claims, self._device)))
        self._look()

    async def _refresh(self, action: Refresh) -> None:
        house, session = self._house, self.session
        try:
            claims = await house.rights.verify(action.token)
        except TokenError as error:
            self.act(session.answered(action.command, "unavailable" if error.unavailable else "bad_token"))
        except EXPECTED:
            self.act(session.answered(action.command, "unavailable"))
        else:
            if (claims.tenant, claims.user) != self.owner:
                self.act(session.answered(action.command, "bad_token"))
                return
            self.claims = claims
            ticket = house.ticket(claims, self._device)
            self.act(session.refreshed(action.command, claims.expires_at, ticket))
            self._look()

    async def _subscribe(self, action: Subscribe) -> str | None:
        """The answer's error code, or None."""
        known = self.topics or set()
        if len(known | set(action.topics)) > self.session.limits.topics:
            return "too_many_topics"
        wanted = [topic for topic in action.topics if topic not in known]
        try:
            allowed = not wanted or await self._house.rights.may_subscribe(self.claims, wanted)
        except EXPECTED as error:
            log.warning("subscribers can not be looked up: %s", type(error).__name__)
            return "unavailable"
        if not allowed:
            return "forbidden"
        if self.is_open:
            self._house.hub.subscribe(self, wanted)
        return None
