"""Does the most specific choice win, and is a critical type only silenced by its own name?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.model import Class
from ulak.core.preferences import Row, allowed

names = st.sampled_from(["orders", "news", "*"])
channels = st.sampled_from(["email", "sms", "*"])
rows = st.dictionaries(st.tuples(names, channels), st.booleans()).map(lambda d: [(*key, yes) for key, yes in d.items()])


@pytest.mark.parametrize(
    ("choices", "klass", "expected"),
    [
        ([], Class.MARKETING, (True, None)),
        ([("*", "*", False)], Class.MARKETING, (False, ("*", "*", False))),
        ([("*", "*", False)], Class.CRITICAL, (True, None)),
        ([("*", "email", False)], Class.CRITICAL, (True, None)),
        ([("orders", "*", False)], Class.CRITICAL, (False, ("orders", "*", False))),
        ([("*", "email", True), ("orders", "*", False)], Class.MARKETING, (False, ("orders", "*", False))),
        ([("orders", "*", False), ("orders", "email", True)], Class.MARKETING, (True, ("orders", "email", True))),
        ([("*", "*", False), ("*", "email", True)], Class.TRANSACTIONAL, (True, ("*", "email", True))),
        ([("news", "email", False), ("orders", "sms", False)], Class.MARKETING, (True, None)),
    ],
)
def test_who_decides(choices: list[Row], klass: Class, expected: tuple[bool, Row | None]) -> None:
    assert allowed(choices, "orders", "email", klass) == expected


@given(rows, st.sampled_from(Class))
def test_the_order_of_rows_does_not_matter(choices: list[Row], klass: Class) -> None:
    assert allowed(choices, "orders", "email", klass) == allowed(choices[::-1], "orders", "email", klass)
