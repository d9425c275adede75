"""What do Amazon SES's answers mean, and what do we send it?

API v2, ``SendEmail`` with simple content, one recipient a call, signed by Signature Version 4. SES has no
idempotency key, so our attempt id goes along as a tag (``ulak_attempt``), which the events of a configuration
set give back. SES writes ``Message-ID`` itself.

Sources: the service's API model (sesv2, 2019-09-27), the developer guide's pages on header fields and quotas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from urllib.parse import quote

import msgspec

from ulak.core.content.email import ContentError
from ulak.core.model import Account, Channel, Class
from ulak.core.outcome import Kind, Outcome
from ulak.core.sign.sigv4 import Keys, sign
from ulak.providers import keys
from ulak.providers.answers import Answer, Table, rule, seconds, text_of
from ulak.providers.contract import Capabilities, HttpReply, HttpRequest, Message, Reply
from ulak.providers.letter import Letter, ascii_mailbox, check_size, letter_of

CAPABILITIES = Capabilities(channel=Channel.EMAIL)

PATH = "/v2/email/outbound-emails"
SUPPRESSED = "/v2/email/suppression/addresses/"
MOST_BYTES = 40_000_000
MOST_HEADERS = 15
MOST_TAGS = 50
QUOTA_SECONDS = 3_600.0
"""How long to leave an account alone that has sent its daily quota: it rolls over 24 hours, so ask hourly."""

LEFT_OUT = frozenset(
    {
        "bcc", "cc", "content-disposition", "content-type", "date", "from", "message-id", "mime-version", "reply-to",
        "return-path", "subject", "to",
    }
)  # fmt: skip
"""Header fields that SES writes itself and refuses from us (developer guide, "Amazon SES header fields")."""

SETTINGS: keys.Types = {
    **keys.COMMON,
    "region": str,
    "access_key": str,
    "access_key_env": str,
    "secret_key": str,
    "secret_key_env": str,
    "session_token": str,
    "session_token_env": str,
    "configuration_set": str,
    "configuration_set_marketing": str,
}
"""The settings of an account and their types; ``docs/how-to/email-providers.md`` explains each."""

TABLE = Table(
    "ses",
    rule("200 with MessageId", Kind.ACCEPTED, "accepted",
         "SES took the message; it may still end unsent, which its events tell."),
    rule('xxx saying "daily message quota exceeded"', Kind.NEXT_PROVIDER, "ses_daily_quota",
         "The account has sent all that it may in 24 hours.", wait=QUOTA_SECONDS),
    rule('xxx saying "maximum sending rate exceeded"', Kind.THROTTLED, "ses_sending_rate",
         "The account sends faster than it may; wait."),
    rule("429", Kind.THROTTLED, "ses_{name}", "SES says too many requests; wait."),
    rule("400,403 with Throttling,ThrottlingException", Kind.THROTTLED, "ses_{name}", "Too fast; wait."),
    rule("400 with SendingPausedException,AccountSuspendedException,LimitExceededException", Kind.NEXT_PROVIDER,
         "ses_{name}", "AWS has paused, suspended or limited the account; the message is fine."),
    rule("400 with MailFromDomainNotVerifiedException", Kind.NEXT_PROVIDER, "ses_{name}",
         "The domain that bounces go to is not verified in this region."),
    rule('400 with MessageRejected saying "not verified" or "identity"', Kind.NEXT_PROVIDER, "ses_identity",
         "The sender, or in the SES sandbox the recipient, is not verified in this region."),
    rule('400 with MessageRejected saying "paused" or "suspended"', Kind.NEXT_PROVIDER, "ses_paused",
         "AWS has paused sending for the account or the configuration set."),
    rule("400 with MessageRejected", Kind.PAYLOAD_ERROR, "ses_message_rejected", "SES refuses the content."),
    rule("400 with BadRequestException,ValidationException,SerializationException", Kind.PAYLOAD_ERROR, "ses_{name}",
         "SES cannot read the request, or a value in it is not allowed."),
    rule("400,401,403 with others", Kind.NEXT_PROVIDER, "ses_{name}",
         "The signature, the key, its rights or the clock are wrong, or AWS says something that is new to us."),
    rule("404", Kind.NEXT_PROVIDER, "ses_not_found",
         "The configuration set or the address does not exist in this region."),
    rule("503 with others", Kind.RETRY, "ses_{name}", "SES is away for a moment; try again."),
)  # fmt: skip
OUTCOMES = TABLE.rows

_NOT_TAG = re.compile(r"[^A-Za-z0-9_-]+")


class _Json(msgspec.Struct, gc=False, rename="pascal", omit_defaults=True):
    """A JSON object of the API: names in upper camel case, what is not given left out."""


class _Text(_Json):
    data: str
    charset: str


class _Body(_Json):
    text: _Text | None = None
    html: _Text | None = None


class _Header(_Json):
    name: str
    value: str


class _File(_Json):
    file_name: str
    content_type: str
    content_disposition: str
    raw_content: bytes
    content_id: str | None = None


class _Simple(_Json):
    subject: _Text
    body: _Body
    headers: list[_Header]
    attachments: list[_File] | None = None


class _Content(_Json):
    simple: _Simple


class _Destination(_Json):
    to_addresses: list[str]


class _SendEmail(_Json):
    from_email_address: str
    destination: _Destination
    content: _Content
    email_tags: list[_Header]
    reply_to_addresses: list[str] | None = None
    configuration_set_name: str | None = None


class _Said(msgspec.Struct):
    """What an answer may hold: a success's id, or a type and a sentence."""

    id: str | None = msgspec.field(default=None, name="MessageId")
    type: str = msgspec.field(default="", name="__type")
    message: str | None = None
    sentence: str | None = msgspec.field(default=None, name="Message")


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Said).decode


def check(settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` naming the key when an account's settings are unusable."""
    keys.check_types(settings, SETTINGS)
    keys.check_endpoint(settings)
    if "region" not in settings:
        raise ValueError("region: name the AWS region that sends, such as eu-central-1")
    keys.check_pattern(settings, "region", r"[a-z]{2}(?:-[a-z]+)+-\d{1,2}", "an AWS region such as eu-central-1")
    keys.check_secrets(settings, ("access_key", "secret_key"))
    for key in ("configuration_set", "configuration_set_marketing"):
        keys.check_pattern(settings, key, r"[A-Za-z0-9_-]{1,64}", "letters, digits, _ and -")


def build(messages: Sequence[Message], account: Account, now: datetime) -> HttpRequest:
    """One message as one signed call; raises ``ContentError`` when it can never be sent."""
    (message,) = messages
    letter = letter_of(message, LEFT_OUT)
    body = check_size(_encode(_request(letter, message, account.settings)), MOST_BYTES)
    return _signed("POST", PATH, body, account.settings, now)


def read(reply: Reply, messages: Sequence[Message], account: Account, now: datetime) -> Sequence[Outcome]:
    """Say what the reply meant. Never raises, whatever the reply."""
    del account
    verdict = TABLE.judge(_answer(reply, now)) if isinstance(reply, HttpReply) else TABLE.unanswered(reply)
    return [verdict] * len(messages)


def reactivate(address: str, account: Account, now: datetime) -> tuple[HttpRequest, ...]:
    """Take an address off the account's suppression list of its region (``DeleteSuppressedDestination``)."""
    return (_signed("DELETE", SUPPRESSED + quote(address, safe=""), b"", account.settings, now),)


def reactivated(reply: HttpReply, now: datetime) -> bool | str:
    """True: it was taken off; False: it was not there; else why not. An unread success is none. Never raises."""
    said = _answer(reply, now)
    if reply.status == 200 and reply.body.strip() in (b"", b"{}"):
        return True
    if reply.status == 404 and said.name == "NotFoundException":
        return False
    return "ses_unreadable" if reply.status < 300 else TABLE.judge(said).reason


def _signed(method: str, path: str, body: bytes, settings: Mapping[str, object], now: datetime) -> HttpRequest:
    region = str(settings["region"])
    headers = (("Content-Type", "application/json"),)
    token = settings.get("session_token")
    who = Keys(
        str(settings["access_key"]), str(settings["secret_key"]), region, "ses", None if token is None else str(token)
    )
    url = keys.endpoint(settings, _host(region)) + path
    return HttpRequest(method, url, headers + sign(method, url, headers, body, who, now), body)


def _request(letter: Letter, message: Message, settings: Mapping[str, object]) -> _SendEmail:
    if len(letter.headers) > MOST_HEADERS:
        raise ContentError("too_many_headers", f"SES takes {MOST_HEADERS} extra header fields")
    marketing = settings.get("configuration_set_marketing") if message.klass is Class.MARKETING else None
    chosen = letter.stream or marketing or settings.get("configuration_set")
    body = _Body(
        _Text(letter.text, "UTF-8") if letter.text.strip() else None,
        None if letter.html is None else _Text(letter.html, "UTF-8"),
    )
    files = [
        _File(
            file.filename, file.content_type, "INLINE" if file.cid else "ATTACHMENT", file.data, file.cid
        )
        for file in letter.attachments
    ]  # fmt: skip
    headers = [_Header(name, value) for name, value in letter.headers]
    return _SendEmail(
        ascii_mailbox(letter.sender),
        _Destination([letter.recipient]),
        _Content(_Simple(_Text(letter.subject, "UTF-8"), body, headers, files or None)),
        [_Header(name, value) for name, value in _tags(letter)],
        None if letter.reply_to is None else [ascii_mailbox(letter.reply_to)],
        None if chosen is None else str(chosen),
    )


def _tags(letter: Letter) -> Iterator[tuple[str, str]]:
    """Pairs as SES allows them: letters, digits, ``_`` and ``-``, at most 256 characters, each name once."""
    pairs = [*letter.metadata, *((f"tag_{at}", tag) for at, tag in enumerate(letter.tags, 1))]
    seen: set[str] = set()
    for name, value in pairs:
        key, text = (_NOT_TAG.sub("_", part)[:256] for part in (name, value))
        if key and text and key not in seen and len(seen) < MOST_TAGS:
            seen.add(key)
            yield key, text


def _host(region: str) -> str:
    return f"https://email.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def _answer(reply: HttpReply, now: datetime) -> Answer:
    """What the status, the error's name and its sentence are; a body that can't be read names nothing."""
    try:
        said = _decode(reply.body)
    except (msgspec.DecodeError, RecursionError):
        return Answer(reply.status, _type(reply, ""), text_of(reply), wait=seconds(reply.headers, now))
    if reply.status == 200 and said.id:
        return Answer(200, "MessageId", vendor_id=said.id)
    text = said.message or said.sentence or ""
    return Answer(reply.status, _type(reply, said.type), text, wait=seconds(reply.headers, now))


def _type(reply: HttpReply, said: str) -> str:
    """``BadRequestException`` of ``com.amazonaws.ses#BadRequestException`` or ``BadRequestException:http://…``."""
    given = reply.headers.get("x-amzn-errortype") or said
    return given.partition(":")[0].rpartition("#")[2].strip()[:80]
