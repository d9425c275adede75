"""Does what an app says add up to the same delivery in any order, at a time that can be true?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.model import Mark
from ulak.core.push_receipt import MARKS, Said, after, moment
from ulak.core.states import SETTLED, Event, Folded, State

START = datetime(2026, 11, 1, tzinfo=UTC)
_TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive


@given(
    st.sampled_from([s for s in State if s is not State.ATTEMPTING]),
    st.lists(st.sampled_from(Said), max_size=6),
    st.randoms(use_true_random=False),
)
def test_order_and_number_do_not_matter(state: State, said: list[Said], chance: Random) -> None:
    standing = Folded(state, settled_at=START if state in SETTLED else None)
    told = [(each, START + timedelta(minutes=n)) for n, each in enumerate(said)]
    often = [each for each in told for _ in range(chance.randint(1, 3))]
    chance.shuffle(often)
    assert after(standing, often) == after(standing, told)


@pytest.mark.parametrize("said", Said)
def test_whatever_an_app_says_it_was_delivered_even_after_its_time(said: Said) -> None:
    for state in (State.ACCEPTED, State.UNKNOWN, State.EXPIRED, State.DEAD, State.UNRESOLVED):
        folded = after(Folded(state, reason="no_answer"), [(said, START)])
        assert (folded.state, folded.reason, folded.times[Event.DELIVERED]) == (State.DELIVERED, None, START)
        assert Mark.DELIVERED in MARKS[said]
    assert after(Folded(State.BOUNCED), [(said, START)]).state is State.BOUNCED


def test_a_tap_is_a_click_and_a_read_and_what_was_put_away_was_seen() -> None:
    assert MARKS[Said.OPENED] == Mark.CLICKED | Mark.READ | Mark.SEEN | Mark.DELIVERED
    assert MARKS[Said.DISMISSED] == Mark.SEEN | Mark.DELIVERED
    assert MARKS[Said.SHOWN] == Mark.DELIVERED


@given(st.none() | _TIMES, _TIMES, st.timedeltas(timedelta(0), timedelta(days=400)))
def test_a_clock_that_is_wrong_makes_no_time_that_can_not_be(
    told: datetime | None, planned: datetime, age: timedelta
) -> None:
    now = planned + age
    at = moment(told, planned, now)
    assert planned <= at <= now
    if told is not None and planned <= told <= now:
        assert at == told
