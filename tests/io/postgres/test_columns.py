"""Do rows survive being turned into arrays, thinned and numbered?"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.io.postgres.columns import Columns, coded, thinned, turned
from ulak.io.postgres.pool import Pool

_VALUES = st.one_of(st.none(), st.integers(0, 3), st.sampled_from("ab"))
_ROWS = st.lists(st.tuples(_VALUES, _VALUES, _VALUES), max_size=20)


class Thing(NamedTuple):
    a: int
    b: str | None


@given(_ROWS)
def test_each_row_finds_its_own_values_by_its_number(rows: list[tuple[object, ...]]) -> None:
    codes, arrays = coded(rows, 3)
    again = [tuple(array[code - 1] if array else None for array in arrays) for code in codes]
    assert again == rows
    assert len(set(codes)) == len(set(rows))


@given(_ROWS)
def test_columns_are_rows_turned(rows: list[tuple[object, ...]]) -> None:
    padded = [array or [None] * len(rows) for array in turned(rows, 3)]
    assert list(zip(*padded, strict=True)) == rows


def test_a_column_of_nothing_is_empty_and_one_of_something_is_whole() -> None:
    assert thinned([None, None]) == []
    assert thinned([None, 0]) == [None, 0]
    assert Columns(("a", "b")).of([Thing(1, None), Thing(2, None)]) == [[1, 2], []]
    assert turned([], 2) == [[], []]


@pytest.mark.anyio
@pytest.mark.pg
async def test_postgresql_fills_up_with_nulls_and_looks_up_by_number(database: Pool) -> None:
    rows = await database.fetch(
        "SELECT a, b, ($3::text[])[k] AS shared, ($4::text[])[k] AS nothing "
        "FROM unnest($1::int[], $2::text[], $5::int[]) AS q (a, b, k)",
        [1, 2],
        [],
        ["x", None],
        [],
        [2, 1],
    )
    assert [tuple(row.values()) for row in rows] == [(1, None, None, None), (2, None, "x", None)]
