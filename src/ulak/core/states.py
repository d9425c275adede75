"""In which state is a delivery, and which event may lead to which state?

The table ``TRANSITIONS`` is the whole machine; the page ``docs/reference/states.md`` is made from it.
A state is a fold over the log of one delivery: planning, attempts, outcomes, receipts.

* An event that the table does not know is refused (``Refused``); nothing is guessed.
* A receipt tells what happened in the world, so it is taken in every state: a late ``delivered`` turns
  ``expired`` into ``delivered``; a bounce outranks it in either order. Receipts commute.
* That the vendor took it, or would not send it after all, settles what waits for an answer (``unknown``),
  so that it is not sent again; a proof of arrival or a bounce outranks both.
* An outcome that a receipt has overtaken changes nothing.
* Only a receipt or a redrive leads out of an end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    HELD = "held"
    ATTEMPTING = "attempting"
    RETRYING = "retrying"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    DELIVERED = "delivered"
    FAILED = "failed"
    BOUNCED = "bounced"
    SKIPPED = "skipped"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    UNRESOLVED = "unresolved"
    DEAD = "dead"


ENDS = frozenset(
    {
        State.FAILED,
        State.BOUNCED,
        State.SKIPPED,
        State.SUPPRESSED,
        State.EXPIRED,
        State.CANCELLED,
        State.UNRESOLVED,
        State.DEAD,
    }
)
"""States that need a reason and that only a receipt or a redrive leaves."""

SETTLED = ENDS | {State.ACCEPTED, State.DELIVERED}
"""States in which Ulak has nothing left to do."""

WAITING = frozenset({State.PENDING, State.HELD, State.RETRYING, State.UNKNOWN})
"""States from which a call may begin."""


class Event(StrEnum):
    """What can happen to a delivery."""

    PLANNED = "planned"
    HELD = "held"
    STORED = "stored"
    DUE = "due"
    BEGAN = "began"
    RELEASED = "released"
    ACCEPTED = "accepted"
    THROTTLED = "throttled"
    RETRY = "retry"
    UNKNOWN = "unknown"
    FAILED = "failed"
    PARKED = "parked"
    SKIPPED = "skipped"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    UNRESOLVED = "unresolved"
    REDRIVEN = "redriven"
    TAKEN = "taken"
    REFUSED = "refused"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    SEEN = "seen"
    READ = "read"
    OPENED = "opened"
    CLICKED = "clicked"
    ARCHIVED = "archived"
    COMPLAINED = "complained"


MEANING: Mapping[Event, str] = {
    Event.PLANNED: "the planner made it, due at once",
    Event.HELD: "the planner made it for a later time",
    Event.STORED: "the inbox item was committed (`in_app`)",
    Event.DUE: "its time came",
    Event.BEGAN: "an attempt row was written; the call follows",
    Event.RELEASED: "the call was never made; the row went back",
    Event.ACCEPTED: "the vendor took it",
    Event.THROTTLED: "the vendor asked to wait",
    Event.RETRY: "a passing fault; it will be tried again",
    Event.UNKNOWN: "no answer came",
    Event.FAILED: "refused for good, not because of the address",
    Event.PARKED: "it can't be sent as it is, or was tried long enough",
    Event.SKIPPED: "the last check found it unwanted or needless",
    Event.SUPPRESSED: "the last check found its address suppressed",
    Event.EXPIRED: "its time was over",
    Event.CANCELLED: "the caller took it back",
    Event.UNRESOLVED: "the deadline to reconcile passed, and the policy is not to send twice",
    Event.REDRIVEN: "somebody asked for it to be tried again",
    Event.TAKEN: "a receipt: the vendor has it",
    Event.REFUSED: "a receipt: the vendor had it, and then would not send it",
    Event.DELIVERED: "a receipt: it reached the user",
    Event.BOUNCED: "the address refused it, at once or by a later receipt",
    Event.SEEN: "a receipt: the user saw it",
    Event.READ: "a receipt: the user read it",
    Event.OPENED: "a receipt: the mail was opened, by the user or by a program",
    Event.CLICKED: "a receipt: the user clicked it",
    Event.ARCHIVED: "a receipt: the user put it away",
    Event.COMPLAINED: "a receipt: the user called it spam",
}

REACHED = frozenset({Event.DELIVERED, Event.SEEN, Event.READ, Event.OPENED, Event.CLICKED})
"""Receipts that prove that it reached the user."""

PROOFS = REACHED | {Event.TAKEN, Event.REFUSED, Event.BOUNCED}
"""Receipts that say what became of it."""

RECEIPTS = PROOFS | {Event.ARCHIVED, Event.COMPLAINED}
"""Events that are taken in every state."""

_OPEN = frozenset(
    {
        State.PENDING,
        State.HELD,
        State.ATTEMPTING,
        State.RETRYING,
        State.UNKNOWN,
        State.EXPIRED,
        State.UNRESOLVED,
        State.DEAD,
    }
)
"""States in which it may be that the vendor has it."""

_VERDICTS = {
    Event.SKIPPED: State.SKIPPED,
    Event.SUPPRESSED: State.SUPPRESSED,
    Event.EXPIRED: State.EXPIRED,
    Event.CANCELLED: State.CANCELLED,
    Event.FAILED: State.FAILED,
    Event.PARKED: State.DEAD,
}
_ANSWERS = {
    Event.ACCEPTED: State.ACCEPTED,
    Event.THROTTLED: State.RETRYING,
    Event.RETRY: State.RETRYING,
    Event.UNKNOWN: State.UNKNOWN,
    Event.FAILED: State.FAILED,
    Event.PARKED: State.DEAD,
    Event.EXPIRED: State.EXPIRED,
    Event.RELEASED: State.PENDING,
}


_PROVEN = (State.ACCEPTED, State.FAILED, State.DELIVERED, State.BOUNCED)
"""Where a receipt may have led before the outcome of its call is known; the outcome then changes nothing."""


def _table() -> dict[tuple[State | None, Event], State]:
    table: dict[tuple[State | None, Event], State] = {
        (None, Event.PLANNED): State.PENDING,
        (None, Event.HELD): State.HELD,
        (None, Event.STORED): State.ACCEPTED,
        (State.HELD, Event.DUE): State.PENDING,
        (State.PENDING, Event.STORED): State.ACCEPTED,
        (State.HELD, Event.STORED): State.ACCEPTED,
        (State.UNKNOWN, Event.ACCEPTED): State.ACCEPTED,
        (State.UNKNOWN, Event.UNRESOLVED): State.UNRESOLVED,
        (State.DEAD, Event.REDRIVEN): State.RETRYING,
    }
    for verdict, end in _VERDICTS.items():
        for waiting in (None, *sorted(WAITING)):
            table[waiting, verdict] = end
    for waiting in WAITING:
        table[waiting, Event.BEGAN] = State.ATTEMPTING
    for answer, state in _ANSWERS.items():
        table[State.ATTEMPTING, answer] = state
        for proven in _PROVEN:
            table[proven, answer] = proven
    for proven in _PROVEN:
        table[proven, Event.UNRESOLVED] = proven
    for state in State:
        for receipt in REACHED:
            table[state, receipt] = State.BOUNCED if state is State.BOUNCED else State.DELIVERED
        table[state, Event.TAKEN] = State.ACCEPTED if state in _OPEN else state
        table[state, Event.REFUSED] = State.FAILED if state in _OPEN | {State.ACCEPTED} else state
        table[state, Event.BOUNCED] = State.BOUNCED
        table[state, Event.ARCHIVED] = state
        table[state, Event.COMPLAINED] = state
    return table


TRANSITIONS: Mapping[tuple[State | None, Event], State] = _table()
"""State (None: not planned yet) and event to the next state; a pair that is missing is refused."""


class Refused(ValueError):
    """An event that can't happen in this state."""

    def __init__(self, state: State | None, event: Event) -> None:
        self.state = state
        self.event = event
        super().__init__(f"'{event}' can't happen to a delivery that is {state or 'not planned'}")


@dataclass(frozen=True, slots=True)
class Happened:
    """One row of a delivery's log."""

    event: Event
    at: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """What a log adds up to. ``attempts`` counts the calls that used up a try; times hold the earliest."""

    state: State | None = None
    reason: str | None = None
    attempts: int = 0
    settled_at: datetime | None = None
    times: Mapping[Event, datetime] = field(default_factory=dict)


_COUNTED = frozenset(
    {Event.ACCEPTED, Event.RETRY, Event.UNKNOWN, Event.FAILED, Event.PARKED, Event.BOUNCED, Event.EXPIRED}
)
_KEPT = RECEIPTS | {Event.PLANNED, Event.HELD}


def step(folded: Folded, happened: Happened) -> Folded:
    """Take one more event; raise ``Refused`` when the table does not know it in this state."""
    event = happened.event
    after = TRANSITIONS.get((folded.state, event))
    if after is None:
        raise Refused(folded.state, event)
    attempts = folded.attempts + (folded.state is State.ATTEMPTING and event in _COUNTED)
    times = folded.times
    if event in _KEPT:
        known = [event, Event.DELIVERED] if event in REACHED else [event]
        times = {**times, **{kind: min(times.get(kind, happened.at), happened.at) for kind in known}}
    if event is Event.REDRIVEN:
        attempts = 0
    settled = (folded.settled_at or happened.at) if after in SETTLED else None
    if settled is not None and event in PROOFS:
        settled = min(settled, happened.at)  # whichever proof comes first
    if after is folded.state:
        return replace(folded, attempts=attempts, times=times, settled_at=settled)
    return Folded(after, happened.reason, attempts, settled, times)


def fold(log: Iterable[Happened]) -> Folded:
    """Add up a log in its order."""
    folded = Folded()
    for happened in log:
        folded = step(folded, happened)
    return folded
