"""Are header blocks what a decoder of other people's making reads, each by itself?"""

from __future__ import annotations

from hpack import Decoder, NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from ulak.io.outbound.http2_fields import Fields, ReadyBlocks
from ulak.providers.contract import HttpReply, HttpRequest
from ulak.providers.push import apns

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-0123456789", min_size=1, max_size=200).filter(
    lambda name: name not in ("connection", "content-length", "expect", "host", "te", "trailer", "upgrade")
)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=5_000)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6), st.sampled_from(["GET", "POST", "PUT"]), st.binary(max_size=300))
def test_a_block_reads_as_it_was_meant_whatever_came_before(
    fields: list[tuple[str, str]], method: str, body: bytes
) -> None:
    decoder, maker = Decoder(), Fields()
    decoder.max_header_list_size = 100_000
    for _ in range(2):
        block = maker.block(HttpRequest(method, "https://x/", tuple(fields), body), b"x", "/a?b")
        assert isinstance(block, bytes)
        head = [(":method", method), (":scheme", "https"), (":authority", "x"), (":path", "/a?b")]
        length = [("content-length", str(len(body)))] if body else []
        assert [(str(name), str(text)) for name, text in decoder.decode(block)] == [*head, *fields, *length]


def test_nobody_on_the_way_may_keep_the_credential() -> None:
    request = HttpRequest("POST", "https://x/", (("Authorization", "bearer x"), ("apns-topic", "t")))
    block = Fields().block(request, b"x", "/")
    assert isinstance(block, bytes)
    kinds = {str(field[0]): type(field) is NeverIndexedHeaderTuple for field in Decoder().decode(block)}
    assert kinds["authorization"]
    assert not kinds["apns-topic"]


def test_the_table_is_given_up_at_first_and_when_the_peer_changes_it() -> None:
    """RFC 9113 §4.3.1: a block after a reduction begins with the new size."""
    blocks = ReadyBlocks()
    blocks.block = b"\x82"
    assert [blocks.encode([]), blocks.encode([])] == [b"\x20\x82", b"\x82"]
    blocks.header_table_size = 100
    assert [blocks.encode([]), blocks.encode([])] == [b"\x20\x82", b"\x82"]


def test_an_answer_on_the_device_proves_the_provider_token_and_one_on_the_token_does_not() -> None:
    assert apns.proves(HttpReply(200, {}, b""))
    assert apns.proves(HttpReply(410, {}, b'{"reason":"Unregistered"}'))
    assert apns.proves(HttpReply(400, {}, b'{"reason":"BadDeviceToken"}'))
    assert not apns.proves(HttpReply(403, {}, b'{"reason":"InvalidProviderToken"}'))
    assert not apns.proves(HttpReply(400, {}, b'{"reason":"BadPath"}'))
    assert not apns.proves(HttpReply(503, {}, b"BadDeviceToken"))
