"""What message does each claimed row become, right before the call: content, files, facts for the vendor?"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ulak.core.choice import refusable
from ulak.core.content import tracked
from ulak.core.content.email import EmailContent
from ulak.core.device import fits
from ulak.core.ids import attempt_id, external
from ulak.core.loaded import Catalogs, Loaded
from ulak.core.model import Account, Channel, Class, NotificationType
from ulak.core.outcome import Kind, Outcome, outcome
from ulak.core.render import RenderError
from ulak.flow.attempt.attachments import Files, fetched
from ulak.flow.attempt.content import content_of
from ulak.io.links import Choices, Linker
from ulak.io.postgres.attempting import Started
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.users import zones
from ulak.providers.contract import (
    Content,
    HttpReply,
    HttpRequest,
    Links,
    Lost,
    Message,
    Provider,
    PushContent,
    Refused,
)

log = logging.getLogger(__name__)

NOT_SENT = "internal_error_before_send"
ELSEWHERE = "device_elsewhere"
"""The reason of a push whose device has registered with another service or key since it was planned."""

_ENTROPY = 48


class NoFiles:
    """Nothing is fetched."""

    async def send(self, request: HttpRequest, deadline: float) -> HttpReply | Lost | Refused:
        """Refuse."""
        del request, deadline
        return Refused("files", "this node fetches no files")


@dataclass(frozen=True, slots=True)
class Made:
    """Messages in the order of their rows, and what became of rows that have none."""

    messages: Mapping[Started, Message]
    failed: Sequence[tuple[Started, Outcome]]


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes messages out of rows; without a ``linker`` they carry no links of ours."""

    pool: Pool
    catalogs: Catalogs
    clock: Callable[[], float]
    files: Files
    linker: Linker | None = None
    entropy: Callable[[int], bytes] = secrets.token_bytes

    async def make(self, rows: Sequence[Started], account: Account, provider: Provider) -> Made:
        """Render each row; one that can't be made has its outcome already. Nothing has been sent by then."""
        messages: dict[Started, Message] = {}
        failed: list[tuple[Started, Outcome]] = []
        known = _Zones(self.pool, rows)
        for row in rows:
            try:
                made = _unreachable(row, account) or await self._message(row, Channel(account.channel), provider, known)
            except RenderError as error:
                made = outcome(Kind.PAYLOAD_ERROR, error.reason, detail=error.detail)
            except Exception:
                log.exception("a message of %s could not be made", account.name)
                made = outcome(Kind.RETRY, NOT_SENT)
            if isinstance(made, Outcome):
                failed.append((row, made))
            else:
                messages[row] = made
        return Made(messages, failed)

    async def on_unknown(self, row: Started) -> str:
        """What the row's type wants where no answer came."""
        loaded: Loaded = await self.catalogs.get(row.tenant, row.catalog)
        return loaded.catalog.types[row.type].on_unknown

    async def _message(self, row: Started, channel: Channel, provider: Provider, known: _Zones) -> Message | Outcome:
        loaded: Loaded = await self.catalogs.get(row.tenant, row.catalog)
        kind = loaded.catalog.types[row.type]
        zoned = provider.CAPABILITIES.content and loaded.renderer.zoned(kind, channel, row.locale)
        zone = await known.of(row) if zoned else None
        choices = await self._choices(row, channel, loaded, kind)
        content = content_of(channel, provider, row, loaded, zone, choices)
        if isinstance(content, EmailContent) and content.linked:
            whole = await fetched(content, self.files, self.clock)
            if isinstance(whole, Outcome):
                return whole
            content = whole
        if kind.track and isinstance(content, EmailContent):
            content = await self._tracked(content, row, kind)
        return Message(
            delivery=external("dlv", row.delivery),
            attempt=attempt_id(row.delivery, row.n),
            target=row.target,
            content=content,
            expires_at=row.expires_at,
            tenant=row.tenant,
            klass=Class(row.klass),
            type=row.type,
            category=kind.category,
            user=row.user,
            links=Links(choices.one_click) if choices and choices.one_click else None,
            notification=external("ntf", row.notification),
            device=row.device,
            badge=row.badge,
            collapse=row.collapse,
            receipt=await self._receipt(row, content),
            entropy=self.entropy(_ENTROPY) if provider.CAPABILITIES.entropy else b"",
        )

    async def _receipt(self, row: Started, content: Content) -> str | None:
        """By what the app tells that it was shown."""
        if self.linker is None or not isinstance(content, PushContent):
            return None
        await self.linker.ready()
        return self.linker.receipt(row.tenant, row.delivery)

    async def _tracked(self, content: EmailContent, row: Started, kind: NotificationType) -> EmailContent:
        """The same email, telling of clicks and of being shown as far as its type asks for it."""
        linker, html = self.linker, content.html
        if linker is None or not linker.base or html is None:
            return content
        await linker.ready()
        if "clicks" in kind.track:
            html = tracked.clicks(html, lambda url: linker.click(row.tenant, row.delivery, url), linker.own)
        picture = linker.shown(row.tenant, row.delivery) if "opens" in kind.track else None
        return replace(content, html=html if picture is None else tracked.shown(html, picture))

    async def _choices(self, row: Started, channel: Channel, loaded: Loaded, kind: NotificationType) -> Choices | None:
        """Where the recipient refuses messages of this kind; None where he does not do it by a link."""
        if self.linker is None or channel is not Channel.EMAIL or kind.category not in refusable(loaded.catalog):
            return None
        await self.linker.ready()
        return self.linker.choices(row.tenant, row.user, channel, kind.category, row.delivery)


def _unreachable(row: Started, account: Account) -> Outcome | None:
    """What becomes of a push whose device this account does not reach; nothing is rendered for it."""
    if account.channel != Channel.PUSH:
        return None
    if row.device is None:
        return outcome(Kind.RETRY, NOT_SENT, detail="a device of a kind that this release does not know")
    if fits(account, row.device.kind, row.device.app, row.device.account):
        return None
    return outcome(Kind.NEXT_PROVIDER, ELSEWHERE)


class _Zones:
    """Time zones of a batch's users, read together when the first one is asked for."""

    def __init__(self, pool: Pool, rows: Sequence[Started]) -> None:
        self._pool = pool
        self._rows = rows
        self._known: Mapping[tuple[int, str], str] | None = None

    async def of(self, row: Started) -> str | None:
        """The stored time zone of a row's user, if there is one."""
        if self._known is None:
            self._known = await zones(self._pool, [(each.tenant, each.user) for each in self._rows])
        return self._known.get((row.tenant, row.user))
