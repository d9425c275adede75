from __future__ import annotations

from collections import Counter
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from ulak.core.failover import first, following, order
from ulak.core.model import Account, Channel

_IDS = st.uuids()
_ACCOUNTS = st.lists(
    st.builds(
        lambda name, priority, weight: Account(name, "smtp", Channel.EMAIL, priority=priority, weight=weight),
        st.sampled_from("abcdefgh"),
        st.integers(1, 3),
        st.floats(0.01, 100),
    ),
    unique_by=lambda account: account.name,
    max_size=8,
)


def _account(name: str, priority: int = 1, weight: float = 1.0) -> Account:
    return Account(name, "smtp", Channel.EMAIL, priority=priority, weight=weight)


@given(_ACCOUNTS, _IDS)
def test_an_order_names_each_account_once_by_priority_and_is_the_same_from_any_list(
    accounts: list[Account], delivery: UUID
) -> None:
    ordered = order(accounts, delivery)
    assert sorted(a.name for a in ordered) == sorted(a.name for a in accounts)
    assert [a.priority for a in ordered] == sorted(a.priority for a in accounts)
    assert order(accounts[::-1], delivery) == ordered


@given(_ACCOUNTS, _IDS, st.sets(st.sampled_from("abcdefgh")))
def test_following_the_order_tries_every_account_that_can_send_once(
    accounts: list[Account], delivery: UUID, avoid: set[str]
) -> None:
    free = [a.name for a in order(accounts, delivery) if a.name not in avoid]
    refused: list[str] = []
    account = first(accounts, delivery, avoid)
    while account is not None:
        refused.append(account.name)
        account = following(accounts, delivery, refused, avoid)
    assert refused == (free or [a.name for a in order(accounts, delivery)[:1]])


def test_weights_share_the_first_place() -> None:
    accounts = [_account("small", weight=1), _account("large", weight=3)]
    firsts = Counter(order(accounts, UUID(int=n))[0].name for n in range(4_000))
    assert 0.72 < firsts["large"] / 4_000 < 0.78


def test_a_lower_priority_waits_until_the_higher_was_tried() -> None:
    accounts = [_account("spare", priority=2, weight=100), _account("main")]
    delivery = UUID(int=7)
    assert [a.name for a in order(accounts, delivery)] == ["main", "spare"]
    assert first(accounts, delivery, avoid={"main"}) == accounts[0]
    assert following(accounts, delivery, {"main", "spare"}) is None
