"""Can two releases share a bus?"""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.connections import Described, Question, Reply
from ulak.core.inbox import News
from ulak.io.valkey.wire import VERSION, Answer, Ask, Beat, Message, Said, Tell, decode, encode

_MESSAGES: list[Message] = [
    Beat(1),
    Tell(1, [News(0, "ann", 7, "{}", 1, 2)], [Said(0, None, "x"), Said(1, "goals", "y")]),
    Ask(3, 9, Question(0, "ann", limit=5)),
    Answer(2, 9, Reply(1, (Described("con_1", "ann", "socket", 1.0, 2.0, topics=("a", "b"), meta="{}"),))),
]


@pytest.mark.parametrize("message", _MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize("message", _MESSAGES, ids=lambda m: type(m).__name__)
def test_fields_that_a_newer_release_adds_are_skipped(message: Message) -> None:
    plain = msgspec.msgpack.decode(encode(message)[1:])
    assert decode(VERSION + msgspec.msgpack.encode([*plain, "new", {"more": 1}])) == message


@given(st.binary(max_size=60))
def test_whatever_comes_is_a_message_or_nothing(data: bytes) -> None:
    for found in (decode(data), decode(VERSION + data)):
        assert found is None or isinstance(found, Beat | Tell | Ask | Answer)


def test_another_version_and_an_unknown_kind_are_nothing() -> None:
    assert decode(b"\x02" + encode(Beat(1))[1:]) is None
    assert decode(VERSION + msgspec.msgpack.encode([99, 1])) is None
    assert decode(b"") is None
