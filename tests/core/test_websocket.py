"""Are a client's bytes read as RFC 6455 says, however they are cut, and as another implementation reads them?"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame
from websockets.frames import Opcode as TheirOpcode
from websockets.protocol import SERVER, Protocol, State

from tests.support import cpu_seconds
from ulak.core.websocket import (
    NO_CODE,
    Encoded,
    Event,
    Opcode,
    Reader,
    close_frame,
    frame,
    may_be_said,
    unmask,
)

KEY = b"\x37\xfa\x21\x3d"
LIMIT = 4_096


def client(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """One frame as a client sends it, or as it must not."""
    size, mask = len(payload), 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if size < 126:
        head += bytes([mask | size])
    elif size < 65_536:
        head += bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + size.to_bytes(8, "big")
    return head + (KEY + unmask(payload, KEY) if masked else payload)


def read(*chunks: bytes, limit: int = LIMIT, parts: int = 64) -> list[Event]:
    reader = Reader(limit, parts)
    events = []
    for chunk in chunks:
        reader.feed(chunk)
        while (event := reader.next()) is not None:
            events.append(event)
    return events


def fault(*chunks: bytes, **limits: int) -> int:
    """The code of the fault that must end it."""
    *_, last = read(*chunks, **limits)
    assert last.fault, last
    return last.code


# ------------------------------------------------------------------------------------------------ messages


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 125, 126, 127, 128, 65_535, 65_536])
def test_messages_of_every_length_of_length(size: int) -> None:
    assert read(client(1, b"*" * size), limit=100_000) == [Event(1, "*" * size)]
    assert read(client(2, b"\xfe" * size), limit=100_000) == [Event(2, data=b"\xfe" * size)]


def test_a_message_in_parts_with_control_frames_between() -> None:
    parts = [client(1, b"one ", fin=False), client(9, b"a"), client(0, b"two ", fin=False), client(10), client(0, b"3")]
    assert read(b"".join(parts)) == [Event(9, data=b"a"), Event(10), Event(1, "one two 3")]


def test_empty_parts_count() -> None:
    flood = client(1, fin=False) + client(0, fin=False) * 400_000
    assert fault(flood) == 1009
    assert cpu_seconds(lambda: fault(flood), under=0.5) < 0.5


@pytest.mark.parametrize("limit", [0, LIMIT])
def test_a_huge_frame_fails_at_its_head(limit: int) -> None:
    head = bytes([0x82, 0xFF]) + (1 << 40).to_bytes(8, "big")
    assert fault(head, limit=limit) == 1009


def test_parts_together_are_bounded() -> None:
    assert fault(client(2, b"x" * 3_000, fin=False), client(0, b"x" * 1_097)[:6]) == 1009
    assert read(client(2, b"x" * 3_000, fin=False), client(0, b"x" * 1_096))[0].data == b"x" * 4_096


@pytest.mark.parametrize(
    ("bytes_", "why"),
    [
        (client(1, b"x", rsv=1), "RSV1"),
        (client(1, b"x", rsv=2), "RSV2"),
        (client(9, rsv=4), "RSV3 on a ping"),
        *((client(opcode), f"opcode {opcode}") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
        (client(9, fin=False), "a ping in parts"),
        (client(8, fin=False), "a close in parts"),
        (client(9, b"x" * 126), "a long ping"),
        (client(0, b"x"), "nothing to go on with"),
        (client(1, b"x", fin=False) + client(1, b"y"), "a message within a message"),
        (client(1, b"x", masked=False), "no mask"),
        (bytes([0x81, 0xFE, 0, 5]) + KEY + b"hello", "a longer length than needed"),
        (bytes([0x81, 0xFF]) + (70).to_bytes(8, "big"), "the longest length for nothing"),
        (client(8, b"\x03"), "half a code"),
        *(
            (client(8, code.to_bytes(2, "big")), f"code {code}")
            for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999)
        ),
        *((client(8, code.to_bytes(2, "big")), f"code {code}") for code in (5000, 65535)),
    ],
)
def test_what_breaks_the_protocol(bytes_: bytes, why: str) -> None:
    assert fault(bytes_) == 1002, why


def test_what_comes_in_a_later_read_is_no_message_of_its_own() -> None:
    assert fault(client(1, b"x", fin=False), client(1, b"y")) == 1002, "a message within a message"
    looks_like_one = client(1, b"hello")
    for opcode in (2, 9):
        whole = bytes([0x80 | opcode, 0x80 | len(looks_like_one)]) + KEY + looks_like_one
        assert [event.data for event in read(whole[:6], whole[6:])] == [unmask(looks_like_one, KEY)]
    assert fault(client(1, b"x" * 20), limit=19) == 1009


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1014, 3000, 3999, 4999])
def test_a_close_with_a_good_code(code: int) -> None:
    assert may_be_said(code)
    assert read(client(8, code.to_bytes(2, "big") + "bye ✓".encode())) == [Event(8, "bye ✓", code=code)]


def test_a_close_without_a_code_ends_it_too() -> None:
    assert read(client(8) + client(1, b"unheard")) == [Event(8, code=NO_CODE)]
    assert fault(client(8, b"\x03\xe8\xff")) == 1007


# ------------------------------------------------------------------------------------------------ text


@pytest.mark.parametrize(
    ("start", "poison"),
    [
        ("κόσμε".encode(), b"\xed\xa0\x80"),
        (b"", b"\xf4\x90"),
        (b"abc", b"\xc0"),
        (b"", b"\xff"),
        (b"", b"\xe0\x80"),
        (b"", b"\xf0\x80"),
        (b"x", b"\x80"),
    ],
)
def test_text_fails_at_the_first_byte_that_can_not_be(start: bytes, poison: bytes) -> None:
    """Before the frame is complete, and before the message is (half a surrogate: at its third byte)."""
    whole = client(1, start + poison + b"x" * 50)
    cut = len(whole) - 50
    assert fault(whole[:cut]) == 1007
    assert fault(client(1, start, fin=False), client(0, poison, fin=False)) == 1007
    assert fault(client(1, start + poison)) == 1007


def test_characters_may_be_cut_between_frames_but_not_at_the_end() -> None:
    text = "a𝄞é"
    octets = text.encode()
    frames = [client(1 if n == 0 else 0, octets[n : n + 1], fin=False) for n in range(len(octets))]
    assert read(*frames, client(0)) == [Event(1, text)]
    assert fault(client(1, octets[:-1])) == 1007
    assert fault(client(1, octets[:-1], fin=False), client(0)) == 1007


# ------------------------------------------------------------------------------------------------ any bytes

frames_ = st.builds(
    client,
    st.sampled_from([0, 0, 1, 1, 1, 2, 8, 9, 10, 3]),
    st.one_of(st.binary(max_size=40), st.text(max_size=20).map(str.encode), st.binary(min_size=120, max_size=140)),
    fin=st.booleans(),
    rsv=st.sampled_from([0] * 12 + [1, 2, 4]),
    masked=st.sampled_from([True] * 12 + [False]),
)
streams = st.lists(frames_, max_size=8).map(b"".join)


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(streams, st.lists(st.integers(0, 2_000), max_size=12))
def test_however_the_bytes_are_cut_they_say_the_same(data: bytes, cuts: list[int]) -> None:
    """But that a fault in a text may be seen earlier than the head that follows."""
    assert read(*pieces(data, cuts)) == read(data) == read(*pieces(data, range(len(data))))


def theirs(chunks: Sequence[bytes]) -> list[tuple[int, object]]:
    """What the sans-I/O protocol of ``websockets`` makes of it: messages, pings, pongs and how it ends."""
    protocol = Protocol(SERVER, max_size=LIMIT, state=State.OPEN)
    said: list[tuple[int, object]] = []
    parts: list[bytes] = []
    kind = 0
    for chunk in chunks:
        if protocol.parser_exc is None:
            protocol.receive_data(chunk)
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (TheirOpcode.TEXT, TheirOpcode.BINARY, TheirOpcode.CONT):
            kind = event.opcode or kind
            parts.append(bytes(event.data))
            if event.fin:
                whole, parts = b"".join(parts), []
                if kind == 1:
                    try:
                        said.append((1, whole.decode()))
                    except UnicodeDecodeError:
                        return [*said, (-1, 1007)]
                else:
                    said.append((2, whole))
        elif event.opcode is TheirOpcode.CLOSE:
            close = Close.parse(bytes(event.data))
            return [*said, (8, (close.code, close.reason))]
        else:
            said.append((int(event.opcode), bytes(event.data)))
    if protocol.parser_exc is not None:
        code = {"ProtocolError": 1002, "PayloadTooBig": 1009, "UnicodeDecodeError": 1007}
        return [*said, (-1, code[type(protocol.parser_exc).__name__])]
    return said


def ours(chunks: Sequence[bytes]) -> list[tuple[int, object]]:
    said: list[tuple[int, object]] = []
    for event in read(*chunks):
        if event.fault:
            said.append((-1, event.code))
        elif event.opcode == Opcode.CLOSE:
            said.append((8, (event.code, event.text)))
        else:
            said.append((event.opcode, event.text if event.opcode == Opcode.TEXT else event.data))
    return said


@given(streams)
def test_websockets_reads_the_same(data: bytes) -> None:
    """Up to the first fault in a text, which it leaves to whoever reads the message."""
    mine, their = ours([data]), theirs([data])
    if mine and mine[-1] == (-1, 1007):
        assert their[: len(mine) - 1] == mine[:-1]
    else:
        assert mine == their


def test_the_oracle_is_one() -> None:
    assert ProtocolError is not None
    assert theirs([client(1, b"x", masked=False)]) == [(-1, 1002)]
    assert theirs([client(1, b"a", fin=False) + client(9) + client(0, b"b")]) == [(9, b""), (1, "ab")]


# ------------------------------------------------------------------------------------------------ what we send


@given(st.sampled_from([1, 2, 9, 10]), st.one_of(st.binary(max_size=125), st.just(b"x" * 126), st.just(b"y" * 70_000)))
def test_frames_are_those_that_another_implementation_makes(opcode: int, payload: bytes) -> None:
    if opcode > 8:
        payload = payload[:125]
    assert frame(opcode, payload) == Frame(TheirOpcode(opcode), payload).serialize(mask=False)


def test_a_close_frame_fits() -> None:
    assert close_frame(NO_CODE) == b"\x88\x00"
    assert close_frame(4000, "draining") == Frame(TheirOpcode.CLOSE, Close(4000, "draining").serialize()).serialize(
        mask=False
    )
    long = close_frame(4000, "é" * 200)
    assert long[1] <= 125
    long[4:].decode()


def test_what_many_are_sent_is_made_once() -> None:
    one, two = Encoded('{"a":1}'), Encoded('{"a":1}', '{"b":2}')
    assert (one.text, two.text) == ('{"a":1}', '[{"a":1},{"b":2}]')
    assert two.frame is two.frame
    assert two.frame == frame(1, two.text.encode())
