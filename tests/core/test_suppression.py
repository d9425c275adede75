"""What puts an address on the list, how far does it reach, and does the order of events not matter?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.model import Class
from ulak.core.reasons import Reason
from ulak.core.receipt import Permanence, Receipt, ReceiptKind
from ulak.core.suppression import (
    ALL,
    NOT_CRITICAL,
    Entry,
    SoftPolicy,
    entry,
    forbidding,
    is_soft,
    of_class,
    scopes,
    soft_until,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def bounce(permanence: Permanence | None, status: str = "", **more: object) -> Receipt:
    return Receipt("e1", ReceiptKind.BOUNCED, permanence, status=status, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scope", "forbidden"),
    [
        (ALL, {"critical", "transactional", "marketing"}),
        (NOT_CRITICAL, {"transactional", "marketing"}),
        (of_class(Class.MARKETING), {"marketing"}),
        (of_class(Class.CRITICAL), {"critical"}),
        ("orders", {"critical", "transactional", "marketing"}),
        ("offers", set()),
    ],
)
def test_how_far_a_scope_reaches(scope: str, forbidden: set[str]) -> None:
    assert {k.value for k in Class if forbidding([(scope, "manual")], "orders", k)} == forbidden


def test_the_widest_scope_speaks() -> None:
    rows = [("orders", "unsubscribed"), (NOT_CRITICAL, "complained"), (ALL, "bounced")]
    assert forbidding(rows, "orders", Class.MARKETING) == (ALL, "bounced")
    assert forbidding(rows[:2], "orders", Class.MARKETING) == (NOT_CRITICAL, "complained")
    assert scopes("orders", Class.CRITICAL) == ("all", "class:critical", "orders")


@pytest.mark.parametrize(
    ("receipt", "expected"),
    [
        (bounce(Permanence.PERMANENT), Entry(ALL, Reason.BOUNCED)),
        (bounce(Permanence.PERMANENT, "5.1.1"), Entry(ALL, Reason.BOUNCED)),
        (bounce(Permanence.PERMANENT, "5.1.1", listed=True), Entry(ALL, Reason.BOUNCED)),
        (bounce(Permanence.PERMANENT, "5.7.1"), None),
        (bounce(Permanence.PERMANENT, "5.2.2"), None),
        (bounce(Permanence.PERMANENT, "4.4.7"), None),
        (bounce(Permanence.TRANSIENT), None),
        (bounce(Permanence.UNKNOWN), None),
        (bounce(None), None),
        (Receipt("e", ReceiptKind.REJECTED), None),
        (Receipt("e", ReceiptKind.REJECTED, Permanence.PERMANENT, listed=True), Entry(ALL, Reason.BOUNCED)),
        (Receipt("e", ReceiptKind.COMPLAINED), Entry(NOT_CRITICAL, Reason.COMPLAINED)),
        (Receipt("e", ReceiptKind.UNSUBSCRIBED), Entry("class:marketing", Reason.UNSUBSCRIBED)),
        (
            Receipt("e", ReceiptKind.UNSUBSCRIBED, reason="sendgrid_group_unsubscribe"),
            Entry("offers", Reason.UNSUBSCRIBED),
        ),
        (Receipt("e", ReceiptKind.RESUBSCRIBED), None),
        (Receipt("e", ReceiptKind.DEFERRED, Permanence.PERMANENT), None),
    ],
)
def test_what_an_event_causes(receipt: Receipt, expected: Entry | None) -> None:
    assert entry(receipt, "offers") == expected


@given(
    st.sampled_from(ReceiptKind),
    st.sampled_from(Permanence),
    st.sampled_from(["4.{}.{}", "5.7.{1}", "5.6.{1}"]),
    st.tuples(st.integers(0, 99), st.integers(0, 99)),
)
def test_no_trouble_of_ours_or_of_the_moment_ever_suppresses(
    kind: ReceiptKind, permanence: Permanence, form: str, numbers: tuple[int, int]
) -> None:
    receipt = Receipt("e", kind, permanence, status=form.format(*numbers))
    if kind in (ReceiptKind.BOUNCED, ReceiptKind.REJECTED, ReceiptKind.DEFERRED):
        assert entry(receipt, "orders") is None
        assert not is_soft(receipt)


def test_soft_bounces_count_and_those_of_a_vendors_list_do_not() -> None:
    assert is_soft(bounce(Permanence.TRANSIENT))
    assert is_soft(bounce(Permanence.UNKNOWN, "5.2.2"))
    assert not is_soft(bounce(Permanence.TRANSIENT, listed=True))
    assert not is_soft(bounce(Permanence.PERMANENT))
    assert not is_soft(Receipt("e", ReceiptKind.DEFERRED, Permanence.TRANSIENT))


@pytest.mark.parametrize(
    ("days", "delivered", "until"),
    [
        ([0, 1, 2, 3], None, None),
        ([0, 1, 2, 3, 4], None, 34),
        ([0, 1, 2, 3, 14], None, 44),
        ([0, 1, 2, 3, 15], None, None),
        ([0, 1, 2, 3, 4], 2, None),
        ([0, 1, 2, 3, 4], 5, None),
        ([1, 2, 3, 4, 5], 0, 35),
        ([0, 1, 2, 3, 4, 90], None, 34),
    ],
)
def test_a_streak_of_soft_bounces(days: Sequence[int], delivered: int | None, until: int | None) -> None:
    at = None if delivered is None else START + delivered * DAY
    found = soft_until([START + day * DAY for day in days], at)
    assert found == (None if until is None else START + until * DAY)


@given(st.lists(st.integers(0, 40), max_size=5), st.none() | st.integers(0, 40))
def test_the_order_of_soft_bounces_does_not_matter(days: list[int], delivered: int | None) -> None:
    times = [START + day * DAY for day in days]
    at = None if delivered is None else START + delivered * DAY
    policy = SoftPolicy(count=3)
    assert len({soft_until(order, at, policy) for order in permutations(times)}) == 1
