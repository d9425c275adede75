"""Does an id lead to its node, and do replies add up?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.connections import Described, Reply, boot_of, connection_id, merge


@given(st.integers(0, 2**32 - 1), st.binary(min_size=8, max_size=8))
def test_an_id_names_its_node(boot: int, entropy: bytes) -> None:
    assert boot_of(connection_id(boot, entropy)) == boot


@pytest.mark.parametrize(
    "text", ["", "con_", "con_" + "0" * 23, "con_" + "0" * 25, "CON_" + "0" * 24, "con_" + "G" * 24]
)
def test_what_is_no_id_names_none(text: str) -> None:
    assert boot_of(text) is None


def _one(name: str, at: float) -> Described:
    return Described(name, "ann", "socket", at, at)


def test_replies_add_up_and_the_newest_come_first() -> None:
    replies = [Reply(5, (_one("a", 1.0), _one("c", 3.0))), Reply(2, (_one("b", 2.0), _one("d", 3.0)))]
    answers = merge(replies, 3, complete=False)
    assert answers.total == 7
    assert [one.id for one in answers.found] == ["c", "d", "b"]
    assert not answers.complete
    assert merge([], 3, complete=True).total == 0
