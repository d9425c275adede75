"""What do Postmark's answers mean, and what do we send it?

``POST /email/batch``: up to ``BATCH`` messages of one recipient each. The answer is 200 with one result a message,
and each is looked at. There is no idempotency key, so our attempt id goes along as metadata, which every event gives
back, and ``X-PM-KeepID`` keeps our ``Message-ID``. A class is mapped to one of Postmark's message streams, because
its suppressions belong to a stream. Its tracking is switched off.

``GET /messages/outbound`` tells what it took: it is asked for our delivery id, which all attempts of a delivery share.
It looks in one stream only, and an answer is believed only as far as it gives that id back.

Sources: Postmark's developer pages on the email API, error codes, metadata, message streams and the messages API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from urllib.parse import urlencode

import msgspec

from ulak.core.content.email import ContentError
from ulak.core.model import Account, Channel, Class
from ulak.core.outcome import Kind, Outcome, outcome
from ulak.core.suppression import of_class
from ulak.providers import keys
from ulak.providers.answers import Answer, Table, rule, seconds, text_of
from ulak.providers.contract import Capabilities, HttpReply, HttpRequest, Message, Reply, Row
from ulak.providers.letter import DELIVERY, Letter, check_size, letter_of, unicode_mailbox

BATCH = 100
"""Postmark takes 500; an answer that gets lost leaves so many messages unknown, so fewer are sent together."""

CAPABILITIES = Capabilities(channel=Channel.EMAIL, batch=BATCH, lookup=True)

HOST = "https://api.postmarkapp.com"
PATH = "/email/batch"
LOOKUP_PATH = "/messages/outbound"
MOST_BYTES = 10_000_000
MOST_BATCH_BYTES = 50_000_000
MOST_BODY_BYTES = 5_000_000
MOST_PAIRS = 10
MOST_FOUND = 10
CREDIT_SECONDS = 3_600.0
NO_STREAM = frozenset({"1226", "1235"})
"""Postmark's codes for a message stream that the server does not have."""

LEFT_OUT = frozenset(
    {
        "bcc", "cc", "content-transfer-encoding", "content-type", "date", "from", "mime-version", "reply-to",
        "return-path", "sender", "subject", "to",
    }
)  # fmt: skip
"""Header fields that Postmark writes itself."""

SETTINGS: keys.Types = {
    **keys.COMMON,
    "server_token": str,
    "server_token_env": str,
    "stream": str,
    "stream_marketing": str,
}
"""The settings of an account and their types; ``docs/how-to/email-providers.md`` explains each."""

TABLE = Table(
    "postmark",
    rule("200 with 0", Kind.ACCEPTED, "accepted", "Postmark has queued the message."),
    rule("with 406", Kind.RECIPIENT_PERMANENT, "postmark_406",
         "Postmark holds the address as inactive after a bounce, a complaint or a no; it is suppressed here, too."),
    rule("with 300 saying \"'to'\"", Kind.RECIPIENT_PERMANENT, "postmark_300_to",
         "Postmark says that the address cannot exist; it is suppressed."),
    rule("with 300 saying \"'from'\" or \"sender signature\"", Kind.NEXT_PROVIDER, "postmark_300_from",
         "The sender is not verified at Postmark."),
    rule("with 300", Kind.PAYLOAD_ERROR, "postmark_300", "Postmark refuses a value of the message."),
    rule("with 402,403,409,410,411", Kind.PAYLOAD_ERROR, "postmark_{name}",
         "Postmark cannot read the request, or a file is of a kind that it does not carry."),
    rule("with 405", Kind.NEXT_PROVIDER, "postmark_405",
         "The account may not send more: its credits are used up.", wait=CREDIT_SECONDS),
    rule("with 10,400,401,412,413", Kind.NEXT_PROVIDER, "postmark_{name}",
         "The token, the sender or the account is not approved; the message is fine."),
    rule("with 429", Kind.THROTTLED, "postmark_429", "Too fast; wait."),
    rule("with 100,500", Kind.RETRY, "postmark_{name}", "Postmark is in maintenance or has a fault of its own."),
    rule("401,403", Kind.NEXT_PROVIDER, "postmark_http_{status}",
         "The server token is wrong, or a guard before Postmark's API stopped the request."),
    rule("200,422 with others", Kind.NEXT_PROVIDER, "postmark_{name}",
         "Postmark refused with a code that is new to us; most concern the account or its streams."),
    rule("500,503", Kind.RETRY, "postmark_http_{status}", "Postmark has a fault of its own; try again."),
)  # fmt: skip
OUTCOMES = TABLE.rows
LOOKUP = (
    Row("a search that finds the delivery", Kind.ACCEPTED, "found_by_lookup",
        "Postmark holds the message of a call that went unanswered; it is not sent again."),
)  # fmt: skip
"""What ``found`` says."""


class _Json(msgspec.Struct, gc=False, rename="pascal", omit_defaults=True):
    """A JSON object of the API: names in upper camel case, what is not given left out."""


class _Header(_Json):
    name: str
    value: str


class _File(_Json):
    name: str
    content: bytes
    content_type: str
    content_id: str | None = msgspec.field(default=None, name="ContentID")


class _Email(_Json):
    from_: str = msgspec.field(name="From")
    to: str
    subject: str
    message_stream: str
    metadata: dict[str, str]
    headers: list[_Header]
    track_opens: bool
    track_links: str
    text_body: str | None = None
    html_body: str | None = None
    reply_to: str | None = None
    tag: str | None = None
    attachments: list[_File] | None = None


class _Result(msgspec.Struct):
    code: int = msgspec.field(name="ErrorCode")
    message: str | None = msgspec.field(default=None, name="Message")
    id: str | None = msgspec.field(default=None, name="MessageID")


class _Sent(msgspec.Struct):
    id: str = msgspec.field(name="MessageID")
    metadata: dict[str, str] = msgspec.field(name="Metadata")


class _Search(msgspec.Struct):
    messages: list[msgspec.Raw] = msgspec.field(name="Messages")


class _Held(msgspec.Struct):
    status: str = msgspec.field(name="Status")


class _Lifted(msgspec.Struct):
    suppressions: list[_Held] = msgspec.field(name="Suppressions")


_encode = msgspec.json.Encoder().encode
_decode_all = msgspec.json.Decoder(list[_Result]).decode
_decode_one = msgspec.json.Decoder(_Result).decode
_decode_search = msgspec.json.Decoder(_Search).decode
_decode_sent = msgspec.json.Decoder(_Sent).decode
_decode_lifted = msgspec.json.Decoder(_Lifted).decode


def check(settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` naming the key when an account's settings are unusable."""
    keys.check_types(settings, SETTINGS)
    keys.check_endpoint(settings)
    keys.check_secrets(settings, ("server_token",))
    for key in ("stream", "stream_marketing"):
        keys.check_pattern(settings, key, r"[a-z][a-z0-9-]{0,29}", "the id of a message stream, such as outbound")


def build(messages: Sequence[Message], account: Account, now: datetime) -> HttpRequest:
    """Messages as one batch; raises ``ContentError`` when one can never be sent, or all together are too big."""
    del now
    settings = account.settings
    emails = [_encode(_email(letter_of(message, LEFT_OUT), message, settings)) for message in messages]
    for email in emails:
        check_size(email, MOST_BYTES)
    body = check_size(b"[" + b",".join(emails) + b"]", MOST_BATCH_BYTES)
    headers = (("Content-Type", "application/json"), *_headers(settings))
    return HttpRequest("POST", keys.endpoint(settings, HOST) + PATH, headers, body)


def read(reply: Reply, messages: Sequence[Message], account: Account, now: datetime) -> Sequence[Outcome]:
    """Say what the reply meant, message by message. Never raises, whatever the reply."""
    del account
    if not isinstance(reply, HttpReply):
        return [TABLE.unanswered(reply)] * len(messages)
    if reply.status == 200:
        try:
            results = _decode_all(reply.body)
        except (msgspec.DecodeError, RecursionError):
            results = []
        if len(results) == len(messages):
            return [_scoped(TABLE.judge(_item(200, r)), m) for r, m in zip(results, messages, strict=True)]
    return [TABLE.judge(_answer(reply, now))] * len(messages)


def lookup(message: Message, account: Account, now: datetime) -> HttpRequest:
    """Search for this delivery in the stream by which it goes; raises ``ContentError`` as ``build`` does."""
    del now
    settings = account.settings
    query = {
        "count": MOST_FOUND,
        "offset": 0,
        "messagestream": _stream_of(letter_of(message, LEFT_OUT), message, settings),
        f"metadata_{DELIVERY}": message.delivery,
    }
    url = f"{keys.endpoint(settings, HOST)}{LOOKUP_PATH}?{urlencode(query)}"
    return HttpRequest("GET", url, _headers(settings))


def found(reply: Reply, message: Message, account: Account, now: datetime) -> Outcome | None:
    """``accepted`` when the search gave back a message of this delivery; None for all else. Never raises."""
    del account, now
    if not isinstance(reply, HttpReply) or reply.status != 200:
        return None
    try:
        for raw in _decode_search(reply.body).messages:
            sent = _decode_sent(raw)
            if sent.id and sent.metadata.get(DELIVERY) == message.delivery:
                return outcome(Kind.ACCEPTED, LOOKUP[0].reason, vendor_id=sent.id)
    except (msgspec.DecodeError, RecursionError):
        pass  # What can't be read proves nothing.
    return None


def _headers(settings: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    return (("Accept", "application/json"), ("X-Postmark-Server-Token", str(settings["server_token"])))


def _scoped(verdict: Outcome, message: Message) -> Outcome:
    """Postmark lists an address for a stream; that of marketing must not keep a receipt from anybody."""
    if verdict.reason == "postmark_406" and message.klass is Class.MARKETING:
        return msgspec.structs.replace(verdict, scope=of_class(Class.MARKETING))
    return verdict


def _email(letter: Letter, message: Message, settings: Mapping[str, object]) -> _Email:
    if len(letter.metadata) > MOST_PAIRS:
        raise ContentError("too_much_metadata", f"Postmark takes {MOST_PAIRS - 2} pairs besides our own")
    if any(len(name) > 20 or len(value) > 80 for name, value in letter.metadata):
        raise ContentError("too_much_metadata", "Postmark takes names of 20 and values of 80 characters")
    for part in (letter.text, letter.html or ""):
        check_size(part.encode(), MOST_BODY_BYTES)
    files = [
        _File(file.filename, file.data, file.content_type, f"cid:{file.cid}" if file.cid else None)
        for file in letter.attachments
    ]
    return _Email(
        from_=unicode_mailbox(letter.sender),
        to=letter.recipient,
        subject=letter.subject,
        message_stream=_stream_of(letter, message, settings),
        metadata=dict(letter.metadata),
        headers=[_Header(name, value) for name, value in (*letter.headers, ("X-PM-KeepID", "true"))],
        track_opens=False,
        track_links="None",
        text_body=letter.text if letter.text.strip() else None,
        html_body=letter.html,
        reply_to=None if letter.reply_to is None else unicode_mailbox(letter.reply_to),
        tag=letter.tags[0][:1_000] if letter.tags else None,
        attachments=files or None,
    )


def _stream_of(letter: Letter, message: Message, settings: Mapping[str, object]) -> str:
    return letter.stream or _stream(message.klass, settings)


def _stream(klass: Class, settings: Mapping[str, object]) -> str:
    """Marketing has a stream of its own, so that its suppressions keep no receipt or password from anybody."""
    if klass is Class.MARKETING:
        return str(settings.get("stream_marketing", "broadcast"))
    return str(settings.get("stream", "outbound"))


def reactivate(address: str, account: Account, now: datetime) -> tuple[HttpRequest, ...]:
    """Take an address off the suppressions of the account's streams; those of other streams are not known here."""
    del now
    settings = account.settings
    headers = (("Content-Type", "application/json"), *_headers(settings))
    body = _encode({"Suppressions": [{"EmailAddress": address}]})
    streams = dict.fromkeys(_stream(klass, settings) for klass in (Class.TRANSACTIONAL, Class.MARKETING))
    base = keys.endpoint(settings, HOST)
    return tuple(
        HttpRequest("POST", f"{base}/message-streams/{stream}/suppressions/delete", headers, body) for stream in streams
    )


def reactivated(reply: HttpReply, now: datetime) -> bool | str:
    """True: nothing holds it now; False: there is no such stream; else why not. Never raises.

    Postmark keeps complaints for good, which is the most common cause of ``postmark_not_reactivated``.
    """
    if reply.status == 200:
        try:
            held = _decode_lifted(reply.body).suppressions
        except (msgspec.DecodeError, RecursionError):
            return "postmark_unreadable"
        if not held:
            return "postmark_unreadable"
        return all(each.status == "Deleted" for each in held) or "postmark_not_reactivated"
    said = _answer(reply, now)
    if said.name in NO_STREAM:
        return False
    return "postmark_unreadable" if reply.status < 300 else TABLE.judge(said).reason


def _answer(reply: HttpReply, now: datetime) -> Answer:
    """What was said about the whole batch; a body that can't be read names nothing."""
    wait = seconds(reply.headers, now) if reply.status in (429, 503) else None
    if reply.status != 200:
        try:
            return _item(reply.status, _decode_one(reply.body), wait)
        except (msgspec.DecodeError, RecursionError):
            pass
    return Answer(reply.status, "", text_of(reply), wait=wait)


def _item(status: int, result: _Result, wait: float | None = None) -> Answer:
    return Answer(status, str(result.code), result.message or "", result.id, wait)
