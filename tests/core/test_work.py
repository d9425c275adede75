"""Do recipients come back from plan work as they went in, in chunks of a bounded size?"""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ulak.core.model import User
from ulak.core.work import CHUNK, pack, unpack

word = st.text(max_size=20)
users = st.builds(User, word, st.none() | word, st.none() | word, st.none() | word, st.none() | word)


@given(st.lists(word | users, max_size=20))
def test_recipients_survive_the_way_through_the_table(recipients: list[str | User]) -> None:
    assert [user for chunk in pack(recipients) for user in unpack(chunk)] == recipients


def test_chunks_hold_no_more_than_one_transaction_plans() -> None:
    chunks = pack([f"user{i}" for i in range(2 * CHUNK + 1)])
    assert [len(unpack(chunk)) for chunk in chunks] == [CHUNK, CHUNK, 1]
    assert pack([]) == []


def test_a_stored_user_costs_no_more_than_his_id() -> None:
    assert pack(["ada"]) == ['["ada"]']
    assert json.loads(pack([User("ada", email="a@example.com")])[0]) == [{"id": "ada", "email": "a@example.com"}]
