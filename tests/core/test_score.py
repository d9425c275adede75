"""Is an account judged by its last messages, by the bounds of the vendors, and never by too few?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.score import DAYS, LEAST, VOLUME, Alarm, Hour, Level, score

NOW = datetime(2026, 11, 22, 16, 30, tzinfo=UTC)
TOP = NOW.replace(minute=0)


def hours(ago: int = 1, **counts: int) -> list[Hour]:
    return [Hour(TOP - timedelta(hours=ago), kind, n) for kind, n in counts.items()]


@pytest.mark.parametrize(
    ("bounced", "complained", "bounces", "complaints"),
    [
        (49, 0, Level.OK, Level.OK),
        (50, 1, Level.WARN, Level.WARN),
        (99, 4, Level.WARN, Level.WARN),
        (100, 5, Level.PAUSE, Level.PAUSE),
    ],
)
def test_the_bounds_are_those_of_the_vendors(bounced: int, complained: int, bounces: Level, complaints: Level) -> None:
    made = score(hours(sent=1_000, bounced=bounced, complained=complained), NOW)
    assert made.levels == {Alarm.BOUNCES: bounces, Alarm.COMPLAINTS: complaints}
    assert made.pauses == (Alarm.BOUNCES if bounces is Level.PAUSE else None)


def test_complaints_alone_pause() -> None:
    assert score(hours(sent=1_000, complained=5), NOW).pauses is Alarm.COMPLAINTS


def test_too_few_say_nothing() -> None:
    assert score(hours(sent=LEAST - 1, bounced=LEAST - 1), NOW).pauses is None
    assert score(hours(sent=LEAST, bounced=LEAST), NOW).pauses is Alarm.BOUNCES


def test_an_address_refused_at_once_is_a_bounce_too_and_soft_or_listed_ones_are_none() -> None:
    made = score(hours(sent=1_000, refused=60, bounced=40, soft=500, listed=500, deferred=7), NOW)
    assert (made.sent, made.accepted, made.bounced, made.deferred) == (1_000, 940, 100, 7)


def test_only_the_last_messages_count() -> None:
    old = hours(ago=50, sent=5_000, bounced=5_000)
    assert score([*old, *hours(sent=VOLUME)], NOW).bounced == 0
    assert score([*old, *hours(sent=VOLUME - 1)], NOW).bounced == 5_000
    assert score(hours(ago=DAYS * 24 + 1, sent=5_000, bounced=5_000), NOW).sent == 0


def test_what_was_before_a_resume_counts_no_more() -> None:
    bad = hours(ago=1, sent=1_000, bounced=500)
    assert score(bad, NOW).pauses is Alarm.BOUNCES
    assert score(bad, NOW, resumed_at=NOW - timedelta(minutes=40)).sent == 0
    assert score(bad, NOW, resumed_at=NOW - timedelta(hours=3)).pauses is Alarm.BOUNCES


@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from(["sent", "bounced", "odd"]), st.integers(0, 10**5))))
def test_the_order_of_the_hours_does_not_matter(rows: list[tuple[int, str, int]]) -> None:
    made = [Hour(TOP - timedelta(hours=ago), kind, n) for ago, kind, n in rows]
    assert score(made, NOW) == score(made[::-1], NOW)
