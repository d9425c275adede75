"""What must a provider's translator offer, and what may it ask I/O to do?

A provider is a module of pure functions. ``build`` turns messages into requests of the closed union
below; I/O sends each one and hands back a reply of the closed union; ``read`` says what it meant.
Nothing here touches the world, so every vendor is tested by the thousand in a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

import msgspec

from ulak.core.content.email import ContentError, EmailContent
from ulak.core.content.push import PushContent
from ulak.core.device import Device
from ulak.core.model import Account, Channel, Class
from ulak.core.outcome import Kind, Outcome
from ulak.core.receipt import Permanence, Receipt, ReceiptKind, Told

__all__ = [
    "Callback",
    "Capabilities",
    "ConfirmSubscription",
    "Content",
    "ContentError",
    "Credential",
    "Credentialed",
    "DiscardRequest",
    "Discarded",
    "EmailContent",
    "Events",
    "FetchCertificate",
    "Findable",
    "HttpReply",
    "HttpRequest",
    "Links",
    "Lost",
    "Message",
    "NoContent",
    "Permanence",
    "Phase",
    "Provider",
    "PushContent",
    "Reactivates",
    "Receipt",
    "ReceiptKind",
    "Refused",
    "Rejected",
    "Reply",
    "Request",
    "Row",
    "SmtpReply",
    "SmtpRequest",
    "Stage",
    "Told",
    "Ungranted",
    "Verified",
]


@dataclass(frozen=True, slots=True)
class NoContent:
    """For channels whose provider discards everything (``noop``)."""


@dataclass(frozen=True, slots=True)
class InboxContent:
    """A rendered inbox item as JSON; ``watched`` when what the user does with it can stop a later step."""

    json: str
    watched: bool


Content = EmailContent | InboxContent | PushContent | NoContent


class Links(msgspec.Struct, frozen=True, gc=False):
    """Where a recipient says no: ``unsubscribe`` is an HTTPS URL for one-click (RFC 8058), ``mailto`` an address."""

    unsubscribe: str
    mailto: str | None = None


class Message(msgspec.Struct, frozen=True, gc=False):
    """One delivery, ready to be translated.

    ``attempt`` is our id of this call (``att_…``), carried to the vendor where it can echo it;
    ``delivery`` stays the same over retries; ``target`` is one address. ``type``, ``category`` and ``klass``
    are those of the notification type; ``user`` is the caller's id of the recipient and never leaves Ulak.

    For push: ``target`` is the id of ``device``, ``badge`` the user's unread items now, ``collapse`` the request's key
    by which newer messages replace older ones, ``receipt`` the sealed token by which the app tells that it was shown,
    ``entropy`` 48 fresh random bytes for providers whose ``CAPABILITIES.entropy`` says so.
    """

    delivery: str
    attempt: str
    target: str
    content: Content
    expires_at: datetime
    tenant: int = 0
    klass: Class = Class.TRANSACTIONAL
    type: str = ""
    category: str = ""
    user: str = ""
    links: Links | None = None
    notification: str = ""
    device: Device | None = None
    badge: int = 0
    collapse: str | None = None
    receipt: str | None = None
    entropy: bytes = b""

    def __repr__(self) -> str:
        """Without address, content and token."""
        return f"Message({self.attempt})"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        """The same for programs that draw."""
        return [("attempt", self.attempt)]


@dataclass(frozen=True, slots=True)
class SmtpRequest:
    """One SMTP transaction with exactly one recipient; ``message`` is the complete RFC 5322 text."""

    sender: str
    recipient: str = field(repr=False)
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request through the egress guard, by the version of HTTP that its sender speaks.

    That of a ``Credentialed`` provider has no ``authorization``: its sender adds it. Nothing but the method is printed:
    who knows the path of a push can write to its device.
    """

    method: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class InboxRequest:
    """Put items into inboxes, in one transaction: (tenant, delivery id, content)."""

    items: tuple[tuple[int, str, InboxContent], ...]


@dataclass(frozen=True, slots=True)
class DiscardRequest:
    """Ask I/O for nothing at all (``noop``)."""


Request = SmtpRequest | HttpRequest | InboxRequest | DiscardRequest


class Stage(StrEnum):
    """Where an SMTP transaction stood when the reply came."""

    CONNECT = "connect"
    GREETING = "greeting"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    END = "end"


@dataclass(frozen=True, slots=True)
class SmtpReply:
    """A reply of the server: ``stage`` END with 250 means that it took the message."""

    stage: Stage
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A complete HTTP answer, body cut to the client's cap. Only the status is printed: it may grant a credential."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """The items of an ``InboxRequest`` are in their inboxes, each once."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """The answer to a ``DiscardRequest``."""


class Phase(StrEnum):
    """How far a request had come when the connection failed."""

    NOT_SENT = "not_sent"
    SENT = "sent"


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer: refused, timed out or cut off.

    ``NOT_SENT`` means that the vendor can not have taken it (nothing left, or the part that makes
    it binding did not); ``SENT`` that it may have.
    """

    phase: Phase
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The egress guard would not dial: the address is on the deny list or the URL is unusable."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Ungranted:
    """Nothing was sent, because no credential could be had: ``reply`` is what the grant's request came to."""

    reply: HttpReply | Lost | Refused


Reply = SmtpReply | HttpReply | Stored | Discarded | Lost | Refused | Ungranted


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the vendor can do; ``batch`` is the most messages of one request.

    Without ``content`` nothing is rendered for it. With ``lookup`` it can be asked whether it took a message: its
    module has the face of ``Findable``. With ``entropy`` its messages bring random bytes.
    """

    channel: Channel
    batch: int = 1
    content: bool = True
    idempotent: bool = False
    lookup: bool = False
    entropy: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a provider's ``OUTCOMES``: which answer means what, and why, in a sentence for people.

    ``reason`` may hold ``{code}`` and ``{status}``, filled in from the reply.
    """

    answer: str
    kind: Kind
    reason: str
    sentence: str


class Provider(Protocol):
    """The face of a provider's module (``providers/<channel>/<vendor>.py``).

    ``OUTCOMES`` is the table that ``read`` follows and that the vendor's page in the docs is made from.
    """

    @property
    def CAPABILITIES(self) -> Capabilities:  # noqa: N802 - a constant of the module
        """What the vendor can do."""

    @property
    def OUTCOMES(self) -> Sequence[Row]:  # noqa: N802 - a constant of the module
        """What its answers mean; the first row that fits wins."""

    def check(self, settings: Mapping[str, object]) -> None:
        """Raise ``ValueError`` naming the key when an account's settings are unusable."""

    def build(self, messages: Sequence[Message], account: Account, now: datetime) -> Request:
        """Translate up to ``CAPABILITIES.batch`` messages into one request.

        Raises ``ContentError`` for a message that can never be sent: a ``payload_error`` before any call.
        """

    def read(self, reply: Reply, messages: Sequence[Message], account: Account, now: datetime) -> Sequence[Outcome]:
        """Say what the reply meant, one outcome a message, in order. Never raises, whatever the reply."""


@dataclass(frozen=True, slots=True)
class Credential:
    """The value of an ``authorization`` field: to be renewed from ``renew_at`` on, useless from ``ends_at`` on."""

    value: str = field(repr=False)
    renew_at: datetime
    ends_at: datetime


class Credentialed(Protocol):
    """What a provider's module offers besides, whose calls carry a credential that many calls share.

    I/O keeps it (``io/credentials``), one for each account and scope, so that these functions stay pure.
    """

    def scope(self, request: HttpRequest, account: Account) -> str:
        """What one credential is good for: the origin of the request, or the empty text for all of an account's."""

    def credential(self, scope: str, account: Account, now: datetime) -> Credential | HttpRequest:
        """The credential of this moment, the same on every node, or the request that asks a vendor for one."""

    def granted(self, reply: HttpReply, account: Account, now: datetime) -> Credential | None:
        """What that request was answered with; None when it is no grant. Never raises."""

    def stale(self, reply: HttpReply) -> bool:
        """Whether the vendor refused the credential itself, so that a newer one may help. Never raises."""


class Findable(Protocol):
    """What a provider's module offers besides, when its ``CAPABILITIES.lookup`` says so.

    The row of the reason it gives stands in its ``LOOKUP``, for the docs.
    """

    def lookup(self, message: Message, account: Account, now: datetime) -> HttpRequest:
        """Ask whether the vendor took this delivery, by whatever attempt. Raises ``ContentError`` as ``build`` does."""

    def found(self, reply: Reply, message: Message, account: Account, now: datetime) -> Outcome | None:
        """``accepted`` with the vendor's id when the reply proves that it did; None for all else. Never raises."""


class Reactivates(Protocol):
    """What a provider's module offers besides, whose vendor keeps a list that an address can be taken off."""

    def reactivate(self, address: str, account: Account, now: datetime) -> tuple[HttpRequest, ...]:
        """Ask the vendor to write to an address again: one request for each of its lists."""

    def reactivated(self, reply: HttpReply, now: datetime) -> bool | str:
        """True: it is off the list; False: it was not there; a text: the reason why it stays. Never raises."""


@dataclass(frozen=True, slots=True)
class Callback:
    """A request that claims to come from a vendor, as it came; header names are in lower case."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class FetchCertificate:
    """The certificate at ``url`` is needed before the callback can be judged."""

    url: str


@dataclass(frozen=True, slots=True)
class ConfirmSubscription:
    """The vendor wants ``url`` to be called before it sends events."""

    url: str


@dataclass(frozen=True, slots=True)
class Verified:
    """It is the vendor's. ``events`` says that its body holds events to keep; ``then`` what else it asks for."""

    events: bool = True
    then: tuple[ConfirmSubscription, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """It is not known to be the vendor's: nothing of it is kept.

    ``reason`` is a short word for the log, ``status`` the answer; ``challenge`` asks for Basic authentication.
    """

    reason: str
    status: int = 403
    challenge: bool = False


class Events(Protocol):
    """The face of a vendor's events (``providers/<channel>/<vendor>_events.py``).

    The keys of an account that concern them begin with ``events_``; without any the account takes no callbacks.
    """

    def check(self, settings: Mapping[str, object]) -> None:
        """Raise ``ValueError`` naming the key when an account's ``events_…`` settings are unusable."""

    def needs(self, callback: Callback, account: Account, now: datetime) -> Sequence[FetchCertificate]:
        """What has to be fetched before ``verify``; nothing for a callback that is refused anyway. Never raises."""

    def verify(
        self, callback: Callback, account: Account, fetched: Mapping[str, bytes], now: datetime
    ) -> Verified | Rejected:
        """Judge the raw bytes. Whatever is not proven is rejected. Never raises."""

    def receipts(self, body: bytes) -> Told:
        """The events of a verified body, in our words. Never raises; what is not known is counted."""
