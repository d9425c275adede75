"""Is an account doubted when devices die in numbers, and only then?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ulak.core.mortality import Limits, Mortality

WINDOW = Limits().window
SLICE = WINDOW / Limits().slices


def names(first: int, last: int) -> list[str]:
    return [f"dev_{n}" for n in range(first, last)]


def test_ten_devices_that_are_half_of_what_was_answered_begin_the_doubt() -> None:
    one = Mortality()
    assert not one.told(names(0, 9), 0, 0.0)
    assert not one.told([], 10, 0.0)
    assert one.told(names(9, 10), 0, 0.0)
    assert one.doubted(1.0)
    assert not one.told(names(10, 11), 0, 1.0), "it has begun already"


def test_deaths_among_many_living_are_a_part_of_life() -> None:
    one = Mortality()
    assert not one.told(names(0, 1_000), 1_001, 0.0)
    assert not one.doubted(0.0)


def test_a_few_devices_are_never_a_storm_however_often_they_are_tried() -> None:
    one = Mortality()
    for n in range(500):
        assert not one.told(names(0, 9), 0, n * 0.5)


def test_deaths_that_are_spread_over_a_long_time_are_no_storm() -> None:
    one = Mortality()
    for n in range(100):
        assert not one.told(names(n, n + 1), 0, n * WINDOW / 8)


def test_the_doubt_lasts_until_less_than_a_quarter_dies() -> None:
    one = Mortality()
    assert one.told(names(0, 10), 0, 0.0)
    one.told([], 30, 1.0)
    assert one.doubted(1.0)
    one.told([], 1, 1.0)
    assert not one.doubted(1.0)
    assert not one.told(names(10, 20), 0, 2.0), "that is not half"


def test_the_doubt_ends_when_nobody_died_for_a_whole_window() -> None:
    one = Mortality()
    one.told(names(0, 10), 0, 0.0)
    assert one.doubted(WINDOW - SLICE)
    assert not one.doubted(WINDOW + SLICE)


def test_one_that_goes_on_dying_keeps_the_doubt_up() -> None:
    one = Mortality()
    one.told(names(0, 10), 0, 0.0)
    for n in range(1, 100):
        one.told(names(0, 1), 0, n * SLICE)
        assert one.doubted(n * SLICE)


def test_who_died_over_and_over_is_forgotten_with_the_window() -> None:
    one = Mortality()
    for _ in range(3):
        one.told(names(0, 5), 0, 0.0)
    assert not one.told(names(5, 10), 0, WINDOW + SLICE)


def test_more_deaths_than_ids_are_held_are_still_counted() -> None:
    one = Mortality(Limits(told_apart=5))
    assert one.told(names(0, 10), 10, 0.0)
    other = Mortality(Limits(told_apart=5))
    assert not other.told(names(0, 10), 11, 0.0)
    other.doubted(WINDOW + SLICE)
    assert not other.told(names(0, 9), 0, WINDOW + SLICE), "what is over leaves nothing behind"


events = st.lists(
    st.tuples(st.floats(0, 120), st.lists(st.sampled_from(names(0, 30)), max_size=6), st.integers(0, 5)), max_size=60
)


@given(events)
def test_counts_are_those_of_the_window(steps: list[tuple[float, list[str], int]]) -> None:
    """Beside a model that keeps everything."""
    one, now, doubted = Mortality(), 0.0, False
    log: list[tuple[int, list[str], int]] = []
    for pause, died, alive in steps:
        now += pause
        log.append((int(now / SLICE), died, alive))
        recent = [entry for entry in log if entry[0] > int(now / SLICE) - Limits().slices]
        dead, living = len({each for _, gone, _ in recent for each in gone}), sum(n for _, _, n in recent)
        before = doubted
        doubted = 0 < dead >= (dead + living) / 4 if before else dead >= 10 and dead >= living
        assert one.told(died, alive, now) == (doubted and not before)
        assert one.doubted(now) == doubted
