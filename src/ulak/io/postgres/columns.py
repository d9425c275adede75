"""How do rows become the arrays that ``unnest`` takes, at the least cost?

The driver spends a fixed time on each element of an array, NULLs included, while ``unnest`` of several arrays fills
the shorter ones up with NULLs. So a column without a value in any row is sent as an empty array, and what many rows
share (state, class, lane …) is sent once: each row names its kind by number, and the statement looks the rest up by
``(array)[kind]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any


class Columns:
    """Turns objects into one array for each of the named attributes."""

    def __init__(self, names: Iterable[str]) -> None:
        self._getters = [attrgetter(name) for name in names]

    def of(self, rows: Sequence[object]) -> list[list[Any]]:
        """One array for each name, in order; empty where no row has a value."""
        return [thinned(list(map(get, rows))) for get in self._getters]


def coded(kinds: Sequence[tuple[Any, ...]], width: int) -> tuple[list[int], list[list[Any]]]:
    """Number the distinct tuples from 1: the number of each row, and one array for each of their ``width`` values."""
    numbers: dict[tuple[Any, ...], int] = {}
    codes = [numbers.setdefault(kind, len(numbers) + 1) for kind in kinds]
    return codes, turned(list(numbers), width)


def thinned(column: list[Any]) -> list[Any]:
    """The column itself, or an empty one when it holds nothing but NULLs."""
    return [] if column.count(None) == len(column) else column


def turned(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """The same for rows that are tuples of so many values."""
    return [thinned(list(column)) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
