"""Do the ladders keep their promises at the worst and the best jitter?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core import retry
from ulak.core.model import Class

START = datetime(2026, 11, 1, tzinfo=UTC)
WORST = 1 - 2**-53
jitters = st.floats(0, 1, exclude_max=True)
classes = st.sampled_from(Class)


def tries_within(klass: Class, seconds: float) -> int:
    at, tries = 0.0, 1
    while (at := at + retry.next_delay(klass, tries, WORST)) < seconds:
        tries += 1
    return tries


@pytest.mark.parametrize(
    ("klass", "seconds", "least"),
    [(Class.TRANSACTIONAL, 1800, 8), (Class.CRITICAL, 300, 15), (Class.CRITICAL, 1800, 90), (Class.MARKETING, 1800, 6)],
)
def test_enough_tries_even_at_the_worst_jitter(klass: Class, seconds: float, least: int) -> None:
    assert tries_within(klass, seconds) >= least


@given(classes, st.integers(0, 10**9), jitters)
def test_a_delay_is_bounded_whatever_the_count(klass: Class, tries: int, jitter: float) -> None:
    delay = retry.next_delay(klass, tries, jitter)
    assert retry.FLOOR <= delay <= retry.LADDERS[klass].cap


@given(classes, st.integers(1, 50), jitters, st.floats(-1e12, 1e12))
def test_a_vendors_wait_is_kept_and_believed_for_a_day_at_most(
    klass: Class, tries: int, jitter: float, wait: float
) -> None:
    delay = retry.next_delay(klass, tries, jitter, wait)
    assert delay >= min(wait, retry.MAX_WAIT)
    assert delay <= retry.MAX_WAIT * 1.1 + 1
    assert retry.next_delay(klass, tries, jitter, wait, throttled=True) >= retry.THROTTLE_FLOOR


@given(classes, jitters, st.floats(1, 400_000), st.floats(0, 400_000))
def test_no_call_starts_at_or_after_the_end(klass: Class, jitter: float, life: float, age: float) -> None:
    expires = START + timedelta(seconds=life)
    now = START + timedelta(seconds=age)
    end = retry.give_up_at(klass, START, expires)
    assert end <= min(expires, START + timedelta(seconds=retry.LADDERS[klass].window))
    for firm in (False, True):
        at = retry.retry_at(now, retry.next_delay(klass, 5, jitter), end, firm=firm)
        assert at is None or now < at < end


def test_a_drawn_delay_past_the_end_leaves_one_last_call_but_a_vendors_wait_does_not() -> None:
    end = START + timedelta(seconds=10)
    assert retry.retry_at(START, 60, end) == end - timedelta(seconds=retry.LAST_CALL)
    assert retry.retry_at(START, 60, end, firm=True) is None
    assert retry.retry_at(end - timedelta(seconds=1), 60, end) is None


def test_throttling_for_a_whole_day_stays_below_the_largest_attempt_number() -> None:
    assert retry.LADDERS[Class.CRITICAL].window / retry.THROTTLE_FLOOR + retry.MAX_TRIES < 32_767
