from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ulak.core.breaker import Breaker, Limits, State

_LIMITS = Limits(window=30, least=5, share=0.5, rest=5, longest=20, patience=60)


def _opened(now: float = 100.0) -> Breaker:
    breaker = Breaker(_LIMITS)
    breaker.failed(5, now)
    assert breaker.state is State.OPEN
    return breaker


def test_few_failures_say_nothing() -> None:
    breaker = Breaker(_LIMITS)
    breaker.failed(4, 100)
    assert breaker.allows(8, 100) == 8
    breaker.failed(1, 101)
    assert breaker.allows(8, 101) == 0


def test_failures_among_many_successes_do_not_open_it() -> None:
    breaker = Breaker(_LIMITS)
    breaker.succeeded(100, 100)
    breaker.failed(40, 101)
    assert breaker.usable(101)
    breaker.failed(60, 102)
    assert not breaker.usable(102)


def test_what_is_older_than_the_window_does_not_count() -> None:
    breaker = Breaker(_LIMITS)
    breaker.failed(4, 100)
    breaker.failed(4, 100 + 31)
    assert breaker.usable(132)


def test_after_the_rest_one_probe_decides() -> None:
    breaker = _opened()
    assert breaker.allows(8, 104.9) == 0
    assert breaker.allows(8, 105) == 1
    assert breaker.allows(8, 105) == 0, "no herd behind the probe"
    breaker.succeeded(1, 106)
    assert breaker.allows(8, 106) == 8


def test_each_rest_is_longer_up_to_the_longest_and_short_again_after_a_success() -> None:
    breaker, now, rests = _opened(), 100.0, []
    for _ in range(4):
        begun = now
        while breaker.allows(1, now) == 0:
            now += 0.5
        rests.append(now - begun)
        breaker.failed(1, now)
    assert rests == [5, 10, 20, 20]
    now += 20
    assert breaker.allows(1, now) == 1
    breaker.succeeded(1, now)
    breaker.failed(5, now + 1)
    assert breaker.allows(1, now + 6) == 1


def test_a_probe_that_was_not_made_or_never_answered_frees_its_place() -> None:
    breaker = _opened()
    assert breaker.allows(1, 105) == 1
    breaker.unused()
    assert breaker.allows(1, 105) == 1
    assert breaker.allows(1, 164) == 0
    assert breaker.allows(1, 165) == 1


def test_a_result_of_before_the_opening_changes_nothing() -> None:
    breaker = _opened()
    breaker.succeeded(50, 101)
    assert breaker.allows(8, 104) == 0


def test_a_pause_is_kept_and_no_failure() -> None:
    breaker = Breaker(_LIMITS)
    breaker.pause(60, 100)
    breaker.pause(10, 101)
    assert breaker.allows(8, 159) == 0
    assert not breaker.usable(159)
    assert breaker.allows(8, 160) == 8


@given(st.lists(st.tuples(st.sampled_from(["ask", "good", "bad", "pause", "unused"]), st.floats(0, 40)), max_size=60))
def test_it_never_stays_shut_for_ever_nor_lets_a_herd_through_while_probing(steps: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(_LIMITS), 0.0
    for what, passed in steps:
        now += passed
        if what == "ask":
            closed = breaker.state is State.CLOSED
            assert breaker.allows(9, now) in ((0, 9) if closed else (0, 1))
        elif what == "good":
            breaker.succeeded(1, now)
        elif what == "bad":
            breaker.failed(3, now)
        elif what == "pause":
            breaker.pause(passed, now)
        else:
            breaker.unused()
    assert breaker.allows(1, now + _LIMITS.patience + _LIMITS.longest) == 1


def test_only_the_probe_decides_not_a_call_that_began_before_it() -> None:
    breaker = _opened()
    assert breaker.allows(1, 106) == 1
    breaker.succeeded(1, 107, began=99)
    breaker.failed(1, 107, began=99)
    assert breaker.state is State.PROBING
    breaker.succeeded(1, 108, began=106)
    assert breaker.usable(108)


def test_work_is_wanted_for_a_probe_when_the_rest_is_over_and_not_while_one_is_under_way() -> None:
    breaker = _opened()
    assert (breaker.wants_probe(104), breaker.away(104), breaker.rests(104)) == (False, True, 1)
    assert (breaker.wants_probe(105), breaker.away(105), breaker.rests(105)) == (True, False, 0)
    assert breaker.allows(1, 105) == 1
    assert (breaker.wants_probe(106), breaker.away(106)) == (False, True)
    breaker.undecided(106)
    assert breaker.wants_probe(106)


def test_work_waits_out_a_short_pause_and_leaves_for_a_long_one() -> None:
    breaker = Breaker(_LIMITS)
    breaker.pause(8, 100)
    assert not breaker.away(100)
    breaker.pause(60, 100)
    assert breaker.away(100)
    assert not breaker.away(151)


def test_no_pause_is_endless() -> None:
    breaker = Breaker(_LIMITS)
    breaker.pause(10**9, 100)
    assert breaker.allows(1, 100 + 3600) == 1


def test_what_may_go_by_no_other_account_is_a_probe_soon_and_alone() -> None:
    breaker = _opened()
    breaker.hurry()
    assert breaker.allows(8, 100.1) == 0
    assert breaker.allows(8, 100.2) == 1
    assert breaker.allows(8, 100.2) == 0
    breaker.failed(1, 101)
    assert breaker.allows(8, 105) == 0, "without the hurry it rests as before, and longer"
    breaker.hurry()
    assert breaker.allows(8, 105) == 1
