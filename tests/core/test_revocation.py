"""Does a revocation end what it should, and nothing that came after it?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ulak.core.revocation import Revocation, Revoked, ends
from ulak.core.token import Claims

NOW = 1_790_000_000.75
ALL = Revocation(10, 7, "ann", None, NOW, NOW + 90_000)
ONE = Revocation(11, 7, "ann", "tok_1", NOW, NOW + 90_000)
OWN = Claims(7, "ann", NOW + 60, float(int(NOW)), "tok_1", (), 9)
FOREIGN = Claims(7, "ann", NOW + 60, float(int(NOW)), "tok_1")


def test_every_token_made_before_is_ended_and_none_made_after() -> None:
    """All of them within one second, and whatever the clock of the node that made them said."""
    assert ends(ALL, OWN)
    assert ends(ALL, replace(OWN, issued_at=NOW + 30))
    assert not ends(ALL, replace(OWN, position=10))
    assert not ends(ALL, replace(OWN, position=11, issued_at=NOW - 30))


def test_another_issuers_token_of_the_same_second_is_ended() -> None:
    assert ends(ALL, FOREIGN)
    assert ends(ALL, replace(FOREIGN, issued_at=NOW))
    assert not ends(ALL, replace(FOREIGN, issued_at=NOW + 0.25))


def test_a_log_that_was_put_back_in_time_still_ends_old_tokens() -> None:
    """After a restore the numbers begin again below those that tokens carry."""
    ahead = replace(OWN, position=5_000)
    assert not ends(ALL, ahead)
    assert ends(ALL, replace(ahead, issued_at=NOW - 61))


def test_one_token_is_ended_by_its_id() -> None:
    assert ends(ONE, OWN)
    assert ends(ONE, replace(OWN, position=99))
    assert not ends(ONE, replace(OWN, token_id="tok_2"))
    assert not ends(ONE, replace(OWN, token_id=None))


def test_only_this_user_of_this_tenant_is_concerned() -> None:
    for entry in (ALL, ONE):
        assert not ends(entry, replace(OWN, tenant=8))
        assert not ends(entry, replace(OWN, user="bob"))


def test_what_can_matter_no_longer_is_forgotten() -> None:
    revoked = Revoked()
    revoked.add([ALL, replace(ONE, expires_at=NOW + 10)])
    assert len(revoked) == 2
    revoked.forget(NOW + 10)
    assert len(revoked) == 1
    revoked.forget(NOW + 90_000)
    assert not revoked.covers(OWN)


def test_the_later_entry_counts_and_a_clock_put_back_ends_nothing_less() -> None:
    revoked = Revoked()
    revoked.add([ALL, Revocation(12, 7, "ann", None, NOW - 500, NOW)])
    assert revoked.covers(FOREIGN)
    assert revoked.covers(replace(OWN, position=11))


_ENTRY = st.builds(
    Revocation,
    st.integers(1, 20),
    st.integers(0, 1),
    st.sampled_from("ab"),
    st.sampled_from([None, "x", "y"]),
    st.floats(0, 100),
    st.just(1e6),
)
_CLAIMS = st.builds(
    Claims,
    st.integers(0, 1),
    st.sampled_from("ab"),
    st.just(2e5),
    st.floats(0, 100),
    st.sampled_from([None, "x", "y"]),
    st.just(()),
    st.integers(-1, 20),
)


@given(st.lists(_ENTRY, max_size=6), _CLAIMS)
def test_the_index_says_what_the_entries_say(entries: list[Revocation], claims: Claims) -> None:
    log = sorted(entries, key=lambda entry: (entry.id, entry.not_before))
    revoked = Revoked()
    revoked.add(log)
    assert revoked.covers(claims) == any(ends(entry, claims) for entry in log)
