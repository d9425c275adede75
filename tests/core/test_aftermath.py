"""Does each outcome lead where the design says, and never past the expiry?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.aftermath import Course, Next, after_outcome
from ulak.core.model import Class
from ulak.core.outcome import Kind, outcome
from ulak.core.reasons import Reason
from ulak.core.retry import MAX_TRIES
from ulak.core.states import TRANSITIONS, Event, State

NOW = datetime(2026, 11, 1, tzinfo=UTC)
EVENTS = {
    State.ACCEPTED: Event.ACCEPTED,
    State.RETRYING: Event.RETRY,
    State.UNKNOWN: Event.UNKNOWN,
    State.BOUNCED: Event.BOUNCED,
    State.FAILED: Event.FAILED,
    State.DEAD: Event.PARKED,
    State.EXPIRED: Event.EXPIRED,
}


def course(klass: Class = Class.TRANSACTIONAL, attempts: int = 0, life: float = 3600, policy: str = "resend") -> Course:
    return Course(klass, attempts, NOW, NOW + timedelta(seconds=life), policy)


@given(
    st.sampled_from(Kind),
    st.sampled_from(Class),
    st.integers(0, 2000),
    st.floats(0.1, 10**6),
    st.none() | st.floats(0, 10**6),
    st.floats(0, 1, exclude_max=True),
)
def test_every_outcome_leads_to_a_state_that_the_table_knows(
    kind: Kind, klass: Class, attempts: int, life: float, wait: float | None, jitter: float
) -> None:
    now = course(klass, attempts, life)
    following = after_outcome(outcome(kind, "x", wait=wait), now, NOW, jitter)
    assert TRANSITIONS[State.ATTEMPTING, EVENTS[following.state]] is following.state
    assert (following.retry_at is not None) == (following.state is State.RETRYING)
    assert following.retry_at is None or NOW < following.retry_at < now.expires_at
    assert following.dead == (following.state is State.DEAD)
    assert following.counts == (kind is not Kind.THROTTLED)
    assert (following.suppress is not None) == (kind is Kind.RECIPIENT_PERMANENT)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.ACCEPTED, Next(State.ACCEPTED, None)),
        (Kind.RECIPIENT_PERMANENT, Next(State.BOUNCED, Reason.ADDRESS_REFUSED, suppress="all")),
        (Kind.PAYLOAD_ERROR, Next(State.DEAD, Reason.BAD_PAYLOAD, dead=True)),
        (Kind.POLICY_BLOCK, Next(State.FAILED, Reason.POLICY_REFUSED)),
        (Kind.UNKNOWN, Next(State.UNKNOWN, Reason.NO_ANSWER)),
    ],
)
def test_outcomes_that_are_not_tried_again(kind: Kind, expected: Next) -> None:
    assert after_outcome(outcome(kind, "x"), course(), NOW, 0.5) == expected


def test_an_unanswered_send_of_a_type_that_stops_is_settled_at_its_deadline() -> None:
    following = after_outcome(outcome(Kind.UNKNOWN, "x"), course(policy="stop"), NOW, 0.5)
    assert following.verdict == "unresolved:no_answer"


def test_a_throttle_past_the_expiry_expires_at_once() -> None:
    following = after_outcome(outcome(Kind.THROTTLED, "x", wait=60), course(life=30), NOW, 0.5)
    assert (following.state, following.counts) == (State.EXPIRED, False)


def test_a_notification_that_outlives_its_ladder_is_parked() -> None:
    long = course(Class.MARKETING, 20, life=10**6)
    late = NOW + timedelta(hours=5)
    assert after_outcome(outcome(Kind.RETRY, "x"), long, late, 0.5).reason is Reason.RETRIES_EXHAUSTED
    many = course(attempts=MAX_TRIES)
    assert after_outcome(outcome(Kind.RETRY, "x"), many, NOW, 0.5).state is State.DEAD


def test_a_scope_of_the_vendor_is_kept() -> None:
    gone = outcome(Kind.RECIPIENT_PERMANENT, "x", scope="news")
    assert after_outcome(gone, course(), NOW, 0.0).suppress == "news"
