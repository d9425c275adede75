"""What does one end of a socket ``ulak.v1`` say and do, given what it hears?

The server's side of the protocol without any I/O: text and events in, actions out. The shell carries
the actions out, in order, and reports back.

    receive()          a frame came               authenticated() / refused()   after Authenticate
    page()             after Fetch                answered()                    after Mark, Acked, Refresh
    hinted()           the inbox has moved        hold() / release()            the client reads slowly
    recheck()          so may the history have    drain() / fail()              this node goes away, or broke
    tick()             time has passed

Rules:

1. The first command is ``hello``; it decides whose inbox this is. The rest waits for ``welcome``.
2. A client holds everything up to its revision. Each ``items`` or ``changed`` says between which two
   revisions (``prev``, ``revision``) it tells all, so that a gap can't go unnoticed.
3. Content is left out (``changed``) only for items that this connection is known to hold: born before a
   moment at which it had reached the top. After a resume nothing is known, so items come whole.
4. An ``ack`` covers only what was sent on this connection.
5. One read of the inbox is under way at a time, and none while the client reads slowly: then the session
   stays behind and goes on from its revision.

The page ``spec/socket.md`` is made from the tables here and in ``session_commands``.
"""

from __future__ import annotations

from enum import Enum, auto

from ulak.core.inbox import News, Page, join, must_restart
from ulak.core.invalid import Invalid
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
from ulak.core.session_commands import (
    Ack,
    Bad,
    Bucket,
    Close,
    Command,
    Hello,
    Limits,
    Listen,
    MarkItems,
    Ping,
    Presence,
    Renew,
    closing,
    parse,
    plain_ack,
    read_frame,
)
from ulak.core.session_texts import cut, error, frame

_NOBODY = Hello(None, "")
_EVER = 1e11
"""Unix seconds beyond which a token is said to end never (in tests)."""


class _At(Enum):
    HELLO = auto()
    TOKEN = auto()
    FIRST_PAGE = auto()
    OPEN = auto()
    CLOSED = auto()


class Session:
    """One connection's state. ``now`` is monotonic seconds, except token expiry, which is Unix time."""

    __slots__ = (
        "_acked",
        "_at",
        "_behind",
        "_bucket",
        "_counted",
        "_empty_at",
        "_expires_at",
        "_fetching",
        "_held_since",
        "_hello",
        "_hello_by",
        "_known",
        "_synced",
        "_ticket",
        "_user",
        "active",
        "connection",
        "epoch",
        "limits",
        "open",
        "sent",
    )

    def __init__(self, connection: str, now: float, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.connection = connection
        self.active = False
        self.open = False  # the client has been welcomed, and nothing has ended it
        self.sent = 0
        self.epoch = ""
        self._at = _At.HELLO
        self._hello_by = now + self.limits.hello_seconds
        self._bucket = Bucket(self.limits, now)
        self._hello = _NOBODY
        self._ticket: str | None = None
        self._user = ""
        self._expires_at = float("inf")
        self._acked = 0
        self._synced = 0
        self._empty_at = 0
        self._known = 0
        self._fetching = False
        self._behind = False
        self._held_since: float | None = None
        self._counted: tuple[int, int] | None = None

    @property
    def expires_at(self) -> float:
        """When the token ends, in Unix seconds."""
        return self._expires_at

    @property
    def held(self) -> bool:
        """The client reads slowly, and is told nothing meanwhile."""
        return self._held_since is not None

    @property
    def closed(self) -> bool:
        """Nothing more will be said."""
        return self._at is _At.CLOSED

    # ------------------------------------------------------------------------------------ what the client says

    def receive(self, data: str | bytes, now: float) -> list[Action]:
        """Take one frame."""
        if self.closed:
            return []
        ack = plain_ack(data)
        if ack is not None:
            return self._command(ack, now)
        try:
            commands = read_frame(data, self.limits)
        except Invalid as wrong:
            return self._close("too_big" if wrong.code == "too_big" else "bad_frame", wrong.message)
        actions: list[Action] = []
        for raw in commands:
            actions += self._command(parse(raw, self.limits), now)
            if actions and isinstance(actions[-1], Close):
                break
        return actions

    def _command(self, command: Command, now: float) -> list[Action]:
        if not self._bucket.take(now):
            if self._bucket.exhausted:
                return self._close("too_fast")
            return [error(command.id, "rate_limited")]
        if self._at is _At.HELLO:
            return self._greet(command)
        if isinstance(command, Bad):
            return [error(command.id, command.code)]
        if isinstance(command, Hello):
            return self._close("hello_twice")
        if isinstance(command, Ping):
            return [frame("pong", {} if command.id is None else {"id": command.id})]
        if self._at is not _At.OPEN:
            return [error(command.id, "not_ready")]
        return self._do(command)

    def control(self, now: float) -> list[Action]:
        """A ping or a pong came: too many are answered like too many commands."""
        self._bucket.take(now)
        return self._close("too_fast") if self._bucket.exhausted else []

    def _greet(self, command: Command) -> list[Action]:
        if not isinstance(command, Hello):
            return self._close("bad_hello", command.code if isinstance(command, Bad) else "hello comes first")
        self._hello = command
        self._at = _At.TOKEN
        return [Authenticate(command.token, command.device, command.ticket, command.meta)]

    def _do(self, command: Command) -> list[Action]:
        if isinstance(command, Presence):
            self.active = command.active
            return self.answered(command)
        if isinstance(command, Renew):
            return [Refresh(command.token, command)]
        if isinstance(command, Listen):
            return [(Subscribe if command.on else Unsubscribe)(command.topics, command)]
        if isinstance(command, Ack):
            return self._ack(command)
        assert isinstance(command, MarkItems)
        if command.up_to is not None and command.up_to > self.sent:
            return [error(command.id, "not_sent")]
        return [Mark(command.op, command)]

    def _ack(self, command: Ack) -> list[Action]:
        if command.revision > self.sent:
            return [error(command.id, "not_sent")]
        if command.revision <= self._acked:
            return self.answered(command)
        after, self._acked = self._acked, command.revision
        return [Acked(after, command.revision, self.active, command)]

    # ------------------------------------------------------------------------------------ what the shell reports

    def authenticated(self, user: str, expires_at: float, ticket: str | None = None) -> list[Action]:
        """The token of ``hello`` is good; ``ticket`` is for the client's next one."""
        if self._at is not _At.TOKEN:
            return []
        self._user, self._expires_at, self._ticket = user, expires_at, ticket
        self._at = _At.FIRST_PAGE
        return self._fetch(self._hello.since or 0)

    def refused(self, *, expired: bool = False, revoked: bool = False) -> list[Action]:
        """The token of ``hello`` is not."""
        return self._close("revoked" if revoked else "token_expired" if expired else "bad_token")

    def refreshed(self, command: Command, expires_at: float, ticket: str | None = None) -> list[Action]:
        """The new token is good."""
        if self.closed:
            return []
        self._expires_at = expires_at
        told = {"id": command.id, "expires": int(expires_at)} | ({"ticket": ticket} if ticket else {})
        return [frame("ok", told)] if command.id is not None else []

    def answered(self, command: Command, code: str | None = None) -> list[Action]:
        """A command was carried out, or failed with this code."""
        if self.closed or (command.id is None and code is None):
            return []
        return [error(command.id, code) if code else frame("ok", {"id": command.id})]

    def page(self, page: Page) -> list[Action]:
        """What a ``Fetch`` found."""
        self._fetching = False
        if self.closed:
            return []
        if self.held:  # it was asked for before: there is no room for it now
            self._behind = True
            return []
        actions: list[Action] = []
        if self._at is _At.FIRST_PAGE:
            actions += self._welcome(page)
        elif self._is_torn(page):
            return self._close("resync")
        if page.since > self.sent:
            return actions + self._fetch(self.sent)
        actions += self._tell(page)
        if page.more or max(self._known, page.top) > self.sent:
            actions += self._fetch(self.sent)
        return actions

    def hinted(self, revision: int) -> list[Action]:
        """Somebody says that the inbox has reached this revision."""
        self._known = max(self._known, revision)
        if self._at is not _At.OPEN or self._fetching or self._known <= self.sent:
            return []
        return self._fetch(self.sent)

    def live(self, news: News) -> bool:
        """Whether the client lacks nothing but these news: then send it their ``live_texts``, else call ``hinted``."""
        if (
            not self.open
            or self.sent != news.revision - 1
            or self._fetching
            or self._held_since is not None
            or news.item is None
            or news.unread < 0
            or news.epoch != self.epoch
        ):
            return False
        self.sent = self._synced = news.revision
        self._counted = (news.unread, news.unseen)
        return True

    def recheck(self) -> list[Action]:
        """Read once more whatever is known: the history itself may have changed."""
        return self._fetch(self.sent) if self._at is _At.OPEN and not self._fetching else []

    def hold(self, now: float) -> None:
        """The client reads more slowly than we write: stop telling."""
        if self._held_since is None:
            self._held_since = now

    def release(self) -> list[Action]:
        """All that was written has left: go on from where we stopped."""
        self._held_since = None
        behind, self._behind = self._behind, False
        if not behind or self._fetching or self.closed:
            return []
        return self._fetch(self.sent if self._at is _At.OPEN else self._hello.since or 0)

    def tick(self, now: float, unix: float) -> list[Action]:
        """Close what has waited too long; call it about once a second."""
        if self._at is _At.HELLO and now >= self._hello_by:
            return self._close("hello_timeout")
        if self._held_since is not None and now - self._held_since >= self.limits.slow_seconds:
            return self._close("slow_consumer")
        if unix >= self._expires_at:
            return self._close("token_expired")
        return []

    def due(self, now: float, unix: float) -> float:
        """When ``tick`` has something to do, if nothing else happens before."""
        if self._at is _At.HELLO:
            return self._hello_by
        ends = now + (self._expires_at - unix)
        return ends if self._held_since is None else min(ends, self._held_since + self.limits.slow_seconds)

    def drain(self, retry_after: float) -> list[Action]:
        """Send the client elsewhere; it waits ``retry_after`` seconds first."""
        if self.closed:
            return []
        return [frame("drain", {"retry_after": round(retry_after, 3)}), *self._close("draining")]

    def fail(self) -> list[Action]:
        """Something of ours broke."""
        return self._close("internal")

    def gone(self) -> None:
        """The connection is lost, or its client has said its close: nothing more can be said."""
        self._at = _At.CLOSED
        self.open = False

    def end(self, name: str, detail: str = "") -> list[Action]:
        """Close it by this name of a close code."""
        return self._close(name, detail)

    # ------------------------------------------------------------------------------------ telling

    def _welcome(self, page: Page) -> list[Action]:
        full = must_restart(page, self._hello.since, self._hello.epoch)
        self.sent = self._acked = 0 if full else self._hello.since or 0
        self._empty_at = page.top if full else 0  # tombstones up to here are none of this client's
        self.epoch = page.epoch
        self._at = _At.OPEN
        self.open = True
        welcome = {
            "connection": self.connection,
            "user": self._user,
            "revision": page.top,
            "epoch": page.epoch,
            "full": full,
            "ping": self.limits.ping_seconds,
        }
        if self._expires_at < _EVER:
            welcome["expires"] = int(self._expires_at)
        if self._ticket is not None:
            welcome["ticket"] = self._ticket
        greeting, self._hello, self._ticket, self._user = self._hello, _NOBODY, None, ""
        return [frame("welcome", welcome), *self.answered(greeting)]

    def _is_torn(self, page: Page) -> bool:
        """Whether the client may hold what is not true any more, and can't be told by going on."""
        lost_removals = self.sent > 0 and page.oldest > max(self.sent, self._empty_at)
        return page.epoch != self.epoch or page.top < self.sent or lost_removals

    def _tell(self, page: Page) -> list[Action]:
        actions: list[Action] = []
        news = [item for item in page.items if item.revision > self.sent]
        runs, whole = cut(news, self._synced, self.limits.chunk)
        for position, (op, texts, reaches) in enumerate(runs):
            more = page.more or not whole or position < len(runs) - 1
            actions.append(self._advance(op, texts, reaches, more=more))
        if page.more or not whole:
            return actions
        if self.sent < page.top:  # the newest changes were tombstones that are purged by now
            actions.append(self._advance("items", [], page.top, more=False))
        self._synced = self.sent
        if self._counted != (page.unread, page.unseen):
            self._counted = (page.unread, page.unseen)
            actions.append(frame("count", {"unread": page.unread, "unseen": page.unseen, "revision": page.top}))
        return actions

    def _advance(self, op: str, texts: list[str], revision: int, *, more: bool) -> Send:
        prev, self.sent = self.sent, revision
        tail = f'"prev":{prev},"revision":{revision},"more":{"true" if more else "false"}}}'
        return Send(f'{{"op":"{op}","items":{join(texts)},{tail}')

    def _fetch(self, since: int) -> list[Action]:
        if self._held_since is not None:
            self._behind = True
            return []
        self._fetching = True
        self._known = 0
        return [Fetch(since)]

    def _close(self, name: str, detail: str = "") -> list[Action]:
        if self.closed:
            return []
        self._at = _At.CLOSED
        self.open = False
        return [closing(name, detail)]
