"""How do apps tell what became of a push, and what comes of all of them?

Whoever shows the token that came with a push may speak of it: a service worker or an extension of an app often has no
user's token. No answer says whether a delivery exists. Nothing that a browser adds by itself (a cookie, say) counts, so
pages of every origin may call.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from ulak.core.invalid import Invalid, invalid
from ulak.core.push_receipt import Said
from ulak.edge.api import problem, wire
from ulak.edge.api.http import Response, answer
from ulak.edge.api.router import Call
from ulak.flow.receipts import TooOften, Word
from ulak.io.postgres.push_counts import MOST, By, Sums, What

WEEK = timedelta(days=7)
_FIRST = datetime(1970, 1, 8, tzinfo=UTC)
"""A week before any earlier moment may be none that there is."""
_LATER = 10
_Time = Annotated[datetime, Meta(tz=True)]
_Token = Annotated[str, Meta(min_length=1, max_length=200)]
_Version = Annotated[str, Meta(max_length=64)]


class PushWord(Struct, forbid_unknown_fields=True):
    """What became of one push, with its token; ``at`` is when, ``app_version`` which version of the app says so."""

    receipt: _Token
    event: Said
    at: _Time | None = None
    app_version: _Version | None = None


class PushReceiptBody(Struct, forbid_unknown_fields=True):
    """What became of a push (``receipt`` and ``event``), or of several (``receipts``)."""

    receipt: _Token | None = None
    event: Said | None = None
    at: _Time | None = None
    app_version: _Version | None = None
    receipts: Annotated[list[PushWord], Meta(min_length=1, max_length=100)] | None = None


class StatsQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """Which hours (the last week by default), and what to tell sums apart by: names with commas between them."""

    since: _Time | None = None
    until: _Time | None = None
    by: Annotated[str, Meta(max_length=100)] | None = None


async def told(call: Call) -> Response:
    """Take what an app says; it is durable when this is answered, and the same said again changes nothing.

    Of several, `refused` has the positions of those whose token is not ours.
    """
    words = _words(call.body)
    try:
        strangers = await call.deps.push_receipts.tell(words)
    except TooOften:
        raise _too_often() from None
    if strangers and call.body.receipts is None:
        raise Invalid(400, "invalid_receipt", "$.receipt", "not the receipt of a push of ours")
    return answer(wire.PushReceiptAnswer(refused=strangers or UNSET), 202)


def _words(body: PushReceiptBody) -> list[Word]:
    single = (body.receipt, body.event, body.at, body.app_version)
    if body.receipts is not None:
        if any(each is not None for each in single):
            raise invalid("too_many_fields", "$", "expected either receipts, or receipt and event")
        return [_word(each, f"$.receipts[{place}]") for place, each in enumerate(body.receipts)]
    if body.receipt is None or body.event is None:
        raise invalid("missing_field", "$", "expected receipt and event, or receipts")
    return [_word(PushWord(body.receipt, body.event, body.at, body.app_version), "$")]


def _word(given: PushWord, path: str) -> Word:
    if given.app_version is not None and not given.app_version.isprintable():
        raise invalid("unprintable", f"{path}.app_version", "a version has printable characters only")
    return Word(given.receipt, given.event, given.at, given.app_version)


def _too_often() -> problem.Refused:
    found = problem.refused(429, "too_often", "this receipt was shown too often", "what was said once is known")
    return problem.Refused(found.problem, ((b"retry-after", str(_LATER).encode()),))


async def stats(call: Call) -> Response:
    """What services answered, and what apps said, by hours.

    `accepted` is what a service took, which is less than that it arrived: it may store, drop or replace it, and tells
    nobody. `shown`, `opened` and `dismissed` are what apps said, as far as they do.
    """
    q: StatsQuery = call.query
    until = q.until or call.now
    since = q.since or max(until, _FIRST) - WEEK
    by = _by(q.by)
    found = await call.deps.push_counts.sums(call.tenant, since, until, by)
    if found is None:
        raise invalid("too_many_groups", "?by", f"more than {MOST} groups", "ask for less time, or by less")
    return answer(wire.PushStats(since, until, _total(found), [_group(each) for each in found]))


def _by(text: str | None) -> list[By]:
    try:
        by = [By(name.strip()) for name in (text or "").split(",") if name.strip()]
    except ValueError:
        raise invalid("invalid_parameter", "?by", "not what sums are told apart by", ", ".join(By)) from None
    if len(set(by)) < len(by):
        raise invalid("invalid_parameter", "?by", "a name stands twice")
    return by


def _total(groups: Sequence[Sums]) -> wire.PushSums:
    sums: dict[What, int] = {}
    reasons: dict[str, int] = {}
    for group in groups:
        for what, n in group.sums.items():
            sums[what] = sums.get(what, 0) + n
        for reason, n in group.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + n
    return _sums(Sums({}, sums, reasons))


def _sums(group: Sums) -> wire.PushSums:
    counts = {what.value: group.sums.get(what, 0) for what in What}
    return wire.PushSums(**counts, reasons=dict(group.reasons))


def _group(group: Sums) -> wire.PushGroup:
    def told(by: By) -> str | UnsetType:
        value = group.group.get(by, UNSET)
        return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value

    return wire.PushGroup(_sums(group), **{by.value: told(by) for by in By})
