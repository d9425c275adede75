"""Does a socket stay cheap and honest whatever its client does: floods, dawdles, vanishes, never reads?"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from importlib.metadata import version
from typing import Any

import pytest
import uvicorn.protocols.http.httptools_impl as theirs
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.edge.gateway.raw import CLOSE, PING, PONG, TEXT, Port, Raw, frame, head, port, trusting
from tests.support import eventually
from ulak.core.connections import boot_of
from ulak.core.handshake import Networks, client_address
from ulak.core.inbox import News
from ulak.core.revocation import Revocation
from ulak.core.session_commands import CLOSE_CODES, Limits
from ulak.core.token import Claims, TokenError
from ulak.edge.gateway import Rights, Room
from ulak.edge.gateway.admission import Admission
from ulak.edge.gateway.connection import Connection
from ulak.edge.gateway.socket import HIGH, Socket
from ulak.edge.gateway.sweep import Wheel

pytestmark = pytest.mark.anyio


async def test_these_tests_run_on_the_loop_of_nodes() -> None:
    """And on none that an earlier test has left behind."""
    assert type(asyncio.get_running_loop()).__module__ == "uvloop"


# ------------------------------------------------------------------------------------- the seam to the HTTP server


async def test_uvicorn_hands_a_connection_over_as_we_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    """``connection_made``, the whole head by ``data_received``, ``set_protocol``: then bytes come to us."""
    assert version("uvicorn").startswith("0.54."), "read handle_websocket_upgrade again, then raise the pin"
    assert HttpToolsProtocol.handle_websocket_upgrade.__module__ == theirs.__name__
    calls: list[tuple[str, Any]] = []

    class Spy(Connection):
        __slots__ = ()

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            calls.append(("made", None))
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            calls.append(("data", data))
            super().data_received(data)

    async with port() as node:
        monkeypatch.setattr("ulak.edge.gateway.door.Connection", Spy)
        async with await Raw.connect(node) as raw:
            raw.send(head(Sec_WebSocket_Protocol="x, ulak.v1", X_Two="a"))
            answer = await raw.reader.readuntil(b"\r\n\r\n")
            lines = answer.split(b"\r\n")
            assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
            assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in lines, "the example of RFC 6455, 1.3"
            assert b"sec-websocket-protocol: ulak.v1" in lines
            assert not any(b"extensions" in line for line in lines)
            raw.say({"op": "hello", "token": "ann"})
            assert (await raw.heard())[0]["op"] == "welcome"
        assert [name for name, _ in calls] == ["made", "data", "data"]
        request = calls[1][1]
        assert request.startswith(b"GET /v1/socket HTTP/1.1\r\nhost: x\r\n")
        assert request.endswith(b"\r\n\r\n")
        assert b"\r\nx-two: a\r\n" in request


# ------------------------------------------------------------------------------------- the handshake


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (head().replace(b"/v1/socket", b"/v1/other"), 404, "not_found"),
        (head().replace(b"GET", b"POST"), 400, "bad_handshake"),
        (head(Sec_WebSocket_Version="8"), 426, "bad_version"),
        (head(Sec_WebSocket_Version=None), 426, "bad_version"),
        (head(Sec_WebSocket_Key=None), 400, "bad_handshake"),
        (head(Sec_WebSocket_Key="short"), 400, "bad_handshake"),
        (head(Sec_WebSocket_Key="é" * 8), 400, "bad_handshake"),
        (head(Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAAA="), 400, "bad_handshake"),
        (head(Sec_WebSocket_Key=f"{'A' * 22}==\r\nSec-WebSocket-Key: {'A' * 22}=="), 400, "bad_handshake"),
        (head(Sec_WebSocket_Protocol=None), 400, "subprotocol_missing"),
        (head(Sec_WebSocket_Protocol="ulak.v2, ulak.v10"), 400, "subprotocol_missing"),
        *((head(Origin=origin), 403, "origin_refused") for origin in ("null", "", "https://good.example.evil.example")),
        *((head(Origin=origin), 403, "origin_refused") for origin in ("http://good.example", "https://xgood.example")),
        *((head(Origin=origin), 403, "origin_refused") for origin in ("https://good.example:444", "good.example")),
        (head(Origin="https://good.example\r\nOrigin: https://evil.example"), 403, "origin_refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_handshake_that_is_refused_gets_a_problem(request_: bytes, status: int, code: str) -> None:
    async with port(origins=frozenset({"https://good.example"})) as node, await Raw.connect(node) as raw:
        raw.send(request_)
        top, _, body = (await raw.ended()).partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 %d " % status)
        assert b"content-type: application/problem+json" in top
        assert json.loads(body)["code"] == code
        assert (b"sec-websocket-version: 13" in top) == (status == 426)
        assert node.gateway.connections == 0


@pytest.mark.parametrize("origin", [None, "https://good.example"])
async def test_an_origin_that_is_listed_or_a_client_that_is_no_browser_may_come(origin: str | None) -> None:
    async with port(origins=frozenset({"https://good.example"})) as node, await Raw.connect(node) as raw:
        raw.send(head(Origin=origin))
        assert (await raw.reader.readline()).startswith(b"HTTP/1.1 101 ")


async def test_a_node_without_the_role_has_no_socket() -> None:
    async with port(serves=False) as node, await Raw.connect(node) as raw:
        raw.send(head())
        assert (await raw.ended()).startswith(b"HTTP/1.1 404 ")


async def test_a_handshake_that_is_half_sent_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ulak.edge.guard.HEAD_SECONDS", 0.2)
    async with port() as node, await Raw.connect(node) as raw:
        raw.send(head()[:-20])
        assert await raw.ended() == b""


# ------------------------------------------------------------------------------------- room


async def test_room_is_asked_for_before_the_handshake_and_given_back() -> None:
    async with port(room=Room(sockets=2)) as node:
        async with await Raw.shaken(node), await Raw.shaken(node), await Raw.connect(node) as third:
            third.send(head())
            answer = await third.ended()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: " in answer
            assert node.gateway.counters.refused == 1
        await eventually(lambda: node.gateway.connections == 0)
        async with await Raw.shaken(node):
            pass


def test_new_sockets_are_limited_by_rate_and_by_address() -> None:
    now = [0.0]
    room = Room(sockets=0, per_second=10.0, address_sockets=3, address_per_second=1.0, burst=2.0)
    admission = Admission(room, lambda: now[0], lambda: 0.0)
    assert [admission.enter("a") is None for _ in range(3)] == [True, True, False], "of one address: a burst of 2"
    now[0] = 2.0
    assert admission.enter("a") is None
    refusal = admission.enter("a")
    assert refusal is not None
    assert refusal.status == 503
    assert refusal.detail == "your address holds as many sockets as one may"
    admission.leave("a")
    assert admission.enter("a") is None
    assert sum(admission.enter(f"b{n}") is None for n in range(50)) == 18, "of the node: a burst of 20"
    now[0] = 3.0
    assert sum(admission.enter(f"c{n}") is None for n in range(50)) == 10
    for address in [*(f"c{n}" for n in range(10)), *(f"b{n}" for n in range(18)), "a", "a", "a"]:
        admission.leave(address)
    assert admission._addresses == {}
    assert admission._open == 0


def test_the_address_is_the_one_that_our_own_proxies_saw() -> None:
    ours = Networks("10.0.0.0/8, ::1")
    assert client_address("10.0.0.1", ("6.6.6.6", "203.0.113.9", "10.1.1.1"), ours) == "203.0.113.9"
    assert client_address("192.0.2.1", ("6.6.6.6",), ours) == "192.0.2.1", "who is no proxy is not asked"
    assert client_address("::1", (), ours) == "::1"
    assert client_address("10.0.0.1", ("nonsense",), ours) == "nonsense"
    assert client_address("10.0.0.1", ("n" * 60_000,), ours) == "n" * 64
    assert client_address("10.0.0.1", ("6.6.6.6",), Networks()) == "10.0.0.1"
    with pytest.raises(ValueError, match="abc"):
        Networks("abc")


async def test_a_user_may_not_have_too_many() -> None:
    async with port(per_user=2) as node, await Raw.welcomed(node), await Raw.welcomed(node):
        async with await Raw.shaken(node) as third:
            third.say({"op": "hello", "token": "ann"})
            assert (await third.closed())[0] == CLOSE_CODES["too_many"].code
        async with await Raw.welcomed(node, "bob"):
            assert len(node.hub) == 3


# ------------------------------------------------------------------------------------- floods


async def test_a_flood_of_pings_is_answered_for_a_while_then_ended() -> None:
    async with port() as node, await Raw.welcomed(node, "bystander") as bystander, await Raw.welcomed(node) as raw:
        raw.send(frame(PING, bytes(125)) * 5_000)
        pongs = 0
        while (one := await raw.frame())[0] == PONG:
            pongs += 1
        assert int.from_bytes(one[1][:2], "big") == CLOSE_CODES["too_fast"].code
        assert 300 < pongs < 1_000
        bystander.say({"op": "ping", "id": 1})
        assert await bystander.heard() == {"op": "pong", "id": 1}


async def test_pings_whose_answers_nobody_reads_fill_no_memory() -> None:
    """112 MB of them cost another library 105 MB. The rate is left unbounded here: the buffer has to hold by itself."""
    async with port(Limits(burst=10**9)) as node, await Raw.welcomed(node) as raw:
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a stream's transport
        (member,) = node.hub.members()
        assert isinstance(member, Connection)
        pings, most, sent = frame(PING, bytes(125)) * 800, 0, 0
        raw.writer.transport.set_write_buffer_limits(high=0)
        while not member.session.held and sent < 2_000:
            raw.send(pings)
            sent += 1
            await asyncio.sleep(0)
            most = max(most, member.transport.get_write_buffer_size())
        assert member.session.held, "it was not held back"
        for _ in range(100):
            raw.send(pings)
            await asyncio.sleep(0)
            most = max(most, member.transport.get_write_buffer_size())
        assert most <= 2 * HIGH + 1_000
        assert member._reader is not None
        assert member._reader.waiting <= 2 * 262_144, "and no more is read"


async def test_tiny_frames_and_endless_empty_parts_end() -> None:
    async with port() as node:
        async with await Raw.welcomed(node) as raw:
            raw.send(frame(TEXT, b"{", fin=False) + frame(0, fin=False) * 400_000)
            assert (await raw.closed())[0] == CLOSE_CODES["too_big"].code
        async with await Raw.welcomed(node) as raw:
            begun = time.process_time()
            raw.send(bytes([0x82, 0xFF]) + (1 << 40).to_bytes(8, "big"))
            assert (await raw.closed())[0] == CLOSE_CODES["too_big"].code
            assert time.process_time() - begun < 1.0


async def test_commands_wait_for_one_another_and_are_not_read_meanwhile() -> None:
    async with port() as node, await Raw.welcomed(node) as raw:
        node.store.go.clear()
        mark = {"op": "seen", "ids": ["dlv_" + "0" * 31 + "1"]}
        raw.say({**mark, "id": 1}, {"op": "ping", "id": 2})
        raw.say({"op": "ping", "id": 3})
        raw.say({**mark, "op": "read", "id": 4})
        raw.say({"op": "ping", "id": 5})
        (member,) = node.hub.members()
        assert isinstance(member, Connection)
        await eventually(lambda: member.busy)
        for _ in range(50):
            raw.send(frame(TEXT, b" " * 16_000 + b"{}"))
        for ahead in (40.0, 50.0):
            node.clock.ahead = ahead
            node.hub.sweep()
        assert not member.session.closed, "a pong that we do not read is not missed"
        assert node.store.changes == []
        node.store.go.set()
        assert [(await raw.heard())["id"] for _ in range(5)] == [1, 2, 3, 4, 5]
        assert node.store.changes == ["seen", "read"]


async def test_a_client_that_goes_while_its_mark_is_written_has_still_marked() -> None:
    async with port() as node:
        async with await Raw.welcomed(node) as raw:
            node.store.go.clear()
            raw.say({"op": "seen", "ids": ["dlv_" + "0" * 31 + "1"]})
            (member,) = node.hub.members()
            assert isinstance(member, Connection)
            await eventually(lambda: member.busy)
        await asyncio.sleep(0)
        node.store.go.set()
        await eventually(lambda: node.store.changes == ["seen"])
        await eventually(lambda: node.gateway.connections == 0)
        assert len(node.hub) == 0


async def test_a_fault_of_ours_ends_one_socket_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with port() as node, await Raw.welcomed(node, "bob") as bob, await Raw.welcomed(node) as raw:
        (member,) = node.hub.members_of((0, "ann"))

        def breaks(*_: object) -> None:
            raise RuntimeError("secret words of a client")

        monkeypatch.setattr(Connection, "received", breaks)
        raw.say({"op": "ping"})
        assert await raw.closed() == (4003, "internal")
        monkeypatch.undo()
        bob.say({"op": "ping", "id": 1})
        assert await bob.heard() == {"op": "pong", "id": 1}
        assert member.session.closed


@pytest.mark.parametrize("then", ["told", "closed", "pinged", "drained"])
async def test_a_connection_that_is_lost_and_not_yet_told_so_disturbs_no_other(then: str) -> None:
    async with port() as node, await Raw.welcomed(node, "bob") as bob, await Raw.welcomed(node):
        (member,) = node.hub.members_of((0, "ann"))
        assert isinstance(member, Connection)
        member.transport.abort()
        await asyncio.sleep(0)  # the handle is closed; ``connection_lost`` may or may not have come
        if then == "told":
            node.hub.hint([News(0, "ann", 1, "{}", 1, 1, "1-a")])
        elif then == "closed":
            member.close("disconnected")
        elif then == "pinged":
            member.tick(1e9, 0.0)
        else:
            member.act(member.session.drain(1.0))
        node.hub.broadcast(0, '{"op":"notice"}')
        assert await bob.heard() == {"op": "notice"}
        await eventually(lambda: node.gateway.connections == 1)
        assert len(node.hub) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"])
async def test_a_fault_in_what_a_client_that_has_vanished_had_sent_is_no_fault_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def verify(text: str) -> Claims:
        asked.set()
        await go.wait()
        return await trusting(text)

    async with port(rights=Rights(verify)) as node:
        raw = await Raw.shaken(node)
        raw.send(frame(TEXT, b'{"op":"hello","token":"ann"}') + frame(TEXT, b"x", rsv=7))
        await asked.wait()
        raw.writer.transport.abort()  # nobody sees it who does not read; what is sent now is answered by a reset
        await raw.ended()
        go.set()
        await eventually(lambda: node.gateway.connections == 0)
        assert caplog.records == []


# ------------------------------------------------------------------------------------- reading slowly


async def stuffed(node: Port, raw: Raw) -> Connection:
    """Fill all buffers on the way to a client that does not read; its connection."""
    raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
    (member,) = node.hub.members()
    assert isinstance(member, Connection)
    text = json.dumps({"op": "notice", "data": "x" * 30_000, "at": 1})
    for _ in range(2_000):
        if member.session.held:
            break
        node.hub.broadcast(0, text)
        await asyncio.sleep(0)
    assert member.session.held
    return member


async def test_messages_to_a_slow_reader_are_dropped_and_counted_and_bounded() -> None:
    async with port() as node, await Raw.welcomed(node) as raw:
        member = await stuffed(node, raw)
        for _ in range(100):
            node.hub.broadcast(0, json.dumps({"op": "notice", "data": "y" * 30_000}))
        assert node.gateway.counters.dropped >= 100
        assert member.transport.get_write_buffer_size() <= 4 * HIGH
        raw.writer.transport.resume_reading()  # type: ignore[attr-defined]
        while member.session.held:
            assert (await raw.heard())["op"] == "notice"
        node.hub.broadcast(0, '{"op":"notice","data":"last"}')
        while (await raw.heard())["data"] != "last":
            pass


async def test_a_slow_reader_is_closed_after_its_time_and_cut_if_it_does_not_even_read_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Socket, "close_seconds", 0.1)
    async with port() as node, await Raw.welcomed(node) as raw:
        member = await stuffed(node, raw)
        node.clock.ahead = 29.0
        node.hub.sweep()
        assert not member.session.closed
        node.clock.ahead = 31.1
        node.hub.sweep()
        assert node.gateway.counters.closes["slow_consumer"] == 1
        await eventually(lambda: node.gateway.connections == 0)


# ------------------------------------------------------------------------------------- time


async def test_a_ping_that_is_missed_ends_presence_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Places:
        def __init__(self) -> None:
            self.seen: list[tuple[str, str, int, str]] = []

        def hold(self, kind: str, tenant: int, name: str) -> None:
            self.seen.append(("hold", kind, tenant, name))

        def drop(self, kind: str, tenant: int, name: str) -> None:
            self.seen.append(("drop", kind, tenant, name))

    places = Places()
    async with port() as node:
        node.hub.watch(places)
        async with await Raw.welcomed(node) as raw:
            assert places.seen == [("hold", "u", 0, "ann")]
            node.clock.ahead = 26.0
            node.hub.sweep()
            assert await raw.frame() == (PING, b"")
            raw.send(frame(PONG))
            before = node.hub.members()[0].describe().seen
            await eventually(lambda: node.hub.members()[0].describe().seen > before)
            node.clock.ahead += 9.1
            node.hub.sweep()
            assert len(node.hub) == 1, "it was answered"
            node.clock.ahead += 25.5
            node.hub.sweep()
            assert await raw.frame() == (PING, b"")
            node.clock.ahead += 9.1
            node.hub.sweep()
            assert len(node.hub) == 0
            assert places.seen[-1] == ("drop", "u", 0, "ann")
            assert node.gateway.connections == 1, "its transport still stands"
            assert await raw.closed() == (4005, "missed_ping")


async def test_the_first_pings_are_spread_over_the_time_between_two() -> None:
    async with port() as node:
        raws = [await Raw.welcomed(node, f"u{n}") for n in range(40)]
        slots = {member.slot for member in node.hub.members()}
        assert len(slots) > 12
        assert max(slots) - min(slots) <= 26
        for raw in raws:
            raw.writer.transport.abort()


async def test_a_node_that_slept_does_not_blame_its_clients() -> None:
    async with port() as node, await Raw.welcomed(node) as raw:
        node.clock.ahead = 26.0
        node.hub.sweep()
        assert await raw.frame() == (PING, b"")
        raw.send(frame(PONG))
        node.clock.ahead += 60.0  # the process stood still: the pong waits in the kernel
        await eventually(lambda: node.hub.members()[0].slot > 0 and not node.hub.members()[0]._pong_by < 1e9)  # type: ignore[attr-defined]
        assert len(node.hub) == 1


async def test_silence_before_the_hello_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    async with port() as node, await Raw.shaken(node) as raw:
        node.clock.ahead = 6.1
        node.hub.sweep()
        assert await raw.closed() == (4004, "hello_timeout")


async def test_a_token_that_ends_earlier_than_the_one_before_ends_its_socket_in_time() -> None:
    async def brief(text: str) -> Claims:
        return Claims(0, "ann", node.clock.unix() + (3.0 if text == "brief" else 1_000.0))

    async with port(rights=Rights(brief)) as node, await Raw.welcomed(node) as raw:
        raw.say({"op": "refresh", "token": "brief", "id": 1})
        assert (await raw.heard())["op"] == "ok"
        node.clock.ahead = 4.1
        node.hub.sweep()
        assert await raw.closed() == (4006, "token_expired")


def test_a_wheel_holds_each_once() -> None:
    class One:
        slot = 0

    wheel: Wheel[One] = Wheel()
    one, two = One(), One()
    wheel.put(one, 10.2)
    wheel.put(two, 11.0)
    wheel.put(one, 12.5)
    assert wheel.due(11.0) == [two]
    assert wheel.due(12.9) == []
    assert wheel.due(1e9) == [one]
    wheel.put(one, 20.0)
    wheel.put(one, float("inf"))
    wheel.take(two)
    assert wheel.due(1e9) == []
    assert wheel._slots == {}


# ------------------------------------------------------------------------------------- identity


async def test_tickets_hellos_and_refusals() -> None:
    async def redeem(ticket: str) -> Claims:
        if ticket == "old":
            raise TokenError("ticket_invalid")
        if ticket == "revoked":
            raise TokenError("token_revoked")
        if ticket == "later":
            raise TokenError("token_unavailable")
        return Claims(0, ticket.removeprefix("tkt-"), 1e12, device="phone")

    rights = Rights(trusting, redeem, lambda claims, device: f"tkt-{claims.user}" if device else "")
    async with port(rights=rights) as node:
        async with await Raw.shaken(node) as raw:
            raw.say({"op": "hello", "token": "ann", "device": "laptop"})
            assert (await raw.heard())[0]["ticket"] == "tkt-ann"
        async with await Raw.shaken(node) as raw:
            raw.say({"op": "hello", "ticket": "tkt-bob"})
            assert (await raw.heard())[0]["user"] == "bob"
            assert node.hub.members_of((0, "bob"))[0].describe().device == "phone"
        for ticket, name in {"old": "token_expired", "revoked": "revoked", "later": "internal"}.items():
            async with await Raw.shaken(node) as raw:
                raw.say({"op": "hello", "ticket": ticket})
                assert await raw.closed() == (CLOSE_CODES[name].code, name)
        async with await Raw.shaken(node) as raw:
            raw.say({"op": "hello", "token": "bad"})
            assert await raw.closed() == (4500, "bad_token")


async def test_what_was_taken_back_closes_whom_it_concerns() -> None:
    async with port() as node, await Raw.welcomed(node) as ann, await Raw.welcomed(node, "bob") as bob:
        node.hub.revoke([Revocation(6, 0, "bob", "another", 0.0, 1e12)])
        node.hub.revoke([Revocation(7, 1, "ann", None, 1e12, 1e12)])
        assert len(node.hub) == 2
        node.hub.revoke([Revocation(8, 0, "ann", None, 1.0, 1e12)])
        assert await ann.closed() == (4506, "revoked")
        node.hub.revoke([Revocation(9, 0, "bob", "jti-bob", 1.0, 1e12)])
        assert await bob.closed() == (4506, "revoked")


async def test_an_operator_sees_who_is_there_and_may_close_it() -> None:
    async with port() as node, await Raw.connect(node) as raw:
        raw.send(head(User_Agent="Mozilla/5.0 " + "x" * 300))
        await raw.reader.readuntil(b"\r\n\r\n")
        raw.say({"op": "hello", "token": "ann", "device": "phone", "meta": {"app": "1.2"}})
        connection = (await raw.heard())[0]["connection"]
        assert boot_of(connection) == 7
        member = node.hub.find(connection)
        assert member is not None
        told = member.describe()
        assert (told.id, told.user, told.transport, told.device) == (connection, "ann", "socket", "phone")
        assert (told.address, told.meta, told.active) == ("127.0.0.1", '{"app":"1.2"}', False)
        assert told.user_agent is not None
        assert len(told.user_agent) == 200
        raw.say({"op": "active", "id": 1})
        await raw.heard()
        assert member.describe().active
        assert node.hub.find("con_" + "0" * 24) is None
        member.close("disconnected")
        assert await raw.closed() == (4507, "disconnected")
        assert node.hub.find(connection) is None


# ------------------------------------------------------------------------------------- topics, notices


async def test_nothing_is_shown_before_the_welcome() -> None:
    async with port() as node:
        pages, asked = node.store.pages, asyncio.Event()

        async def later(*args: Any) -> Any:
            asked.set()
            await node.store.go.wait()
            return await pages(*args)

        node.store.pages = later  # type: ignore[assignment,method-assign]
        node.store.go.clear()
        async with await Raw.shaken(node) as raw:
            raw.say({"op": "hello", "token": "ann"})
            await asked.wait()
            assert len(node.hub) == 1
            node.hub.broadcast(0, '{"op":"notice"}')
            node.hub.hint([News(0, "ann", 1, "{}", 1, 1, "1-a")])
            node.store.go.set()
            assert [each["op"] for each in await raw.heard()] == ["welcome", "count"]


async def test_topics_are_for_those_who_may_and_messages_for_those_who_listen() -> None:
    asked: list[tuple[str, ...]] = []

    async def may(claims: Claims, topics: Any) -> bool:
        asked.append(tuple(topics))
        return "secret" not in topics

    async with (
        port(rights=Rights(trusting, may_subscribe=may)) as node,
        await Raw.welcomed(node) as ann,
        await Raw.welcomed(node, "bob") as bob,
    ):
        ann.say({"op": "subscribe", "topics": ["news", "secret"], "id": 1})
        assert await ann.heard() == {"op": "error", "id": 1, "code": "forbidden"}
        assert node.hub.publish(0, "news", "{}") == 0, "all or none"
        ann.say({"op": "subscribe", "topics": ["news", "sport"], "id": 2})
        assert await ann.heard() == {"op": "ok", "id": 2}
        ann.say({"op": "subscribe", "topics": ["news"], "id": 3})
        assert await ann.heard() == {"op": "ok", "id": 3}
        assert asked == [("news", "secret"), ("news", "sport")], "what is held is not asked for again"
        assert node.hub.publish(0, "news", '{"op":"message","topic":"news"}') == 1
        assert node.hub.publish(1, "news", '{"op":"message"}') == 0, "another tenant's"
        assert await ann.heard() == {"op": "message", "topic": "news"}
        assert node.hub.broadcast(0, '{"op":"notice","data":1}') == 2
        assert await ann.heard() == await bob.heard() == {"op": "notice", "data": 1}
        ann.say({"op": "unsubscribe", "topics": ["news", "never"], "id": 4})
        assert await ann.heard() == {"op": "ok", "id": 4}
        assert node.hub.publish(0, "news", "{}") == 0
        assert node.hub.members_of((0, "ann"))[0].describe().topics == ("sport",)
        for n in range(2):
            ann.say({"op": "subscribe", "topics": [f"t{n}-{m}" for m in range(49 + n)], "id": n})
            assert await ann.heard() == {"op": "ok", "id": n}
        ann.say({"op": "subscribe", "topics": ["one more"], "id": 9})
        assert await ann.heard() == {"op": "error", "id": 9, "code": "too_many_topics"}
        ann.writer.transport.abort()
        await eventually(lambda: len(node.hub) == 1)
        assert node.hub._topics == {}


async def test_news_are_put_into_a_frame_once_and_what_is_sent_together_is_one_frame() -> None:
    async with port() as node, await Raw.welcomed(node) as phone, await Raw.welcomed(node) as laptop:
        node.hub.hint([News(0, "ann", 1, '{"id":"dlv_1","revision":1}', 1, 1, "1-a")])
        for device in (phone, laptop):
            items, count = await device.heard()
            assert (items["prev"], items["revision"], items["items"][0]["id"]) == (0, 1, "dlv_1")
            assert (count["unread"], count["revision"]) == (1, 1)
        assert (node.hub.live, node.hub.reads) == (2, 2), "the reads are those of the hellos"


async def test_what_follows_the_first_frame_of_a_turn_leaves_together(monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    flush = Connection.flush

    def counting(connection: Connection) -> None:
        if connection._out is not None:
            flushed.append(len(connection._out))
        flush(connection)

    async with port() as node, await Raw.welcomed(node) as raw:
        monkeypatch.setattr(Connection, "flush", counting)
        for n in range(5):
            node.hub.hint([News(0, "ann", n + 1, "{}", n, n, "1-a")])
            node.hub.broadcast(0, '{"op":"notice"}')
        assert flushed == []
        assert [len(told) for told in [await raw.heard() for _ in range(10)]] == [2, 1] * 5
        assert flushed == [9], "the first had left at once"
        node.hub.broadcast(0, json.dumps("at once"))
        node.hub.broadcast(0, json.dumps("x" * HIGH))
        node.hub.broadcast(0, json.dumps("y"))
        assert flushed == [9, 2], "more than it may hold does not wait"
        assert [await raw.heard() for _ in range(3)] == ["at once", "x" * HIGH, "y"]


# ------------------------------------------------------------------------------------- the end


async def test_a_drain_is_spread_and_everybody_is_told_when_to_come_back() -> None:
    async with port() as node:
        raws = [await Raw.welcomed(node, f"u{n}") for n in range(30)]
        stubborn = await Raw.shaken(node)
        draining = asyncio.create_task(node.gateway.drain(1.0))
        waits = []
        for raw in raws:
            while isinstance(told := await raw.heard(), list):
                pass
            assert told["op"] == "drain"
            waits.append(told["retry_after"])
            assert (await raw.closed())[0] == 4000
        assert len(set(waits)) == len(waits)
        assert 0 <= min(waits) < 3
        assert 7 < max(waits) < 10
        assert (await stubborn.frame())[0] == TEXT
        async with await Raw.connect(node) as late:
            late.send(head())
            assert (await late.ended()).startswith(b"HTTP/1.1 503 ")
        await draining
        await eventually(lambda: node.gateway.connections == 0)
        assert (await stubborn.frame())[0] == CLOSE
        for raw in (*raws, stubborn):
            raw.writer.transport.abort()


async def test_an_idle_socket_keeps_nothing_that_it_does_not_need() -> None:
    """No task, timer or half-read byte; and when it goes, nothing of it stays."""
    async with port() as node:
        tasks = len(asyncio.all_tasks())
        raws = [await Raw.welcomed(node, f"u{n}") for n in range(10)]
        assert len(asyncio.all_tasks()) == tasks
        for member in node.hub.members():
            assert isinstance(member, Connection)
            assert not hasattr(member, "__dict__")
            assert not hasattr(member.session, "__dict__")
            assert member._reader is not None
            assert not hasattr(member._reader, "__dict__")
            assert member._reader.waiting == 0
            assert member._close_timer is None
        del member
        for raw in raws:
            raw.writer.transport.abort()
        await eventually(lambda: node.gateway.connections == 0)
        gc.collect()
        assert not [each for each in gc.get_objects() if isinstance(each, Connection)]
        assert node.hub._wheel._slots == {}
        assert node.hub._members == {}
