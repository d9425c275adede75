"""What is written of one row's call: its outcome, the state that follows, and by which account it goes on?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from ulak.core import failover, fate
from ulak.core.aftermath import MOVES, RESEND, STOP, Course, Next, after_outcome
from ulak.core.ids import external
from ulak.core.model import SOLO, Account, Class
from ulak.core.outcome import Kind, Outcome
from ulak.core.states import SETTLED, State
from ulak.flow.attempt.model import Call, Clock, Lineup
from ulak.io.postgres.attempting import Result, Started

MAY_MOVE = MOVES | {Kind.THROTTLED, Kind.UNKNOWN}
"""Outcomes after which the other accounts have to be looked at."""


class Answer(NamedTuple):
    """What one row's call meant, and who may go on with it.

    ``accounts`` is empty where a call was not made: another account could not mend a fault of ours.
    ``on_unknown`` is the policy of the row's type.
    """

    outcome: Outcome
    accounts: Sequence[Account] = ()
    on_unknown: str = RESEND


@dataclass(frozen=True, slots=True)
class Results:
    """Makes results of one account's calls. ``jitter`` gives numbers in [0, 1)."""

    account: Account
    lineup: Lineup
    clock: Clock
    jitter: Callable[[], float]

    def result(self, call: Call, row: Started, answer: Answer, started_at: float) -> Result:
        """Turn an outcome into what is written, by the one rule of ``core.aftermath``."""
        verdict = answer.outcome
        now = row.now + timedelta(seconds=self.clock() - started_at)
        after = after_outcome(verdict, self._course(row, answer), now, self.jitter())
        delay = self._delay(verdict, after, now, started_at)
        return Result(
            token=row.token,
            tenant=row.tenant,
            delivery=row.delivery,
            n=row.n,
            kind=verdict.kind.value,
            blame=None if verdict.blame is None else verdict.blame.value,
            reason=verdict.reason,
            detail=verdict.detail.replace("\0", "") or None,
            vendor_id=verdict.vendor_id,
            state=after.state.value,
            state_reason=None if after.reason is None else after.reason.value,
            delay=delay,
            counts=after.counts,
            suppress=after.suppress,
            dead=after.dead,
            lane=call.lane % SOLO,
            bulkhead=self._bulkhead(after.account),
            bucket=row.bucket,
            crashes=row.crashes,
            verdict=after.verdict,
            settled=after.state in SETTLED,
            next_account=after.account if after.moved else None,
            device=self._told(row, verdict),
        )

    def _told(self, row: Started, verdict: Outcome) -> fate.Told | None:
        """What it says of the device, if it went to one."""
        if row.device is None:
            return None
        return fate.told(row.device, verdict, self.account.name, external("dlv", row.delivery))

    def _course(self, row: Started, answer: Answer) -> Course:
        """A delivery as it stood, and who else could send it."""
        policy = answer.on_unknown if row.resend else STOP
        course = Course(Class(row.klass), row.attempts, row.first_at, row.expires_at, policy)
        accounts = answer.accounts
        if all(each.name == self.account.name for each in accounts):
            return course
        avoid = {each.name for each in accounts if not self.lineup.usable(each)}
        another = failover.following(accounts, row.delivery, {*row.refused, self.account.name}, avoid)
        anew = failover.first(accounts, row.delivery, avoid)
        return msgspec.structs.replace(
            course, another=another and another.name, anew=anew and anew.name, accounts=len(accounts)
        )

    def _bulkhead(self, account: str | None) -> str:
        """The line of another account of this channel, or of this one."""
        return self.account.bulkhead if account is None else replace(self.account, name=account).bulkhead

    def _delay(self, verdict: Outcome, after: Next, now: datetime, started_at: float) -> float | None:
        """Seconds until the next try; for an unanswered call until its own deadline to reconcile."""
        if verdict.kind is Kind.UNKNOWN:
            return max(0.0, self.account.reconcile_after - (self.clock() - started_at))
        return None if after.retry_at is None else max(0.0, (after.retry_at - now).total_seconds())

    def released(self, call: Call, row: Started) -> Result:
        """A row for which too little of the lease is left goes back as it was; it has used up a number."""
        waited = State.RETRYING if row.n > 1 else State.PENDING
        return Result(
            token=row.token,
            tenant=row.tenant,
            delivery=row.delivery,
            n=row.n,
            kind="released",
            blame=None,
            reason="lease_too_short",
            detail=None,
            vendor_id=None,
            # Whose last call may have been taken stays unknown: no other account may have it.
            state=State.UNKNOWN.value if row.before == State.UNKNOWN else waited.value,
            state_reason=None,
            delay=0.0,
            counts=False,
            suppress=None,
            dead=False,
            lane=call.lane,
            bulkhead=self.account.bulkhead,
            bucket=row.bucket,
            crashes=row.crashes,
            verdict=None,
            settled=False,
        )
