"""Is memory bounded, and does what is used stay?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ulak.core.recent import Recent


def test_what_is_asked_for_stays_while_others_come_and_go() -> None:
    recent: Recent[int, int] = Recent(10)
    recent.put(-1, 7)
    for number in range(1_000):
        recent.put(number, number)
        assert recent.get(-1) == 7
        assert len(recent) <= 11
    assert recent.get(0) is None
    recent.clear()
    assert (recent.get(-1), len(recent)) == (None, 0)


@given(st.integers(1, 9), st.lists(st.tuples(st.booleans(), st.integers(0, 12))))
def test_it_never_says_what_was_not_put_and_never_holds_more_than_it_may(
    most: int, steps: list[tuple[bool, int]]
) -> None:
    recent: Recent[int, int] = Recent(most)
    put: dict[int, int] = {}
    for at, (writes, key) in enumerate(steps):
        if writes:
            put[key] = at
            recent.put(key, at)
        else:
            assert recent.get(key) in (None, put.get(key))
        assert len(recent) <= most + 1
    if steps and steps[-1][0]:
        assert recent.get(steps[-1][1]) == len(steps) - 1
