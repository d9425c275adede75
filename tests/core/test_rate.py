"""Are uses let through as the bounds say, no fewer and no more, and is what is remembered bounded?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ulak.core.rate import Rates


def test_what_is_remembered_is_bounded() -> None:
    rates = Rates(1, 10.0, most=5)
    assert [rates.take(str(n), 0.0) for n in range(20)] == [True] * 20
    assert rates.take("19", 0.0) is False
    assert len(rates._full_at) == 5


@given(st.integers(1, 20), st.floats(0.5, 60.0), st.lists(st.floats(0.0, 30.0), max_size=60))
def test_no_more_than_a_burst_and_what_time_gives_is_let_through(burst: int, pause: float, steps: list[float]) -> None:
    rates, now, taken = Rates(burst, pause), 0.0, 0
    for step in steps:
        now += step
        taken += rates.take("a", now)
    assert taken <= burst + now / pause + 1e-3
    assert taken >= min(len(steps), burst)
    assert rates.take("b", now)
