"""Does a node's port keep RFC 6455? The cases of Autobahn's core groups (1 to 7, and 10), on the real protocol.

Autobahn wants an echo. Ours answers a ``ping`` command with the same ``id``, so that a payload goes there and back;
what is no command is a message all the same, and closed with the protocol's own code (4501). Messages are bounded at
16 kB.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import pytest

from tests.edge.gateway.raw import BINARY, CLOSE, PING, PONG, TEXT, Port, Raw, frame, port
from tests.support import eventually

pytestmark = pytest.mark.anyio

MOST = 16_384


class Case(NamedTuple):
    """What is sent (each piece apart when ``drip``), and what comes back: answers, then a close code."""

    name: str
    sent: Sequence[bytes]
    answers: Sequence[tuple[int, bytes]]
    close: int
    drip: int = 0


def command(payload: str = "*", size: int = 0) -> bytes:
    text = json.dumps({"op": "ping", "id": payload}, ensure_ascii=False, separators=(",", ":")).encode()
    return text + b" " * max(0, size - len(text))


def echo(payload: str = "*") -> tuple[int, bytes]:
    return TEXT, json.dumps({"op": "pong", "id": payload}, ensure_ascii=False, separators=(",", ":")).encode()


BYE = frame(CLOSE, b"\x03\xe8")


def said(name: str, *sent: bytes, answers: Iterable[tuple[int, bytes]] = (), drip: int = 0) -> Case:
    """Goes well, and is then closed by the client."""
    return Case(name, (*sent, BYE), tuple(answers), 1000, drip)


def refused(
    name: str, *sent: bytes, code: int = 1002, answers: Iterable[tuple[int, bytes]] = (), drip: int = 0
) -> Case:
    return Case(name, sent, tuple(answers), code, drip)


def parts(payload: bytes, size: int, opcode: int = TEXT) -> list[bytes]:
    """A message in frames of ``size`` bytes."""
    cut = [payload[start : start + size] for start in range(0, len(payload), size)]
    last = len(cut) - 1
    return [frame(0 if n else opcode, piece, fin=n == last) for n, piece in enumerate(cut)]


def framing() -> Iterator[Case]:
    yield refused("1.1.1", frame(TEXT), code=4501)
    for n, size in enumerate((125, 126, 127, 128, MOST - 1, MOST), start=2):
        yield said(f"1.1.{n}", frame(TEXT, command(size=size)), answers=[echo()])
    yield said("1.1.8", frame(TEXT, command(size=MOST)), answers=[echo()], drip=997)
    for size in (MOST + 1, 65_535, 65_536):
        yield refused(f"1.1 {size}", frame(TEXT, b"*" * size), code=4504)
    for n, size in enumerate((0, 125, 126, 127, 128, MOST), start=1):
        yield refused(f"1.2.{n}", frame(BINARY, b"\xfe" * size), code=4501)
    yield refused("1.2.8", frame(BINARY, b"\xfe" * MOST), code=4501, drip=997)
    yield refused("1.2.7", frame(BINARY, b"\xfe" * 65_536), code=4504)


def pings() -> Iterator[Case]:
    yield said("2.1", frame(PING), answers=[(PONG, b"")])
    for n, payload in enumerate((b"Hello, world!", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 125), start=2):
        yield said(f"2.{n}", frame(PING, payload), answers=[(PONG, payload)])
    yield refused("2.5", frame(PING, b"\xfe" * 126))
    yield said("2.6", frame(PING, b"\xfe" * 125), answers=[(PONG, b"\xfe" * 125)], drip=1)
    yield said("2.7", frame(PONG))
    yield said("2.8", frame(PONG, b"unsolicited"))
    yield said("2.9", frame(PONG, b"unsolicited"), frame(PING, b"x"), answers=[(PONG, b"x")])
    ten = [f"payload-{n}".encode() for n in range(10)]
    for name, drip in (("2.10", 0), ("2.11", 1)):
        yield said(name, *(frame(PING, each) for each in ten), answers=[(PONG, each) for each in ten], drip=drip)


def reserved() -> Iterator[Case]:
    good, bad = frame(TEXT, command()), [(rsv, op) for rsv in range(1, 8) for op in (TEXT, BINARY, PING, PONG, CLOSE)]
    for rsv, opcode in bad:
        broken = frame(opcode, b"\x03\xe8" if opcode == CLOSE else b"*", rsv=rsv)
        yield refused(f"3 rsv={rsv} opcode={opcode}", broken, frame(PING))
        yield refused(f"3 after a message rsv={rsv} {opcode}", good, broken, frame(PING), answers=[echo()])
        yield refused(f"3 dripping rsv={rsv} {opcode}", good, broken, answers=[echo()], drip=1)


def opcodes() -> Iterator[Case]:
    for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
        yield refused(f"4 {opcode}", frame(opcode))
        yield refused(f"4 {opcode} payload", frame(opcode, b"reserved"))
        yield refused(f"4 {opcode} later", frame(TEXT, command()), frame(opcode, b"x"), frame(PING), answers=[echo()])


def fragments() -> Iterator[Case]:
    text = command("fragment1fragment2")
    first, second = frame(TEXT, text[:20], fin=False), frame(0, text[20:])
    back = echo("fragment1fragment2")
    pong = (PONG, b"ping")
    ping = frame(PING, b"ping")
    yield refused("5.1", frame(PING, b"a", fin=False), frame(0, b"b"))
    yield refused("5.2", frame(PONG, b"a", fin=False), frame(0, b"b"))
    for name, drip in (("5.3", 0), ("5.4", 7), ("5.5", 1)):
        yield said(name, first, second, answers=[back], drip=drip)
    for name, drip in (("5.6", 0), ("5.7", 7), ("5.8", 1)):
        yield said(name, first, ping, second, answers=[pong, back], drip=drip)
    for n, fin in enumerate((True, True, True, False, False, False), start=9):
        drip = (0, 7, 1)[n % 3]
        yield refused(f"5.{n}", frame(0, b"nothing to go on with", fin=fin), frame(TEXT, text), drip=drip)
    yield refused("5.15", first, second, frame(0, b"x", fin=False), frame(TEXT, text), answers=[back])
    for n, fin in ((16, False), (17, True)):
        yield refused(f"5.{n}", *[frame(0, b"a", fin=fin), frame(TEXT, b"b", fin=False), frame(0, b"c")] * 2)
    yield refused("5.18", first, frame(TEXT, b"fragment2"))
    five = parts(command("five"), 7)
    for name, drip in (("5.19", 0), ("5.20", 1)):
        mixed = [*five[:2], ping, *five[2:3], ping, *five[3:]]
        yield said(name, *mixed, answers=[pong, pong, echo("five")], drip=drip)


VALID = [
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    "𐀀ࠀ߿",
    "\u0080\u07ff",
    "퟿\ufffd\U0010ffff",
    "\ufffe\uffff\U0001fffe\U0010fffe",
    "￯￰﷐﷯",
]
INVALID = [
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited",
    *(bytes([lead]) + b"\x80" * n for n, lead in enumerate((0xC0, 0xE0, 0xF0, 0xF8, 0xFC), start=1)),
    *(bytes([octet]) for octet in (0x80, 0xBF, 0xC0, 0xC1, 0xF5, 0xFE, 0xFF)),
    b"\x80\xbf\x80\xbf\x80\xbf",
    b"\xc0 \xc1 \xc2 ",
    b"\xe0 \xe1 \xef ",
    b"\xf0 \xf4 \xf7 ",
    b"\xc3 ",
    b"\xe2\x82 ",
    b"\xf0\x9d\x84 ",
    b"\xfe\xfe\xff\xff",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xf8\x80\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xf7\xbf\xbf\xbf",
    b"\xed\xa0\x80",
    b"\xed\xad\xbf",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xed\xaf\xbf\xed\xbf\xbf",
]
UNFINISHED = [b"\xce", b"\xe1\xbd", b"\xf0\x90\x80", "κόσμε".encode()[:-1]]


def texts() -> Iterator[Case]:
    for n, text in enumerate(VALID):
        whole = command(text)
        yield said(f"6 valid {n}", frame(TEXT, whole), answers=[echo(text)])
        yield said(f"6 valid {n} in frames", *parts(whole, 1), answers=[echo(text)])
        yield said(f"6 valid {n} dripping", frame(TEXT, whole), answers=[echo(text)], drip=1)
    for n, poison in enumerate(INVALID):
        yield refused(f"6 invalid {n}", frame(TEXT, poison), code=1007)
        yield refused(f"6 invalid {n} in frames", *parts(poison, 1), code=1007)
        # fail fast: what comes after the poison, and the message's end, never come
        yield refused(f"6 fast {n}", frame(TEXT, b"x", fin=False), frame(0, poison + b"..", fin=False), code=1007)
        yield refused(f"6 faster {n}", frame(TEXT, poison + b"." * 100)[:-50], code=1007, drip=1)
    for n, open_end in enumerate(UNFINISHED):
        yield refused(f"6 unfinished {n}", frame(TEXT, open_end), code=1007)
        yield refused(f"6 unfinished {n} in frames", *parts(open_end, 1), frame(0), code=1007)


GOOD = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
WRONG = (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def closes() -> Iterator[Case]:
    yield said("7.1.1", frame(TEXT, command()), answers=[echo()])
    yield Case("7.1.2", (BYE, BYE), (), 1000)
    yield Case("7.1.3", (BYE, frame(PING)), (), 1000)
    yield Case("7.1.4", (BYE, frame(TEXT, command())), (), 1000)
    yield Case("7.1.5", (frame(TEXT, b"fragment", fin=False), BYE, frame(0, b"x")), (), 1000)
    yield refused("7.1.6", frame(TEXT, b"*" * 262_144), BYE, frame(PING), code=4504)
    yield Case("7.3.1", (frame(CLOSE),), (), 1005)
    yield refused("7.3.2", frame(CLOSE, b"a"))
    yield Case("7.3.3", (close(1000),), (), 1000)
    yield Case("7.3.4", (close(1000, b"Hello World!"),), (), 1000)
    yield Case("7.3.5", (close(1000, b"*" * 123),), (), 1000)
    yield refused("7.3.6", close(1000, b"*" * 124))
    yield refused("7.5.1", close(1000, b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80edited"), code=1007)
    for code in GOOD:
        yield Case(f"7.7 {code}", (close(code),), (), code)
    for code in WRONG:
        yield refused(f"7.9 {code}", close(code))
        yield refused(f"7.9 {code} reason", close(code, b"why"))


def auto() -> Iterator[Case]:
    yield said("10.1.1", *parts(command(size=MOST), 1_300), answers=[echo()])
    yield said("10 most parts", *parts(command(size=64), 1), answers=[echo()])
    yield refused("10 more parts", *parts(command(size=65), 1), code=4504)


GROUPS = {
    "1": framing,
    "2": pings,
    "3": reserved,
    "4": opcodes,
    "5": fragments,
    "6": texts,
    "7": closes,
    "10": auto,
}


async def outcome(node: Port, case: Case) -> tuple[Sequence[tuple[int, bytes]], int]:
    """What comes back."""
    async with await Raw.welcomed(node, case.name) as raw:
        if case.drip:
            await raw.drip(b"".join(case.sent), case.drip)
        else:
            raw.send(*case.sent)
        answers = []
        while (one := await raw.frame())[0] != CLOSE:
            answers.append(one)
        raw.send(frame(CLOSE, one[1][:2]))
        assert await raw.ended() == b"", case.name
        return tuple(answers), int.from_bytes(one[1][:2], "big") if one[1] else 1005


@pytest.mark.parametrize("group", GROUPS)
async def test_the_cases_of_autobahn(group: str) -> None:
    async with port() as node, await Raw.welcomed(node, "bystander") as bystander:
        for case in GROUPS[group]():
            assert await outcome(node, case) == (tuple(case.answers), case.close), case.name
        bystander.say({"op": "ping", "id": 1})
        assert await bystander.heard() == {"op": "pong", "id": 1}, "one bad client never disturbs another"
        assert await eventually(lambda: node.gateway.connections == 1)


def test_there_are_as_many_cases_as_autobahn_has() -> None:
    cases = list(chain.from_iterable(group() for group in GROUPS.values()))
    assert len(cases) >= 247
    assert len({case.name for case in cases}) == len(cases)
