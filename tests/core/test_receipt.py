"""Do receipts add up to the same delivery in any order, and are ids, statuses and addresses found and hidden?"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.receipt import (
    Receipt,
    ReceiptKind,
    after,
    attempt_in,
    delivery_in,
    delivery_of,
    redact,
    status_in,
)
from ulak.core.states import SETTLED, Folded, State

START = datetime(2026, 11, 1, tzinfo=UTC)
ID = UUID("0192f0c1e1a27c3f8000000000000001")
ATT = f"att_{ID.hex}_2"


def told(kinds: Sequence[ReceiptKind]) -> list[tuple[Receipt, datetime]]:
    return [(Receipt(str(n), kind), START + timedelta(minutes=n)) for n, kind in enumerate(kinds)]


def standing(state: State) -> Folded:
    return Folded(state, settled_at=START + timedelta(minutes=3) if state in SETTLED else None)


@given(
    st.sampled_from([s for s in State if s is not State.ATTEMPTING]),
    st.lists(st.sampled_from(ReceiptKind), max_size=6),
    st.randoms(use_true_random=False),
)
def test_the_order_and_number_of_receipts_do_not_matter(state: State, kinds: list[ReceiptKind], chance: Random) -> None:
    receipts = told(kinds)
    often = [each for each in receipts for _ in range(chance.randint(1, 4))]
    chance.shuffle(often)
    assert after(standing(state), often) == after(standing(state), receipts)


@pytest.mark.parametrize(
    ("state", "kinds", "end", "reason"),
    [
        (State.ACCEPTED, [ReceiptKind.DELIVERED], State.DELIVERED, None),
        (State.ACCEPTED, [ReceiptKind.DELIVERED, ReceiptKind.BOUNCED], State.BOUNCED, "bounced_later"),
        (State.UNKNOWN, [ReceiptKind.PROCESSED], State.ACCEPTED, None),
        (State.UNRESOLVED, [ReceiptKind.ACCEPTED], State.ACCEPTED, None),
        (State.RETRYING, [ReceiptKind.ACCEPTED], State.ACCEPTED, None),
        (State.UNKNOWN, [ReceiptKind.REJECTED], State.FAILED, "refused_later"),
        (State.ACCEPTED, [ReceiptKind.REJECTED], State.FAILED, "refused_later"),
        (State.ACCEPTED, [ReceiptKind.REJECTED, ReceiptKind.DELIVERED], State.DELIVERED, None),
        (State.EXPIRED, [ReceiptKind.OPENED], State.DELIVERED, None),
        (State.CANCELLED, [ReceiptKind.PROCESSED], State.CANCELLED, None),
        (
            State.ACCEPTED,
            [ReceiptKind.DEFERRED, ReceiptKind.UNSUBSCRIBED, ReceiptKind.COMPLAINED],
            State.ACCEPTED,
            None,
        ),
    ],
)
def test_what_receipts_make_of_a_delivery(
    state: State, kinds: list[ReceiptKind], end: State, reason: str | None
) -> None:
    folded = after(standing(state), told(kinds))
    assert (folded.state, folded.reason) == (end, reason)


def test_ids_are_found_where_servers_have_wrapped_them() -> None:
    assert attempt_in(f"bounce+{ATT.upper()}@example.com") == ATT
    assert attempt_in("att_123") is None
    assert delivery_in(f"<dlv_{ID.hex}@example.com>") == f"dlv_{ID.hex}"
    assert delivery_of(Receipt("e", ReceiptKind.OPENED, attempt=ATT)) == (ID, 2)
    assert delivery_of(Receipt("e", ReceiptKind.OPENED, delivery=f"dlv_{ID.hex}")) == (ID, None)
    assert delivery_of(Receipt("e", ReceiptKind.OPENED, attempt="att_x")) is None


@given(st.text(max_size=200))
def test_words_of_a_vendor_never_break_a_line_or_tell_an_address(text: str) -> None:
    told = redact(f"550 <jo@example.com> {text}")
    assert "jo@example.com" not in told
    assert told.isprintable()
    assert len(told) <= 300


@pytest.mark.parametrize(
    ("texts", "status"),
    [
        (("smtp; 550 5.1.1 no such user",), "5.1.1"),
        ((None, 7, "4.4.7"), "4.4.7"),
        (("10.5.1.1 is the host",), ""),
        (("550 nothing",), ""),
        (("5.007.01",), "5.7.1"),
    ],
)
def test_a_status_is_found(texts: tuple[object, ...], status: str) -> None:
    assert status_in(*texts) == status
