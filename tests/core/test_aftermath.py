"""Does each outcome lead where the design says, and never past the expiry?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
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


SHARED = msgspec.structs.replace(course(), another="b", anew="a", accounts=2)
"""Two accounts: ``b`` could go on, and after a wait it begins with ``a`` again."""


@pytest.mark.parametrize("kind", [Kind.NEXT_PROVIDER, Kind.RETRY])
def test_another_account_goes_on_at_once_where_this_one_has_definitely_not_taken_it(kind: Kind) -> None:
    following = after_outcome(outcome(kind, "x", wait=60), SHARED, NOW, 0.5)
    assert (following.state, following.account, following.moved) == (State.RETRYING, "b", True)
    assert following.retry_at == NOW


@pytest.mark.parametrize("kind", [Kind.NEXT_PROVIDER, Kind.RETRY])
def test_when_all_were_tried_it_begins_anew_after_the_wait(kind: Kind) -> None:
    following = after_outcome(outcome(kind, "x"), msgspec.structs.replace(SHARED, another=None), NOW, 0.5)
    assert (following.account, following.moved) == ("a", False)
    assert following.retry_at is not None
    assert following.retry_at > NOW


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.NEXT_PROVIDER, Kind.RETRY, Kind.THROTTLED}))
def test_nothing_else_goes_to_another_account(kind: Kind) -> None:
    following = after_outcome(outcome(kind, "x"), SHARED, NOW, 0.5)
    assert (following.account, following.moved) == (None, False)


def test_a_throttle_moves_only_what_would_not_live_to_its_end() -> None:
    short = after_outcome(outcome(Kind.THROTTLED, "x", wait=60), SHARED, NOW, 0.5)
    assert (short.account, short.moved) == (None, False)
    long = after_outcome(outcome(Kind.THROTTLED, "x", wait=7200), SHARED, NOW, 0.5)
    assert (long.account, long.moved, long.retry_at, long.counts) == ("b", True, NOW, False)


def test_an_unanswered_send_goes_elsewhere_only_where_its_type_prefers_a_duplicate() -> None:
    following = after_outcome(
        outcome(Kind.UNKNOWN, "x"), msgspec.structs.replace(SHARED, on_unknown="resend_elsewhere"), NOW, 0.5
    )
    assert (following.state, following.account, following.moved) == (State.UNKNOWN, "b", True)
    assert (following.verdict, following.retry_at) == (None, None)


def test_accounts_share_a_step_of_the_ladder() -> None:
    """Two refusals of one round are one reason to wait longer, not two."""
    alone = after_outcome(outcome(Kind.RETRY, "x"), course(attempts=1), NOW, 0.99)
    both = after_outcome(outcome(Kind.RETRY, "x"), msgspec.structs.replace(SHARED, attempts=3, another=None), NOW, 0.99)
    assert alone.retry_at == both.retry_at


def test_nothing_moves_past_its_end() -> None:
    late = after_outcome(outcome(Kind.RETRY, "x"), SHARED, SHARED.expires_at, 0.5)
    assert (late.state, late.moved) == (State.EXPIRED, False)
