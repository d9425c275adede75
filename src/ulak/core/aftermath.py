"""What becomes of a delivery after one call of a provider?

The single rule that the attempt stage asks after every call: which state, why, when again, whether the
call used up a try, which account makes the next one, and whether the address is to be suppressed or the
message parked.

Another account goes on at once where this one has definitely not taken the message and is to blame for it:
it is unusable, had a fault, or asks for a wait that is longer than the message lives. Never because of the
recipient, the message, or a policy; and not after ``unknown``, unless the type prefers a duplicate to a loss.
When no other account is left, the ladder's wait begins, and after it the first account again.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from ulak.core import retry
from ulak.core.model import Class
from ulak.core.outcome import Kind, Outcome
from ulak.core.reasons import Reason
from ulak.core.states import State

STOP = "stop"
"""The ``on_unknown`` policy that never sends twice."""

RESEND = "resend"
"""The one that sends again by the same account, with the same ids."""

ELSEWHERE = "resend_elsewhere"
"""The one that sends again by another account: a duplicate is better than a loss."""


class Course(msgspec.Struct, frozen=True, gc=False):
    """A delivery as it stood before the call.

    ``attempts`` counts earlier calls that used up a try; ``first_at`` is when the first call began;
    ``on_unknown`` is ``resend``, ``resend_elsewhere`` or ``stop``. ``another`` is the account that could go on at
    once, ``anew`` the one to begin with after a wait (None: the same one); ``accounts`` is how many share the tries.
    """

    klass: Class
    attempts: int
    first_at: datetime
    expires_at: datetime
    on_unknown: str
    another: str | None = None
    anew: str | None = None
    accounts: int = 1


class Next(msgspec.Struct, frozen=True, gc=False):
    """What to write.

    ``retry_at`` is when to call again (None: never, or for ``unknown`` at the attempt's own deadline to
    reconcile); ``verdict`` is what that deadline then settles without another call; ``suppress`` is the
    scope of a suppression to write; ``dead`` means to park it for a redrive. ``account`` makes the next call
    (None: the same one); ``moved`` says that it goes on where this one could not, rather than beginning anew.
    """

    state: State
    reason: Reason | None
    retry_at: datetime | None = None
    counts: bool = True
    suppress: str | None = None
    dead: bool = False
    verdict: str | None = None
    account: str | None = None
    moved: bool = False


_WHY = {
    Kind.THROTTLED: Reason.THROTTLED,
    Kind.RETRY: Reason.VENDOR_TROUBLE,
    Kind.NEXT_PROVIDER: Reason.ACCOUNT_UNUSABLE,
    Kind.RECIPIENT_TEMPORARY: Reason.RECIPIENT_BUSY,
}
"""Outcomes that are tried again. ``next_provider`` too: the account may be mended before the expiry."""

MOVES = frozenset({Kind.NEXT_PROVIDER, Kind.RETRY})
"""Outcomes after which another account goes on: nothing was taken, and the account or the way to it is at fault."""


def after_outcome(outcome: Outcome, course: Course, now: datetime, jitter: float) -> Next:
    """Decide what follows from one outcome; ``jitter`` is drawn from [0, 1)."""
    match outcome.kind:
        case Kind.ACCEPTED:
            return Next(State.ACCEPTED, None)
        case Kind.UNKNOWN:
            verdict = f"{State.UNRESOLVED}:{Reason.NO_ANSWER}" if course.on_unknown == STOP else None
            account = course.another if course.on_unknown == ELSEWHERE else None
            return Next(State.UNKNOWN, Reason.NO_ANSWER, verdict=verdict, account=account, moved=account is not None)
        case Kind.RECIPIENT_PERMANENT:
            # A device is put into quarantine instead: its store keeps the evidence.
            suppress = None if outcome.device else outcome.scope or "all"
            return Next(State.BOUNCED, Reason.ADDRESS_REFUSED, suppress=suppress)
        case Kind.PAYLOAD_ERROR:
            return Next(State.DEAD, Reason.BAD_PAYLOAD, dead=True)
        case Kind.POLICY_BLOCK:
            return Next(State.FAILED, Reason.POLICY_REFUSED)
        case Kind.THROTTLED | Kind.RETRY | Kind.NEXT_PROVIDER | Kind.RECIPIENT_TEMPORARY:
            return _again(outcome, course, now, jitter)


def _again(outcome: Outcome, course: Course, now: datetime, jitter: float) -> Next:
    counts = outcome.kind is not Kind.THROTTLED
    tries = course.attempts + counts
    throttled = not counts
    rounds = -(-tries // max(1, course.accounts))
    delay = retry.next_delay(course.klass, rounds, jitter, outcome.wait, throttled=throttled)
    firm = throttled or outcome.wait is not None
    end = retry.give_up_at(course.klass, course.first_at, course.expires_at)
    at = retry.retry_at(now, delay, end, firm=firm)
    moves = outcome.kind in MOVES or (throttled and at is None)
    if moves and course.another is not None and now < end and tries < retry.MAX_TRIES:
        return Next(State.RETRYING, _WHY[outcome.kind], now, counts, account=course.another, moved=True)
    if at is not None and tries < retry.MAX_TRIES:
        anew = course.anew if outcome.kind in MOVES else None
        return Next(State.RETRYING, _WHY[outcome.kind], at, counts, account=anew)
    if at is None and end == course.expires_at:
        return Next(State.EXPIRED, Reason.TOO_LATE, counts=counts)
    return Next(State.DEAD, Reason.RETRIES_EXHAUSTED, counts=counts, dead=True)
