"""What do SendGrid's answers mean, and what do we send it?

``POST /v3/mail/send``, one personalization with one recipient a call. There is no idempotency key, so our attempt
id goes along in ``custom_args``, which every event gives back. SendGrid's own tracking of opens, clicks and
unsubscribes is switched off: what Ulak is not asked to track, nobody tracks. Its suppression lists are never bypassed.

Sources: SendGrid's OpenAPI description of the mail API, its pages on errors, limitations and rate limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import quote

import msgspec

from ulak.core.content.email import ContentError
from ulak.core.model import Account, Channel, Class
from ulak.core.outcome import Kind, Outcome
from ulak.providers import keys
from ulak.providers.answers import Answer, Table, rule, seconds, text_of
from ulak.providers.contract import Capabilities, HttpReply, HttpRequest, Message, Reply
from ulak.providers.letter import Letter, Mailbox, check_size, letter_of

CAPABILITIES = Capabilities(channel=Channel.EMAIL)

PATH = "/v3/mail/send"
LISTS = ("bounces", "blocks", "spam_reports")
"""Whose addresses SendGrid drops without the recipient having asked for it by a link."""
MOST_BYTES = 30_000_000
MOST_ARGUMENT_BYTES = 10_000
MOST_CATEGORIES = 10
CREDIT_SECONDS = 3_600.0
"""How long to leave an account alone whose credits are used up: somebody has to buy more, or a day has to end."""

LEFT_OUT = frozenset(
    {
        "bcc", "cc", "content-transfer-encoding", "content-type", "dkim-signature", "from", "received", "reply-to",
        "subject", "to", "x-sg-eid", "x-sg-id",
    }
)  # fmt: skip
"""Header fields that SendGrid refuses in ``headers``."""

SETTINGS: keys.Types = {
    **keys.COMMON,
    "api_key": str,
    "api_key_env": str,
    "region": str,
    "ip_pool": str,
    "ip_pool_marketing": str,
}
"""The settings of an account and their types; ``docs/how-to/email-providers.md`` explains each."""

TABLE = Table(
    "sendgrid",
    rule("202 with X-Message-Id,nothing", Kind.ACCEPTED, "accepted", "SendGrid has queued the message."),
    rule("200 with nothing", Kind.NEXT_PROVIDER, "sendgrid_sandbox_mode",
         "Valid but not queued: the account is in SendGrid's sandbox mode, so nothing is sent."),
    rule('401,403 saying "maximum credits exceeded"', Kind.NEXT_PROVIDER, "sendgrid_credits",
         "The account's credits are used up.", wait=CREDIT_SECONDS),
    rule("401", Kind.NEXT_PROVIDER, "sendgrid_http_401", "The API key is wrong, expired or revoked."),
    rule("403", Kind.NEXT_PROVIDER, "sendgrid_http_403",
         "The key may not send, the sender is not verified, or too many bad requests have blocked the account."),
    rule("404,405,406,415", Kind.NEXT_PROVIDER, "sendgrid_http_{status}",
         "The address that we call is not SendGrid's: see the account's endpoint."),
    rule("400 with errors", Kind.PAYLOAD_ERROR, "sendgrid_http_400", "SendGrid refuses a value of the message."),
    rule("413", Kind.PAYLOAD_ERROR, "sendgrid_http_413", "The message is larger than SendGrid takes."),
    rule("429", Kind.THROTTLED, "sendgrid_http_429", "Too fast; wait until the window ends that SendGrid names."),
)  # fmt: skip
OUTCOMES = TABLE.rows


class _Json(msgspec.Struct, gc=False, omit_defaults=True):
    """A JSON object of the API; what is not given is left out."""


class _Address(_Json):
    email: str
    name: str | None = None


class _Personalization(_Json):
    to: list[_Address]
    custom_args: dict[str, str]


class _Part(_Json):
    type: str
    value: str


class _File(_Json):
    content: bytes
    filename: str
    type: str
    disposition: str
    content_id: str | None = None


class _Switch(msgspec.Struct, frozen=True, gc=False):
    enable: bool


class _Tracking(_Json):
    click_tracking: _Switch
    open_tracking: _Switch
    subscription_tracking: _Switch


class _Mail(_Json):
    personalizations: list[_Personalization]
    from_: _Address = msgspec.field(name="from")
    subject: str
    content: list[_Part]
    headers: dict[str, str]
    tracking_settings: _Tracking
    reply_to: _Address | None = None
    attachments: list[_File] | None = None
    categories: list[str] | None = None
    ip_pool_name: str | None = None


class _Error(msgspec.Struct):
    message: str | None = None
    field: str | None = None


class _Said(msgspec.Struct):
    errors: list[_Error]


_OFF = _Switch(enable=False)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Said).decode


def check(settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` naming the key when an account's settings are unusable."""
    keys.check_types(settings, SETTINGS)
    keys.check_endpoint(settings)
    keys.check_secrets(settings, ("api_key",))
    keys.check_pattern(settings, "region", "global|eu", '"global" or "eu"')
    for key in ("ip_pool", "ip_pool_marketing"):
        keys.check_pattern(settings, key, ".{2,64}", "2 to 64 characters")


def build(messages: Sequence[Message], account: Account, now: datetime) -> HttpRequest:
    """One message as one call; raises ``ContentError`` when it can never be sent."""
    del now
    (message,) = messages
    settings = account.settings
    body = check_size(_encode(_mail(letter_of(message, LEFT_OUT), message, settings)), MOST_BYTES)
    headers = (("Authorization", f"Bearer {settings['api_key']}"), ("Content-Type", "application/json"))
    return HttpRequest("POST", _base(settings) + PATH, headers, body)


def read(reply: Reply, messages: Sequence[Message], account: Account, now: datetime) -> Sequence[Outcome]:
    """Say what the reply meant. Never raises, whatever the reply."""
    del account
    verdict = TABLE.judge(_answer(reply, now)) if isinstance(reply, HttpReply) else TABLE.unanswered(reply)
    return [verdict] * len(messages)


def reactivate(address: str, account: Account, now: datetime) -> tuple[HttpRequest, ...]:
    """Take an address off each list for which SendGrid drops mail; unsubscribes are the recipient's own and stay."""
    del now
    headers = (("Authorization", f"Bearer {account.settings['api_key']}"),)
    base, name = _base(account.settings), quote(address, safe="")
    return tuple(HttpRequest("DELETE", f"{base}/v3/suppression/{each}/{name}", headers) for each in LISTS)


def reactivated(reply: HttpReply, now: datetime) -> bool | str:
    """True: it was taken off; False: it was not there; else why not. An unread success is none. Never raises."""
    said = _answer(reply, now)
    if reply.status == 204:
        return True
    if reply.status == 404 and (said.name == "errors" or not reply.body.strip()):
        return False
    return "sendgrid_unreadable" if reply.status < 300 else TABLE.judge(said).reason


def _base(settings: Mapping[str, object]) -> str:
    default = f"https://api.{'eu.' if settings.get('region') == 'eu' else ''}sendgrid.com"
    return keys.endpoint(settings, default)


def _mail(letter: Letter, message: Message, settings: Mapping[str, object]) -> _Mail:
    if not letter.subject:
        raise ContentError("empty_subject", "SendGrid takes no message without a subject")
    arguments = dict(letter.metadata)
    if len(_encode(arguments)) >= MOST_ARGUMENT_BYTES:
        raise ContentError("too_much_metadata", f"SendGrid takes {MOST_ARGUMENT_BYTES} bytes of it")
    parts = [("text/plain", letter.text), ("text/html", letter.html or "")]
    files = [
        _File(file.data, file.filename, file.content_type, "inline" if file.cid else "attachment", file.cid)
        for file in letter.attachments
    ]
    marketing = settings.get("ip_pool_marketing") if message.klass is Class.MARKETING else None
    pool = letter.stream or marketing or settings.get("ip_pool")
    return _Mail(
        personalizations=[_Personalization([_Address(letter.recipient)], arguments)],
        from_=_address(letter.sender),
        subject=letter.subject,
        content=[_Part(kind, value) for kind, value in parts if value.strip()],
        headers=dict(letter.headers),
        tracking_settings=_Tracking(_OFF, _OFF, _OFF),
        reply_to=None if letter.reply_to is None else _address(letter.reply_to),
        attachments=files or None,
        categories=[tag[:255] for tag in letter.tags[:MOST_CATEGORIES]] or None,
        ip_pool_name=None if pool is None else str(pool),
    )


def _address(box: Mailbox) -> _Address:
    return _Address(box.address, box.name or None)


def _answer(reply: HttpReply, now: datetime) -> Answer:
    """What the status and the errors' sentences are; a body that can't be read names nothing."""
    taken = reply.headers.get("x-message-id")
    if reply.status in (200, 202) and (taken or not reply.body.strip()):
        return Answer(reply.status, "X-Message-Id" if taken else "nothing", vendor_id=taken)
    wait = seconds(reply.headers, now) if reply.status in (429, 503) else None
    try:
        errors = _decode(reply.body).errors
    except (msgspec.DecodeError, RecursionError):
        return Answer(reply.status, "", text_of(reply), wait=wait)
    text = "; ".join(f"{error.field or ''} {error.message or ''}".strip() for error in errors[:5])
    return Answer(reply.status, "errors" if errors else "", text, wait=wait)
