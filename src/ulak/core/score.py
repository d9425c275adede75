"""How does an account do with those it writes to, and is it time to stop its marketing?

Vendors suspend senders whose mail comes back or is reported. Amazon SES reviews an account at 5 % of hard bounces
and 0.1 % of complaints and pauses it at 10 % and 0.5 %, on a volume that it calls representative; these bounds are
used for every account, over its last ``VOLUME`` messages or ``DAYS`` days, whichever is less, and for nothing below
``LEAST``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

VOLUME = 10_000
DAYS = 7
LEAST = 200

SENT = "sent"
"""Counted by us when a vendor takes a message or refuses its address for good."""
REFUSED = "refused"
"""Of these, the refused ones: a bounce that came with the answer."""


class Alarm(StrEnum):
    """What a score calls for."""

    BOUNCES = "bounces"
    COMPLAINTS = "complaints"


class Level(StrEnum):
    """How urgent it is."""

    OK = "ok"
    WARN = "warn"
    PAUSE = "pause"


BOUNDS: Mapping[Alarm, tuple[float, float]] = {Alarm.BOUNCES: (0.05, 0.10), Alarm.COMPLAINTS: (0.001, 0.005)}
"""From which rate on to warn, and to pause."""


class Hour(msgspec.Struct, frozen=True, gc=False):
    """How many events of a ``kind`` fell into an hour: a receipt's, ``sent``, ``refused``, ``soft`` or ``listed``."""

    at: datetime
    kind: str
    n: int


class Score(msgspec.Struct, frozen=True, gc=False):
    """An account's figures since ``since``: counts, rates of those sent, and the level of each alarm."""

    since: datetime
    sent: int = 0
    accepted: int = 0
    deferred: int = 0
    bounced: int = 0
    complained: int = 0

    @property
    def rates(self) -> Mapping[Alarm, float]:
        """Bounces and complaints, of 1; 0 of nothing."""
        whole = max(1, self.sent)
        return {Alarm.BOUNCES: self.bounced / whole, Alarm.COMPLAINTS: self.complained / whole}

    @property
    def levels(self) -> Mapping[Alarm, Level]:
        """What each rate calls for; nothing where too little was sent to tell."""
        if self.sent < LEAST:
            return dict.fromkeys(Alarm, Level.OK)
        return {alarm: _level(rate, *BOUNDS[alarm]) for alarm, rate in self.rates.items()}

    @property
    def pauses(self) -> Alarm | None:
        """Why the account's marketing has to stop, if it has to."""
        return next((alarm for alarm, level in self.levels.items() if level is Level.PAUSE), None)


def _level(rate: float, warn: float, pause: float) -> Level:
    if rate >= pause:
        return Level.PAUSE
    return Level.WARN if rate >= warn else Level.OK


def score(hours: Iterable[Hour], now: datetime, resumed_at: datetime | None = None) -> Score:
    """Add up an account's hours, the newest first, as far back as they count.

    What was before the hour after ``resumed_at`` (when somebody looked at it and let it go on) counts no more.
    """
    since = now - timedelta(days=DAYS)
    if resumed_at is not None:
        since = max(since, resumed_at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
    by_hour: dict[datetime, dict[str, int]] = {}
    for hour in hours:
        if hour.at >= since:
            counts = by_hour.setdefault(hour.at, {})
            counts[hour.kind] = counts.get(hour.kind, 0) + hour.n
    total: dict[str, int] = {}
    for at in sorted(by_hour, reverse=True):
        if total.get(SENT, 0) >= VOLUME:
            since = at + timedelta(hours=1)
            break
        for kind, n in by_hour[at].items():
            total[kind] = total.get(kind, 0) + n
    refused = total.get(REFUSED, 0)
    return Score(
        since=since,
        sent=total.get(SENT, 0),
        accepted=total.get(SENT, 0) - refused,
        deferred=total.get("deferred", 0),
        bounced=total.get("bounced", 0) + refused,
        complained=total.get("complained", 0),
    )
