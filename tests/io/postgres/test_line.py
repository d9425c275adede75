"""Does a line of ready rows share its slots fairly, and never pass a row unseen?

The model below is a ready table with transactions that commit out of order; claims follow the
statement's rules (buckets in order, rooms, total) and see what is committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ulak.core.plan import BUCKETS
from ulak.io.postgres.attempting import Line


class Table:
    """Rows of one lane and bulkhead; a transaction's number is drawn before its rows' sequence numbers."""

    def __init__(self) -> None:
        self.next_transaction = 1
        self.next_row = 1
        self.running: dict[int, list[tuple[int, int]]] = {}
        self.visible: set[tuple[int, int]] = set()

    def begin(self) -> int:
        self.running[self.next_transaction] = []
        self.next_transaction += 1
        return self.next_transaction - 1

    def insert(self, transaction: int, bucket: int) -> None:
        self.running[transaction].append((bucket, self.next_row))
        self.next_row += 1

    def commit(self, transaction: int) -> None:
        self.visible.update(self.running.pop(transaction))

    def claim(self, line: Line, free: int, now: float = 1.0) -> list[dict[str, Any]]:
        rooms = line.rooms(free, now)
        assert sorted(bucket for bucket, _ in rooms) == list(range(BUCKETS))
        assert all(room >= 1 for _, room in rooms)
        taken: list[tuple[int, int]] = []
        for bucket, room in rooms:
            found = sorted(r for r in self.visible if r[0] == bucket and r[1] > line.floors[bucket])
            taken += found[: min(room, free - len(taken))]
        self.visible.difference_update(taken)
        xmin = min(self.running, default=self.next_transaction)
        rows = [{"bucket": b, "seq": s, "xmin": xmin, "xmax": self.next_transaction} for b, s in taken]
        assert len(rows) <= free
        line.claimed(rows, rooms, free)
        return rows

    def left_below(self, line: Line) -> list[tuple[int, int]]:
        """Rows that no claim can find any more."""
        mine = self.visible | {row for rows in self.running.values() for row in rows}
        return [row for row in mine if row[1] <= line.floors[row[0]]]


actions = st.lists(
    st.one_of(
        st.just(("begin", 0)),
        st.tuples(st.sampled_from(["insert", "commit"]), st.integers(0, 7)),
        st.tuples(st.just("claim"), st.integers(1, 4)),
    ),
    max_size=80,
)


def play(table: Table, line: Line, name: str, number: int) -> None:
    running = sorted(table.running)
    if name == "begin" and len(running) < 4:
        table.begin()
    elif name == "insert" and running:
        table.insert(running[number % len(running)], 7 * (number == 7))
    elif name == "commit" and running:
        table.commit(running[number % len(running)])
    elif name == "claim":
        table.claim(line, number)


@settings(max_examples=150)
@given(actions)
def test_floors_never_pass_a_row_unseen(steps: list[tuple[str, int]]) -> None:
    table, line = Table(), Line(1, "email/mail", reset=1e9)
    line.rooms(1, 1.0)
    for name, number in steps:
        play(table, line, name, number)
        assert table.left_below(line) == []
    for transaction in list(table.running):
        table.commit(transaction)
    while table.claim(line, 7):
        pass
    assert not table.visible, "every row is claimed in the end, without a reset of the floors"


def test_a_floor_waits_for_a_transaction_that_ran_and_for_all_of_its_rows() -> None:
    table, line = Table(), Line(1, "email/mail", reset=1e9)
    table.claim(line, 1)
    slow, quick = table.begin(), table.begin()
    for _ in range(6):
        table.insert(slow, 0)
    table.insert(quick, 0)
    table.commit(quick)
    assert [row["seq"] for row in table.claim(line, 2)] == [7]
    refill(table, 0, 1)
    assert [row["seq"] for row in table.claim(line, 2)] == [8]
    assert line.floors[0] == 0, "the slow one still runs"
    table.commit(slow)
    (row,) = table.claim(line, 1)
    assert line.floors[0] == row["seq"] == 1, "five of its rows are still to come"
    assert [row["seq"] for row in table.claim(line, 9)] == [2, 3, 4, 5, 6]
    assert line.floors[0] == 8


def test_the_model_finds_a_floor_that_rises_too_early() -> None:
    """The check on the check: with floors at the highest row returned, a late commit is lost."""
    table, line = Table(), Line(1, "email/mail", reset=1e9)
    slow, quick = table.begin(), table.begin()
    table.insert(slow, 0)
    table.insert(quick, 0)
    table.commit(quick)
    (row,) = table.claim(line, 4)
    line.floors[0] = row["seq"]
    table.commit(slow)
    assert table.left_below(line) == [(0, 1)]


def test_floors_rise_so_that_dead_rows_are_not_walked_again() -> None:
    table, line = Table(), Line(1, "email/mail", reset=1e9)
    for _ in range(50):
        transaction = table.begin()
        for _ in range(10):
            table.insert(transaction, 5)
        table.commit(transaction)
        while table.claim(line, 10):
            pass
        assert not table.visible
    assert line.floors[5] >= 480


def test_floors_fall_back_in_case_another_node_let_rows_go() -> None:
    line = Line(1, "email/mail", reset=10.0)
    line.rooms(1, 100.0)
    line.floors[3] = 7
    line.rooms(1, 109.0)
    assert line.floors[3] == 7
    line.rooms(1, 110.0)
    assert line.floors == [0] * BUCKETS


def claim_until(table: Table, line: Line, frees: Sequence[int], bucket: int) -> int:
    """How many claims it takes until a row of ``bucket`` comes; the other buckets never run dry."""
    for turn in range(1, 200):
        for row in table.claim(line, frees[turn % len(frees)]):
            if row["bucket"] == bucket:
                return turn
            refill(table, row["bucket"], 1)
    pytest.fail(f"bucket {bucket} was never asked")


def refill(table: Table, bucket: int, rows: int) -> None:
    transaction = table.begin()
    for _ in range(rows):
        table.insert(transaction, bucket)
    table.commit(transaction)


@settings(max_examples=60)
@given(
    st.sets(st.integers(0, BUCKETS - 1), max_size=6),
    st.integers(0, BUCKETS - 1),
    st.lists(st.integers(1, 20), min_size=1, max_size=3),
    st.integers(0, 30),
)
def test_a_small_tenant_is_served_however_many_slots_come_free(
    huge: set[int], small: int, frees: list[int], before: int
) -> None:
    """Also with one slot at a time, as when every call frees its own: the state of a busy account."""
    table, line = Table(), Line(1, "email/mail", reset=1e9)
    for bucket in huge - {small}:
        refill(table, bucket, 200)
    for _ in range(before):
        for row in table.claim(line, frees[0]):
            refill(table, row["bucket"], 1)
    refill(table, small, 1)
    assert claim_until(table, line, frees, small) <= 2 * len(huge) + 2


def test_a_claim_of_one_slot_finds_the_only_row_at_once() -> None:
    table, line = Table(), Line(10, "email/mail")
    for bucket in range(BUCKETS):
        refill(table, bucket, 1)
        assert [row["bucket"] for row in table.claim(line, 1)] == [bucket]
        assert table.claim(line, 1) == []


def test_a_huge_tenant_alone_has_all_slots() -> None:
    table, line = Table(), Line(2, "email/mail")
    refill(table, 9, 1_000)
    table.claim(line, 100)
    assert len(table.claim(line, 100)) == 100


def test_two_huge_tenants_share() -> None:
    table, line = Table(), Line(2, "email/mail")
    for bucket in (2, 11):
        refill(table, bucket, 2_000)
    counts = {2: 0, 11: 0}
    for turn in range(60):
        for row in table.claim(line, 1 + turn % 3):
            counts[row["bucket"]] += 1
    assert abs(counts[2] - counts[11]) <= 5
