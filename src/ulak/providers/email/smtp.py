"""What does an SMTP server's reply to one message mean, and what do we send it?

One transaction carries one message to one recipient (RFC 5321), so every reply is about that message. The
stage and the enhanced status (RFC 3463) decide before the three digits do, because relays put nearly
anything behind a 550 or 554. Only the refusal of the address itself, at RCPT and with a status that says so,
suppresses it; policy, content and size never do. ``OUTCOMES`` is read from the top; the first row that fits
wins, and the last rows fit everything, always as a failure.

The ``Message-ID`` is made from the delivery and stays the same over retries, so that a mailbox which knows
it can drop a duplicate that an unanswered first try has left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

import msgspec

from ulak.core.content.address import domain_of, normalise_email
from ulak.core.content.email import ContentError, EmailContent
from ulak.core.content.headers import Facts
from ulak.core.content.mime import Stamp, address_of
from ulak.core.content.mime import build as build_mime
from ulak.core.model import Account, Channel
from ulak.core.outcome import Blame, Kind, Outcome, accepted, outcome
from ulak.core.sign import dkim
from ulak.providers.contract import (
    Capabilities,
    Lost,
    Message,
    Phase,
    Reply,
    Row,
    SmtpReply,
    SmtpRequest,
    Stage,
)
from ulak.providers.keys import unknown

CAPABILITIES = Capabilities(channel=Channel.EMAIL)

THROTTLE_SECONDS = 60.0
"""How long to leave a server alone that asked for a pause; SMTP has no word for how long."""

KEYS: Mapping[str, type | tuple[type, ...]] = {
    "host": str,
    "port": int,
    "tls": str,
    "username": str,
    "password": str,
    "password_env": str,
    "return_path": str,
    "hello": str,
    "ca_file": str,
    "connect_timeout": (int, float),
    "max_messages": int,
    "idle": (int, float),
    "dkim_domain": str,
    "dkim_selector": str,
    "dkim_key": str,
    "dkim_key_env": str,
}
"""The settings of an account and their types; ``docs/how-to/email-smtp.md`` explains each."""


@dataclass(frozen=True, slots=True)
class Rule(Row):
    """A row with what it fits: stages (any if empty), a pattern of the code and one of the status."""

    stages: frozenset[Stage] = frozenset()
    code: re.Pattern[str] = re.compile("")
    status: re.Pattern[str] = re.compile("")
    lost: frozenset[str] = frozenset()
    phase: Phase | None = None
    blame: Blame | None = None
    wait: float | None = None

    def fits(self, stage: Stage, code: str, status: str) -> bool:
        """Whether a reply is one of those that the row speaks of."""
        if self.phase is not None or (self.stages and stage not in self.stages):
            return False
        return self.code.match(code) is not None and self.status.match(status) is not None

    def fits_loss(self, lost: Lost) -> bool:
        """Whether a missing reply is one of those that the row speaks of; no names mean any."""
        return self.phase is lost.phase and (not self.lost or lost.reason in self.lost)


_ANSWER = re.compile(r"(?:([A-Z/]+) )?([\dyz,]+)(?: with ([\dx.,]+))?")


def _rule(
    answer: str,
    kind: Kind,
    reason: str,
    sentence: str,
    blame: Blame | None = None,
    wait: float | None = None,
) -> Rule:
    """Read ``answer`` as the pattern that it is: ``STAGE/… CODE,… with STATUS,…``, with y, z and x for any digits."""
    match = _ANSWER.fullmatch(answer)
    if match is None:
        raise ValueError(f"not an answer: {answer}")
    return Rule(
        answer,
        kind,
        reason,
        sentence,
        stages=frozenset(Stage(stage.lower()) for stage in match[1].split("/")) if match[1] else frozenset(),
        code=_any_of(match[2].replace("y", "[0-9]").replace("z", "[0-9]")),
        status=_any_of(match[3].replace(".", r"\.").replace("x", "[0-9]+") if match[3] else ".*"),
        blame=blame,
        wait=wait,
    )


def _any_of(listed: str) -> re.Pattern[str]:
    return re.compile("|".join(rf"{item}\Z" for item in listed.split(",")))


def _lost(names: str, kind: Kind, sentence: str, phase: Phase = Phase.NOT_SENT) -> Rule:
    left = "no answer, end of message not sent" if phase is Phase.NOT_SENT else "no answer, end of message sent"
    listed = f": {', '.join(names.split())}" if names else ""
    return Rule(f"{left}{listed}", kind, "smtp_{lost}", sentence, lost=frozenset(names.split()), phase=phase)


OUTCOMES: tuple[Rule, ...] = (
    _rule("END 250", Kind.ACCEPTED, "accepted", "The server took the message and answers for it from here on."),
    # Our account
    _rule("AUTH 4yz", Kind.THROTTLED, "smtp_auth_{code}", "The server cannot check passwords right now; wait.",
          wait=THROTTLE_SECONDS),
    _rule("AUTH 5yz", Kind.NEXT_PROVIDER, "smtp_auth_{code}",
          "The server refused our user name or password; set them right."),
    _rule("530,534,535,538", Kind.NEXT_PROVIDER, "smtp_auth_{code}",
          "The server wants authentication or encryption that this account is not set up for."),
    _rule("5yz with 5.7.8,5.7.9,5.7.11,5.7.12,5.7.13,5.7.14", Kind.NEXT_PROVIDER, "smtp_auth_{code}",
          "The server refused our credentials or the way we use them."),
    # Passing trouble
    _rule("421", Kind.THROTTLED, "smtp_421", "The server is closing the line; it is busy or we were too fast.",
          wait=THROTTLE_SECONDS),
    _rule("RCPT/DATA/END 4yz with 4.2.x", Kind.RECIPIENT_TEMPORARY, "smtp_{code}_{status}",
          "The mailbox cannot take mail for now: full, busy or switched off for a while.", blame=Blame.RECIPIENT),
    _rule("RCPT/DATA/END 451,452,454 with 4.3.x,4.4.x", Kind.THROTTLED, "smtp_{code}_{status}",
          "The server is short of something of its own; wait before sending it more.", wait=THROTTLE_SECONDS),
    _rule("RCPT/DATA/END 451,452,454 with 4.x.x", Kind.RETRY, "smtp_{code}_{status}",
          "This message was put off (greylisting, a policy, a name that did not resolve); try it again later."),
    _rule("451,452,454", Kind.THROTTLED, "smtp_{code}", "The server is short of something of its own; wait.",
          wait=THROTTLE_SECONDS),
    _rule("4yz", Kind.RETRY, "smtp_{code}", "A passing fault by the server's own word; try again later."),
    # The address
    _rule("RCPT 5yz with 5.1.1,5.1.2,5.1.3,5.1.6,5.1.10,5.2.1", Kind.RECIPIENT_PERMANENT, "smtp_{code}_{status}",
          "The address does not exist, has moved or is closed; it is suppressed."),
    _rule("5yz with 5.2.2", Kind.RECIPIENT_TEMPORARY, "smtp_{code}_{status}",
          "The mailbox is full. People empty mailboxes, so this is never a reason to suppress."),
    # The message
    _rule("5yz with 5.3.4,5.2.3", Kind.PAYLOAD_ERROR, "smtp_{code}_{status}", "The message is too big for the server."),
    _rule("5yz with 5.6.x", Kind.PAYLOAD_ERROR, "smtp_{code}_{status}", "The server cannot read the content."),
    _rule("5yz with 5.7.x", Kind.POLICY_BLOCK, "smtp_{code}_{status}",
          "Refused by policy: reputation, content, or our SPF, DKIM and DMARC. The address is fine."),
    _rule("MAIL/DATA/END 552", Kind.PAYLOAD_ERROR, "smtp_552", "The message is too big for the server.",
          blame=Blame.CALLER),
    _rule("RCPT 552", Kind.RECIPIENT_TEMPORARY, "smtp_552", "The mailbox is over its quota."),
    _rule("RCPT 501", Kind.PAYLOAD_ERROR, "smtp_rcpt_501", "The server cannot read the address as we wrote it."),
    # Everything else that is final
    _rule("500,502,503,504,555", Kind.NEXT_PROVIDER, "smtp_{code}", "The server does not speak SMTP as we do."),
    _rule("5yz with 5.3.x,5.4.x,5.5.x", Kind.NEXT_PROVIDER, "smtp_{code}_{status}",
          "The server is set up wrongly or cannot pass mail on."),
    _rule("RCPT 5yz", Kind.PAYLOAD_ERROR, "smtp_rcpt_{code}",
          "The address was refused, but without a status that says why; the message is parked, nothing is suppressed.",
          blame=Blame.RECIPIENT),
    _rule("DATA/END 5yz with 5.1.x,5.2.x", Kind.PAYLOAD_ERROR, "smtp_{code}_{status}",
          "The address was refused only after the content was seen; the message is parked, nothing is suppressed.",
          blame=Blame.RECIPIENT),
    _rule("DATA/END 5yz", Kind.POLICY_BLOCK, "smtp_{code}",
          "The server refused the message for good, as most spam filters do."),
    _rule("5yz", Kind.NEXT_PROVIDER, "smtp_{code}", "The server refuses this account or its sender, not the message."),
    # No reply
    _lost("auth_unavailable tls_failed tls_unavailable", Kind.NEXT_PROVIDER,
          "No encryption or authentication that this account accepts is offered, or the certificate is not valid."),
    _lost("", Kind.RETRY, "Refused, unreachable, too slow or cut off in time; nothing can have been taken."),
    _lost("", Kind.UNKNOWN, "The whole message was sent and no answer came; it may or may not have been taken.",
          Phase.SENT),
)  # fmt: skip

UNREADABLE = (
    Row("END, any other answer", Kind.UNKNOWN, "smtp_unreadable",
        "The answer to the whole message makes no sense, so it may or may not have been taken."),
    Row("any other answer", Kind.RETRY, "smtp_unreadable",
        "The server answered something that is not SMTP; nothing can have been taken."),
    Row("a reply of another protocol, or a refusal of ours to dial", Kind.NEXT_PROVIDER, "smtp_not_smtp",
        "The account cannot be reached as an SMTP server."),
)  # fmt: skip
"""What is left when no row of ``OUTCOMES`` fits: failures all."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_STATUS = re.compile(r"\s*([245])\.([0-9]{1,3})\.([0-9]{1,3})(?=\s|\Z)")
_QUEUED = re.compile(r"(?:queued as|queued mail for delivery|\bid[= ])\s*<?([A-Za-z0-9._@-]{4,100})", re.IGNORECASE)
_ADDRESS = re.compile(r"[^\s<>]+@[^\s<>]+")
_UNPRINTABLE = re.compile(r"[^ -~\xa0-\ud7ff]+")


def check(settings: Mapping[str, object]) -> None:
    """Raise ``ValueError`` naming the key when an account's settings are unusable."""
    for key, value in settings.items():
        if key not in KEYS:
            raise unknown(key, KEYS)
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):
            raise ValueError(f"{key}: must be {'text' if KEYS[key] is str else 'a number'}")  # noqa: TRY004
    host = settings.get("host")
    if not host or re.search(r"[^!-~]", str(host)):
        raise ValueError("host: give the server's name or address")
    _check_numbers(settings)
    if settings.get("tls", "starttls") not in {"starttls", "tls", "none"}:
        raise ValueError('tls: must be "starttls", "tls" or "none"')
    _check_credentials(settings, str(host))
    _check_dkim(settings)
    return_path = settings.get("return_path")
    if return_path is not None and normalise_email(str(return_path)) is None:
        raise ValueError("return_path: must be one address")
    if re.search(r"[^A-Za-z0-9.:\[\]-]", str(settings.get("hello", ""))):
        raise ValueError("hello: must be a domain or an address in brackets")


def _check_numbers(settings: Mapping[str, object]) -> None:
    for key, least, most in (("port", 1, 65_535), ("max_messages", 1, 100_000), ("idle", 0, 3_600),
                             ("connect_timeout", 0.1, 600)):  # fmt: skip
        value = settings.get(key, least)
        if not isinstance(value, int | float) or not least <= value <= most:
            raise ValueError(f"{key}: must be between {least} and {most}")


def _check_credentials(settings: Mapping[str, object], host: str) -> None:
    secrets = [key for key in ("password", "password_env") if key in settings]
    if len(secrets) > 1:
        raise ValueError("password_env: give password or password_env, not both")
    if ("username" in settings) != bool(secrets):
        raise ValueError("username: goes together with password_env")
    if secrets and settings.get("tls", "starttls") == "none" and not _is_loopback(host):
        raise ValueError('tls: "none" would send the password in the clear; use "starttls" or "tls"')


def _check_dkim(settings: Mapping[str, object]) -> None:
    wanted = [key in settings for key in ("dkim_domain", "dkim_selector")]
    wanted.append("dkim_key" in settings or "dkim_key_env" in settings)
    if not any(wanted):
        return
    if not all(wanted):
        raise ValueError("dkim_domain: goes together with dkim_selector and dkim_key_env")
    domain, selector, key = (str(settings.get(name, "")) for name in ("dkim_domain", "dkim_selector", "dkim_key"))
    dkim.check(domain, selector)
    # Before a node reads its environment, the name of the variable stands for the key.
    if key and _VARIABLE.match(key) is None:
        dkim.load(domain, selector, key)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def build(messages: Sequence[Message], account: Account, now: datetime) -> SmtpRequest:
    """One message as one transaction; raises ``ContentError`` when it can never be sent."""
    (message,) = messages
    content = message.content
    if not isinstance(content, EmailContent):
        raise ContentError("not_an_email", "the content was not rendered for email")
    sender = address_of(content.sender, "From")
    recipient = normalise_email(message.target)
    if recipient is None:
        raise ContentError("invalid_recipient", "To must be exactly one address")
    stamp = Stamp(recipient, now, message.delivery, _facts(message, domain_of(sender)))
    return_path = account.settings.get("return_path")
    mime = build_mime(content, stamp)
    if "dkim_key" in account.settings:
        named = (str(account.settings[key]) for key in ("dkim_domain", "dkim_selector", "dkim_key"))
        mime = dkim.load(*named).sign(mime, now) + mime
    return SmtpRequest(str(return_path) if return_path else sender, recipient, mime)


def _facts(message: Message, domain: str) -> Facts:
    """What the header of a message tells besides sender, recipient and subject."""
    links = message.links
    return Facts(
        domain=domain,
        delivery=message.delivery,
        attempt=message.attempt,
        type=message.type,
        category=message.category,
        klass=message.klass.value,
        unsubscribe=None if links is None else links.unsubscribe,
        mailto=None if links is None else links.mailto,
    )


def read(reply: Reply, messages: Sequence[Message], account: Account, now: datetime) -> Sequence[Outcome]:
    """Say what the reply meant. Never raises, whatever the reply."""
    del account, now
    if isinstance(reply, SmtpReply):
        verdict = _read_reply(reply)
    elif isinstance(reply, Lost):
        verdict = _read_lost(reply)
    else:
        row = UNREADABLE[2]
        verdict = outcome(row.kind, row.reason, detail=type(reply).__name__)
    return [verdict] * len(messages)


def status_of(text: str) -> str:
    """The enhanced status that opens a reply's text, or nothing (RFC 2034)."""
    match = _STATUS.match(text)
    return f"{match[1]}.{int(match[2])}.{int(match[3])}" if match else ""


def _read_reply(reply: SmtpReply) -> Outcome:
    code, status = str(reply.code), status_of(reply.text)
    if status[:1] != code[:1]:
        status = ""  # a status of another class contradicts the code, which every server must get right
    row = next((row for row in OUTCOMES if row.fits(reply.stage, code, status)), None)
    if row is not None:
        return _verdict(row, reply, code, status)
    left = UNREADABLE[0 if reply.stage is Stage.END else 1]
    return outcome(left.kind, left.reason, detail=_redact(f"{reply.stage} {code} {reply.text}"))


def _verdict(row: Rule, reply: SmtpReply, code: str, status: str) -> Outcome:
    if row.kind is Kind.ACCEPTED:
        queued = _QUEUED.search(reply.text)
        return accepted(queued[1] if queued else None)
    made = outcome(
        row.kind,
        row.reason.format(code=code, status=status),
        detail=_redact(f"{reply.stage} {code} {reply.text}"),
        wait=row.wait,
        scope="all" if row.kind is Kind.RECIPIENT_PERMANENT else None,
    )
    return made if row.blame is None else msgspec.structs.replace(made, blame=row.blame)


def _read_lost(lost: Lost) -> Outcome:
    row = next(row for row in OUTCOMES if row.fits_loss(lost))
    reason = re.sub(r"[^a-z0-9_]", "_", lost.reason)[:40]
    return outcome(row.kind, row.reason.format(lost=reason), detail=_redact(lost.detail))


def _redact(text: str) -> str:
    """The server's words on one line, without addresses."""
    return _UNPRINTABLE.sub(" ", _ADDRESS.sub("<address>", text[:1_000]))
