"""What did an HTTP vendor's answer mean, by a table that is read from the top?

A row's ``answer`` is both what people read and the pattern: statuses (``x`` is any digit), then ``with`` the names
that the vendor gives to what it says, then ``saying`` words of its text. The first row that fits wins, and the
last rows, which every table shares, fit everything: always as a failure, or as ``unknown`` where the message
may have been taken.

A vendor's own refusal is definite. A gateway's 502 or 504 is not: it lost the answer of a vendor that may have
taken the message, so it counts as unanswered, and so does a success that can't be read. Where no credential could
be had, nothing was sent: that is never unanswered, whatever became of the request for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from ulak.core.device import Fate
from ulak.core.outcome import Blame, Kind, Outcome, outcome
from ulak.providers.contract import HttpReply, Lost, Phase, Refused, Reply, Row, Ungranted

OTHERS = "others"
"""``with others`` fits any name: the vendor's own word for something that no row above knows."""

_ANSWER = re.compile(r'([\dx]+(?:,[\dx]+)*)?(?: ?with ([\w,-]+))?(?: saying (".+"))?')
_NOT_PLAIN = re.compile(r"[^a-z0-9]+")
_ADDRESS = re.compile(r"[^\s<>\"'(),;:\[\]]*@[^\s<>\"'(),;]*")
_UNPRINTABLE = re.compile(r"[^ -~\xa0-\ud7ff]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a vendor said: ``name`` is its word for it (empty for none), ``text`` its sentence for people.

    ``vendor_id`` is its id of a message that it took; ``wait`` the seconds that it asked for; ``dead_since`` when a
    device died, by its own word.
    """

    status: int
    name: str = ""
    text: str = ""
    vendor_id: str | None = None
    wait: float | None = None
    dead_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rule(Row):
    """A row with what it fits; ``wait`` stands in where the vendor names no seconds.

    ``device`` is what the answer says of the device; ``grant`` marks rows on the request for a credential.
    """

    status: re.Pattern[str] = re.compile("")
    names: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()
    phase: Phase | None = None
    lost: frozenset[str] = frozenset()
    blame: Blame | None = None
    wait: float | None = None
    device: Fate | None = None
    grant: bool = False

    def fits(self, answer: Answer) -> bool:
        """Whether an answer is one of those that the row speaks of."""
        if self.phase is not None or self.status.fullmatch(str(answer.status)) is None:
            return False
        if self.names and not (answer.name in self.names or (answer.name and OTHERS in self.names)):
            return False
        return not self.words or any(word in answer.text.lower() for word in self.words)

    def fits_loss(self, lost: Lost) -> bool:
        """Whether a missing answer is one of those that the row speaks of; no names mean any."""
        return self.phase is lost.phase and (not self.lost or lost.reason in self.lost)


def rule(  # noqa: PLR0913 - one line of a table is read at one glance
    answer: str,
    kind: Kind,
    reason: str,
    sentence: str,
    *,
    blame: Blame | None = None,
    wait: float | None = None,
    device: Fate | None = None,
) -> Rule:
    """Read ``answer`` as the pattern that it is; raises ``ValueError`` for one that is none."""
    match = _ANSWER.fullmatch(answer)
    if match is None or not answer:
        raise ValueError(f"not an answer: {answer}")
    statuses = [part.replace("x", "[0-9]") for part in (match[1] or "xxx").split(",")]
    return Rule(
        answer,
        kind,
        reason,
        sentence,
        status=re.compile("|".join(statuses)),
        names=frozenset(match[2].split(",")) if match[2] else frozenset(),
        words=tuple(word.lower() for word in re.findall('"([^"]+)"', match[3] or "")),
        blame=blame,
        wait=wait,
        device=device,
    )


class Table:
    """A vendor's rows, completed by those that all vendors share. ``vendor`` opens every shared reason.

    ``grants`` says that a credential may have to be asked for, which can fail by itself.
    """

    def __init__(self, vendor: str, *rows: Rule, grants: bool = False) -> None:
        own = {row.answer for row in rows}
        self.vendor = vendor
        self.grants = _grants(vendor)
        shared = (row for row in _shared(vendor) if row.answer not in own)
        self.rows = (*rows, *(self.grants if grants else ()), *shared)

    def judge(self, answer: Answer) -> Outcome:
        """The outcome of an answer, by the first row that fits."""
        row = next(row for row in self.rows if not row.grant and row.fits(answer))
        if row.kind is Kind.ACCEPTED:
            return outcome(row.kind, row.reason, vendor_id=_id(answer.vendor_id))
        waits = row.kind in (Kind.THROTTLED, Kind.RETRY, Kind.NEXT_PROVIDER) or row.device is Fate.BUSY or row.wait
        made = outcome(
            row.kind,
            row.reason.format(name=_plain(answer.name), status=answer.status),
            detail=redact(f"{answer.status} {answer.name} {answer.text}"),
            wait=(answer.wait if answer.wait is not None else row.wait) if waits else None,
            scope="all" if row.kind is Kind.RECIPIENT_PERMANENT else None,
        )
        if row.device is not None:
            since = answer.dead_since if row.device is Fate.DEAD else None
            made = msgspec.structs.replace(made, device=row.device, dead_since=since)
        return made if row.blame is None else msgspec.structs.replace(made, blame=row.blame)

    def unanswered(self, reply: Reply) -> Outcome:
        """The outcome where there is no HTTP answer to judge."""
        if isinstance(reply, Lost):
            row = next(row for row in self.rows if row.fits_loss(reply))
            return outcome(row.kind, row.reason.format(lost=_plain(reply.reason)), detail=redact(reply.detail))
        if isinstance(reply, Ungranted):
            return self._ungranted(reply.reply)
        row = self.rows[-1]
        detail = _refusal(reply) if isinstance(reply, Refused) else type(reply).__name__
        return outcome(row.kind, row.reason, detail=redact(detail))

    def _ungranted(self, reply: HttpReply | Lost | Refused) -> Outcome:
        """The outcome where nothing was sent, because no credential could be had."""
        refused, lost, *answered = self.grants
        if isinstance(reply, Refused):
            return outcome(refused.kind, refused.reason, detail=redact(_refusal(reply)))
        if isinstance(reply, Lost):
            return outcome(lost.kind, lost.reason.format(lost=_plain(reply.reason)), detail=redact(reply.detail))
        row = next(row for row in answered if row.fits(Answer(reply.status)))
        # An answer that is no refusal may hold a credential that we could not read: nothing of it is told.
        said = text_of(reply) if reply.status >= 400 else ""
        detail = redact(f"no credential: {reply.status} {said}")
        return outcome(row.kind, row.reason.format(status=reply.status), detail=detail)


def _refusal(reply: Refused) -> str:
    """Why the guard did not dial and, where an operator may allow it, by which setting."""
    said = f"the egress guard refused the {reply.reason}: {reply.detail}"
    return f"{said}; if it is meant, name its network in ULAK_ALLOW_NETWORKS" if reply.reason == "address" else said


def _shared(vendor: str) -> tuple[Rule, ...]:
    """What any HTTP vendor may answer, and what is left when nothing else fits."""
    return (
        rule("408", Kind.RETRY, f"{vendor}_http_408", "The request was too slow to arrive whole; nothing was taken."),
        rule("413", Kind.PAYLOAD_ERROR, f"{vendor}_http_413", "The message is too big for the vendor."),
        rule("429", Kind.THROTTLED, f"{vendor}_http_429", "Too fast; wait."),
        rule("502,504", Kind.UNKNOWN, f"{vendor}_http_{{status}}",
             "A gateway lost the vendor's answer; the message may or may not have been taken."),
        rule("5xx", Kind.RETRY, f"{vendor}_http_{{status}}", "The vendor refused for a fault of its own; try again."),
        rule("2xx", Kind.UNKNOWN, f"{vendor}_unreadable",
             "A success without the proof that belongs to it, cut off or not the vendor's: it may have been taken."),
        rule("1xx,3xx,4xx", Kind.NEXT_PROVIDER, f"{vendor}_http_{{status}}",
             "Refused, and no row says why: a proxy's page, or the account is set up wrongly."),
        rule("xxx", Kind.UNKNOWN, f"{vendor}_unreadable", "Not a status of HTTP; the message may have been taken."),
        _lost(vendor, "certificate tls", Kind.NEXT_PROVIDER, "The vendor's certificate is not valid, or TLS failed."),
        _lost(vendor, "", Kind.RETRY, "Refused, unreachable or too slow; no connection stood, so nothing was taken."),
        _lost(vendor, "", Kind.UNKNOWN, "The connection ended without a whole answer; it may have been taken.",
              Phase.SENT),
        Rule("a reply of another protocol, or a refusal of ours to dial", Kind.NEXT_PROVIDER, f"{vendor}_not_reached",
             "The account cannot be reached as it is set up: its address is refused by the egress guard.",
             status=re.compile("(?!)")),
    )  # fmt: skip


def _grants(vendor: str) -> tuple[Rule, ...]:
    """What may come of the request for a credential; in none of these cases was a message sent."""
    asked = "the request for a credential:"
    start = f"{vendor}_grant"
    rows = (
        (f"{asked} refusal of ours to dial", "(?!)", Kind.NEXT_PROVIDER, f"{start}_not_reached",
         "The address that grants credentials is refused by the egress guard; nothing was sent."),
        (f"{asked} no answer", "(?!)", Kind.RETRY, f"{start}_{{lost}}", "No credential came; nothing was sent."),
        (f"{asked} 408,429,5xx", "408|429|5[0-9][0-9]", Kind.RETRY, f"{start}_{{status}}",
         "No credential for now; nothing was sent."),
        (f"{asked} 3xx,4xx", "[34][0-9][0-9]", Kind.NEXT_PROVIDER, f"{start}_{{status}}",
         "No credential for this account: its key is wrong, revoked or without the right; nothing was sent."),
        (f"{asked} any other answer", "-?[0-9]+", Kind.RETRY, f"{start}_unreadable",
         "An answer without a credential in it; nothing was sent."),
    )  # fmt: skip
    return tuple(
        Rule(answer, kind, reason, sentence, status=re.compile(status), grant=True)
        for answer, status, kind, reason, sentence in rows
    )


def _lost(vendor: str, names: str, kind: Kind, sentence: str, phase: Phase = Phase.NOT_SENT) -> Rule:
    listed = f": {', '.join(names.split())}" if names else ""
    left = "no answer, not connected" if phase is Phase.NOT_SENT else "no answer after a connection stood"
    return Rule(f"{left}{listed}", kind, f"{vendor}_{{lost}}", sentence, phase=phase, lost=frozenset(names.split()))


def seconds(headers: Mapping[str, str], now: datetime, reset: str = "x-ratelimit-reset") -> float | None:
    """How long a vendor asks to wait: ``Retry-After`` in seconds, or until an epoch second in ``reset``.

    A date in ``Retry-After`` is not read: none of the vendors sends one. Times that have passed mean no wait.
    """
    after = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,6}", after):
        return float(after)
    epoch = headers.get(reset, "").strip()
    if re.fullmatch(r"[0-9]{9,12}", epoch):
        return max(0.0, int(epoch) - now.timestamp())
    return None


def text_of(reply: HttpReply) -> str:
    """The body as text for a detail, whatever it is."""
    return reply.body[:1_000].decode("utf-8", "replace")


def redact(text: str) -> str:
    """The vendor's words on one line, without addresses."""
    return _UNPRINTABLE.sub(" ", _ADDRESS.sub("<address>", text[:1_000])).strip()


def _plain(name: str) -> str:
    """A vendor's word in lower case with underscores, for a reason."""
    word = _CAMEL.sub("_", name.removesuffix("Exception"))[:60].lower()
    return _NOT_PLAIN.sub("_", word).strip("_") or "unnamed"


def _id(vendor_id: str | None) -> str | None:
    """A vendor's id as far as it is one: printable, and not endless."""
    return vendor_id if vendor_id and re.fullmatch(r"[!-~]{1,200}", vendor_id) else None
