"""Does the client of HTTP/2 end every request once, and truly, whatever the server does?

The servers are real ones on loopback, with TLS: one of our own that misbehaves as it is told, and ``nghttpd``.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, HeadersFrame, PingFrame

from tests.io.outbound.h2_peer import Answer, Arrival, Peer, nothing, ok
from tests.support import eventually
from ulak.io.outbound import tls
from ulak.io.outbound.egress import networks
from ulak.io.outbound.http2 import Http2Client, Options
from ulak.io.outbound.http2_connection import Connection
from ulak.io.outbound.http2_dial import Dialler
from ulak.providers.contract import HttpReply, HttpRequest, Lost, Phase, Refused

pytestmark = pytest.mark.anyio

PUBLIC = networks(["127.0.0.1/32"])
LONG = 60.0
Result = HttpReply | Lost | Refused


class Stage:
    """What a test has: a server, and a client that trusts it."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.sends: list[asyncio.Task[Result]] = []

    async def play(self, answer: Answer = ok, options: Options | None = None, **how: Any) -> tuple[Peer, Http2Client]:
        peer = await self.stack.enter_async_context(Peer(self.folder, answer, **how))
        return peer, self.client(peer, options)

    def client(self, peer: Peer, options: Options | None = None) -> Http2Client:
        client = Http2Client(PUBLIC, options, tls=tls.context(str(peer.ca), ("h2",)))
        self.stack.push_async_callback(client.aclose)
        return client

    def send(self, client: Http2Client, url: str, body: bytes = b"{}", deadline: float = LONG) -> asyncio.Task[Result]:
        """Send in the background."""
        task = asyncio.create_task(client.send(post(url, body), deadline))
        self.sends.append(task)
        return task


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        made = Stage(tmp_path, stack)
        yield made
        for task in made.sends:
            task.cancel()
        await asyncio.gather(*made.sends, return_exceptions=True)


def post(url: str, body: bytes = b"{}") -> HttpRequest:
    return HttpRequest("POST", url, (("authorization", "bearer abc"), ("Apns-Topic", "org.example")), body)


def connections(client: Http2Client) -> list[Connection]:
    return [connection for origin in client._origins.values() for connection in origin._connections]


def first(then: Answer, *, after: Answer = ok) -> Answer:
    """Answer the first request one way, the others another way."""
    seen: list[Arrival] = []

    def answer(arrival: Arrival) -> None:
        seen.append(arrival)
        (then if len(seen) == 1 else after)(arrival)

    return answer


# ------------------------------------------------------------------------------------------- the plain case


async def test_a_reply_comes_whole_and_the_connection_is_used_again(stage: Stage) -> None:
    def answer(arrival: Arrival) -> None:
        link = arrival.link
        link.h2.send_headers(arrival.stream, [(":status", "201"), ("x-a", "1"), ("x-a", "2"), ("apns-id", "i")])
        link.h2.send_data(arrival.stream, b"o")
        link.h2.send_data(arrival.stream, b"k", end_stream=True)

    peer, client = await stage.play(answer)
    reply = await client.send(post(peer.url("/3/device/ab?x=1"), b"{1}"), LONG)
    again = await client.send(post(peer.url()), LONG)
    assert reply == HttpReply(201, {"x-a": "1, 2", "apns-id": "i"}, b"ok")
    assert again == reply
    assert len(peer.links) == 1
    assert peer.arrivals[0].fields == {
        ":method": "POST",
        ":scheme": "https",
        ":authority": f"127.0.0.1:{peer.port}",
        ":path": "/3/device/ab?x=1",
        "authorization": "bearer abc",
        "apns-topic": "org.example",
        "content-length": "3",
    }
    assert peer.arrivals[0].body == b"{1}"


async def test_an_answer_without_a_body_and_a_request_without_one(stage: Stage) -> None:
    peer, client = await stage.play(lambda arrival: arrival.reply(204))
    assert await client.send(HttpRequest("GET", peer.url()), LONG) == HttpReply(204, {}, b"")


async def test_what_may_come_before_and_after_an_answer_is_not_the_answer(stage: Stage) -> None:
    def answer(arrival: Arrival) -> None:
        h2, stream = arrival.link.h2, arrival.stream
        h2.send_headers(stream, [(":status", "103"), ("link", "x")])
        h2.send_headers(stream, [(":status", "200")])
        h2.send_data(stream, b"ok")
        h2.send_headers(stream, [("checksum", "1")], end_stream=True)

    peer, client = await stage.play(answer)
    assert await client.send(post(peer.url()), LONG) == HttpReply(200, {}, b"ok")


async def test_requests_that_start_together_leave_in_one_write(stage: Stage) -> None:
    peer, client = await stage.play()
    await client.send(post(peer.url()), LONG)
    (connection,) = connections(client)
    transport, writes = connection._transport, []
    assert transport is not None
    write = transport.write

    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(transport, name)

        def write(self, data: bytes) -> None:
            writes.append(data)
            write(data)

    connection._transport = Counted()  # type: ignore[assignment]
    await asyncio.gather(*(client.send(post(peer.url(f"/{n}")), LONG) for n in range(50)))
    assert sorted(peer.paths[1:]) == sorted(f"/{n}" for n in range(50))
    assert sum(len(data) > 1_000 for data in writes) == 1


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (HttpRequest("POST", "http://127.0.0.1/"), "scheme"),
        (HttpRequest("POST", "https://a@127.0.0.1/"), "userinfo"),
        (HttpRequest("POST", "https://127.0.0.1:1/a b"), "url"),
        (HttpRequest("POST", "https://127.0.0.1:1/" + "a" * 5_000), "url"),
        (HttpRequest("POST", "https://127.0.0.1:1/#a"), "url"),
        (HttpRequest("PO ST", "https://127.0.0.1:1/"), "method"),
        (HttpRequest("POST", "https://127.0.0.1:1/", (("a b", "c"),)), "header"),
        (HttpRequest("POST", "https://127.0.0.1:1/", (("a", "c\nd: e"),)), "header"),
        (HttpRequest("POST", "https://127.0.0.1:1/", (("a", "\u20ac"),)), "header"),
        (HttpRequest("POST", "https://127.0.0.1:1/", (("Host", "x"),)), "header"),
        (HttpRequest("POST", "https://127.0.0.1:1/", ((":path", "/x"),)), "header"),
    ],
)
async def test_a_request_that_is_none_is_refused(stage: Stage, request_: HttpRequest, reason: str) -> None:
    client = Http2Client(PUBLIC)
    for _ in range(2):  # the second time the origin may be known
        result = await client.send(request_, LONG)
        assert isinstance(result, Refused)
        assert result.reason == reason
    await client.aclose()


# ------------------------------------------------------------------------------------------- the way there


async def test_a_server_without_http2_is_not_spoken_to(stage: Stage) -> None:
    peer, client = await stage.play(alpn=("http/1.1",))
    result = await client.send(post(peer.url()), LONG)
    assert isinstance(result, Lost)
    assert (result.phase, result.reason) == (Phase.NOT_SENT, "alpn")
    silent, client = await stage.play(alpn=())
    result = await client.send(post(silent.url()), LONG)
    assert isinstance(result, Lost)
    assert (result.phase, result.reason) == (Phase.NOT_SENT, "alpn")
    assert not silent.begun


async def test_a_certificate_that_nobody_vouches_for_ends_it(stage: Stage) -> None:
    peer, _ = await stage.play()
    client = Http2Client(PUBLIC)
    assert await client.send(post(peer.url()), LONG) == Lost(Phase.NOT_SENT, "certificate", "SSLCertVerificationError")
    await client.aclose()
    assert not peer.begun


def names(*answers: list[str]) -> tuple[Callable[[str, int], Awaitable[Any]], list[str]]:
    """A resolver with a script: each look-up takes its next list of addresses."""
    left, asked = list(answers), []

    async def resolve(host: str, port: int) -> Any:
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in found]

    return resolve, asked


async def test_the_certificate_must_be_that_of_the_name_and_the_name_is_told(stage: Stage) -> None:
    peer, _ = await stage.play()
    resolve, _ = names(["127.0.0.1"])
    client = Http2Client(dialler=Dialler(tls.context(str(peer.ca), ("h2",)), PUBLIC, names=resolve))
    result = await client.send(post(peer.url(host="push.example")), LONG)
    await client.aclose()
    assert isinstance(result, Lost)
    assert result.reason == "certificate"
    assert peer.asked_for == ["push.example"]


@pytest.mark.parametrize(("address", "reason"), [("127.0.0.2", "loopback"), ("169.254.169.254", "link_local")])
async def test_the_guard_judges_what_is_dialled(stage: Stage, address: str, reason: str) -> None:
    peer, _ = await stage.play()
    resolve, _ = names([address])
    client = Http2Client(dialler=Dialler(tls.context(str(peer.ca), ("h2",)), PUBLIC, names=resolve))
    assert await client.send(post(peer.url(host="push.example")), LONG) == Refused("address", reason)
    await client.aclose()
    assert not peer.links


async def test_every_dial_is_judged_and_a_name_is_asked_once_for_each(stage: Stage) -> None:
    """The name becomes a forbidden address after the first dial: nothing is dialled that was not judged."""
    peer, _ = await stage.play()
    resolve, asked = names(["127.0.0.1"], ["127.0.0.2"])
    client = Http2Client(dialler=Dialler(tls.context(str(peer.ca), ("h2",)), PUBLIC, names=resolve))
    url = peer.url(host="push.example")
    assert isinstance(await client.send(post(url), LONG), Lost)  # it got as far as the certificate
    assert await client.send(post(url), LONG) == Refused("address", "loopback")
    assert len(asked) == 2
    await client.aclose()


async def test_the_next_address_is_tried_when_one_is_dead(stage: Stage) -> None:
    peer, _ = await stage.play()
    with socket.socket() as dead:
        dead.bind(("127.0.0.2", 0))
        resolve, _ = names(["127.0.0.3", "127.0.0.1"])
        allowed = networks(["127.0.0.1/32", "127.0.0.3/32"])
        dialler = Dialler(tls.context(str(peer.ca), ("h2",)), allowed, names=resolve)
        made = await dialler.dial("127.0.0.1", peer.port, _Plain)
    assert isinstance(made, _Plain)
    made.transport.abort()
    await made.ended


class _Plain(asyncio.Protocol):
    def __init__(self) -> None:
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)


async def test_nobody_there_is_told_to_all_who_wait(stage: Stage) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        client = Http2Client(PUBLIC)
        url = f"https://127.0.0.1:{closed.getsockname()[1]}/"
        results = await asyncio.gather(*(client.send(post(url), LONG) for _ in range(5)))
    assert results == [Lost(Phase.NOT_SENT, "connect", "ConnectionRefusedError")] * 5
    await client.aclose()


async def test_a_name_that_is_none(stage: Stage) -> None:
    resolve, _ = names([])
    client = Http2Client(dialler=Dialler(tls.context(protocols=("h2",)), names=resolve))
    assert await client.send(post("https://push.example/"), LONG) == Lost(Phase.NOT_SENT, "dns", "gaierror")
    await client.aclose()


async def test_a_dial_is_bounded_and_so_is_the_wait_for_it(stage: Stage) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        client = Http2Client(dialler=Dialler(tls.context(protocols=("h2",)), PUBLIC, seconds=0.3))
        assert await client.send(post(url), 0.05) == Lost(Phase.NOT_SENT, "timeout")
        assert await client.send(post(url), LONG) == Lost(Phase.NOT_SENT, "timeout", "TimeoutError")
        await client.aclose()


def test_a_context_that_believes_everybody_is_not_taken() -> None:
    context = tls.context()
    context.check_hostname = False
    with pytest.raises(ValueError, match="verify"):
        Dialler(context)


# ------------------------------------------------------------------------------------------- how many at once


async def test_one_request_goes_before_the_settings_have_come(stage: Stage) -> None:
    peer, client = await stage.play(mute=True)
    sends = [stage.send(client, peer.url(f"/{n}")) for n in range(5)]
    await peer.got(1)
    await _turns()
    assert len(peer.begun) == 1
    peer.unsilence()
    await asyncio.gather(*sends)
    assert len(peer.arrivals) == 5
    assert len(peer.links) == 1


async def test_the_servers_limit_is_kept_when_it_changes_too(stage: Stage) -> None:
    waiting: list[Arrival] = []
    peer, client = await stage.play(waiting.append, Options(connections=1), settings={3: 3})
    sends = [stage.send(client, peer.url(f"/{n}")) for n in range(30)]
    await peer.got(3)
    await _turns()
    assert len(peer.begun) == 3
    (link,) = peer.links
    link.settle(streams=6)
    await peer.got(6)
    await _turns()
    assert len(peer.begun) == 6
    link.settle(streams=2)
    await eventually(lambda: connections(client)[0].room == 2 - 6, within=15)
    for _ in range(4):
        waiting.pop(0).reply()
    await _turns()
    assert len(peer.begun) == 6
    peer.answer = ok
    for arrival in waiting:
        arrival.reply()
    assert {reply.status for reply in await asyncio.gather(*sends) if isinstance(reply, HttpReply)} == {200}
    assert link.most_open == 6


async def test_one_request_goes_until_an_answer_proves_who_we_are(stage: Stage) -> None:
    waiting: list[Arrival] = []
    peer, client = await stage.play(waiting.append, Options(proves=lambda reply: reply.status == 200))
    sends = [stage.send(client, peer.url(f"/{n}")) for n in range(6)]
    for seen, status in ((1, 403), (2, 403), (3, 200)):
        await peer.got(seen)
        await _turns()
        assert len(peer.begun) == seen
        assert len(peer.links) == 1
        waiting.pop().reply(status)
    await peer.got(6)
    for arrival in waiting:
        arrival.reply()
    await asyncio.gather(*sends)


async def test_more_connections_are_made_when_all_are_full_up_to_a_bound(stage: Stage) -> None:
    waiting: list[Arrival] = []
    peer, client = await stage.play(waiting.append, Options(connections=3), settings={3: 2})
    sends = [stage.send(client, peer.url(f"/{n}")) for n in range(12)]
    await peer.got(6)
    await _turns()
    assert len(peer.begun) == 6
    assert [link.most_open for link in peer.links] == [2, 2, 2]
    peer.answer = ok
    for arrival in waiting:
        arrival.reply()
    await asyncio.gather(*sends)
    assert len(peer.links) == 3


async def test_our_own_limit_holds_where_the_server_sets_none(stage: Stage) -> None:
    peer, client = await stage.play(nothing, Options(connections=1, streams=4))
    for n in range(9):
        stage.send(client, peer.url(f"/{n}"))
    await peer.got(4)
    await _turns()
    assert len(peer.begun) == 4


async def _turns(count: int = 30) -> None:
    """Give whatever could still happen a chance; what a test asserts then must not depend on it."""
    for _ in range(count):
        await asyncio.sleep(0.002)


# ------------------------------------------------------------------------------------------- GOAWAY and RST_STREAM


async def test_goaway_sends_the_untouched_again_and_hears_the_others_out(stage: Stage) -> None:
    waiting: list[Arrival] = []
    peer, client = await stage.play(waiting.append)
    sends = [stage.send(client, peer.url(f"/{n}")) for n in range(4)]
    await peer.got(4)
    (link,) = peer.links
    peer.answer = ok
    link.goaway(waiting[1].stream)
    assert await sends[2] == HttpReply(200, {}, b"/2")
    assert await sends[3] == HttpReply(200, {}, b"/3")
    assert not sends[0].done()
    for arrival in waiting[:2]:
        arrival.reply(200, b"late")
    assert await sends[0] == await sends[1] == HttpReply(200, {}, b"late")
    assert len(peer.links) == 2
    assert sorted(peer.paths) == ["/0", "/1", "/2", "/2", "/3", "/3"]
    await eventually(lambda: link.closed, within=15)


async def test_what_a_goaway_said_is_told_when_the_connection_then_ends(stage: Stage) -> None:
    def answer(arrival: Arrival) -> None:
        arrival.link.goaway(
            arrival.stream, ErrorCodes.PROTOCOL_ERROR, b'{"reason":"BadCertificate"}\x00\xff' + b"x" * 999
        )
        arrival.link.transport.close()

    peer, client = await stage.play(answer)
    result = await client.send(post(peer.url()), LONG)
    assert isinstance(result, Lost)
    assert (result.phase, result.reason) == (Phase.SENT, "goaway")
    assert result.detail.startswith('PROTOCOL_ERROR {"reason":"BadCertificate"}?')
    assert result.detail.isprintable()
    assert len(result.detail) < 250
    assert peer.paths == ["/"]


async def test_a_second_goaway_may_give_back_more(stage: Stage) -> None:
    peer, client = await stage.play(nothing)
    sends = [stage.send(client, peer.url(f"/{n}")) for n in range(3)]
    arrivals = (await peer.got(3))[:]
    peer.answer = ok
    peer.links[0].goaway(2**31 - 1)
    await _turns()
    assert len(peer.arrivals) == 3
    peer.links[0].goaway(arrivals[0].stream)
    assert [await send for send in sends[1:]] == [HttpReply(200, {}, b"/1"), HttpReply(200, {}, b"/2")]


async def test_a_server_that_gives_everything_back_is_not_asked_for_ever(stage: Stage) -> None:
    def answer(arrival: Arrival) -> None:
        arrival.link.goaway(0, ErrorCodes.NO_ERROR, b"go")
        arrival.link.transport.close()

    peer, client = await stage.play(answer)
    results = await asyncio.gather(*(client.send(post(peer.url(f"/{n}")), LONG) for n in range(20)))
    assert {(result.phase, result.reason) for result in results if isinstance(result, Lost)} <= {
        (Phase.NOT_SENT, "goaway"),
        (Phase.NOT_SENT, "connect"),
    }
    assert all(isinstance(result, Lost) for result in results)
    assert len(peer.links) <= 4


async def test_a_refused_stream_is_sent_again_but_not_for_ever(stage: Stage) -> None:
    refuse: Answer = lambda arrival: arrival.reset(ErrorCodes.REFUSED_STREAM)  # noqa: E731
    peer, client = await stage.play(first(refuse))
    assert await client.send(post(peer.url()), LONG) == HttpReply(200, {}, b"/")
    assert len(peer.arrivals) == 2
    peer.answer = refuse
    assert await client.send(post(peer.url()), LONG) == Lost(Phase.NOT_SENT, "refused_stream")
    assert len(peer.arrivals) == 5


@pytest.mark.parametrize("code", [ErrorCodes.INTERNAL_ERROR, ErrorCodes.CANCEL, ErrorCodes.HTTP_1_1_REQUIRED])
async def test_any_other_reset_leaves_it_open_what_happened(stage: Stage, code: ErrorCodes) -> None:
    peer, client = await stage.play(first(lambda arrival: arrival.reset(code)))
    assert await client.send(post(peer.url()), LONG) == Lost(Phase.SENT, "reset", code.name)
    assert await client.send(post(peer.url()), LONG) == HttpReply(200, {}, b"/")
    assert len(peer.links) == 1


async def test_a_connection_that_is_told_to_calm_down_gets_nothing_more(stage: Stage) -> None:
    peer, client = await stage.play(first(lambda arrival: arrival.reset(ErrorCodes.ENHANCE_YOUR_CALM)))
    assert await client.send(post(peer.url()), LONG) == Lost(Phase.SENT, "reset", "ENHANCE_YOUR_CALM")
    assert await client.send(post(peer.url()), LONG) == HttpReply(200, {}, b"/")
    assert len(peer.links) == 2
    await eventually(lambda: peer.links[0].closed, within=15)


# ------------------------------------------------------------------------------------------- the end of a connection


async def test_a_connection_that_dies_says_which_requests_may_have_been_taken(stage: Stage) -> None:
    def die(arrival: Arrival) -> None:
        arrival.link.h2.send_headers(arrival.stream, [(":status", "200")])
        arrival.link.flush()
        arrival.link.transport.close()

    peer, client = await stage.play(first(die), Options(connections=1), settings={3: 1})
    sends = [stage.send(client, peer.url(f"/{n}")) for n in range(3)]
    results = await asyncio.gather(*sends)
    assert isinstance(results[0], Lost)
    assert (results[0].phase, results[0].reason) == (Phase.SENT, "cut_off")
    assert results[1:] == [HttpReply(200, {}, b"/1"), HttpReply(200, {}, b"/2")]
    assert peer.paths == ["/0", "/1", "/2"]


async def test_a_connection_that_died_before_the_write_took_nothing(stage: Stage) -> None:
    """The request starts in the very turn in which the connection ends."""
    peer, client = await stage.play()
    await client.send(post(peer.url()), LONG)
    (connection,) = connections(client)
    send = stage.send(client, peer.url("/x"))
    await asyncio.sleep(0)
    assert connection._open
    connection.abort()
    assert await send == HttpReply(200, {}, b"/x")
    assert len(peer.links) == 2
    assert peer.paths == ["/", "/x"]


async def test_all_streams_may_be_used_up(stage: Stage) -> None:
    peer, client = await stage.play()
    await client.send(post(peer.url()), LONG)
    connections(client)[0]._h2.highest_outbound_stream_id = 2**31 - 5
    results = await asyncio.gather(*(client.send(post(peer.url(f"/{n}")), LONG) for n in range(5)))
    assert [reply.body for reply in results if isinstance(reply, HttpReply)] == [b"/0", b"/1", b"/2", b"/3", b"/4"]
    assert len(peer.links) == 2
    await eventually(lambda: peer.links[0].closed, within=15)


async def test_a_connection_without_requests_is_closed_in_good_order(stage: Stage) -> None:
    peer, client = await stage.play(options=Options(idle=0.05, ping=0.02))
    await client.send(post(peer.url()), LONG)
    await eventually(lambda: peer.links[0].closed, within=15)
    assert peer.links[0].goodbye is not None
    assert await client.send(post(peer.url()), LONG) == HttpReply(200, {}, b"/")
    assert len(peer.links) == 2


async def test_a_silent_connection_is_given_up(stage: Stage) -> None:
    peer, client = await stage.play(nothing, Options(ping=0.05, patience=0.2))
    send = stage.send(client, peer.url())
    await peer.got(1)
    await eventually(lambda: peer.links[0].pings >= 2, within=15)  # it answers them, so it lives
    assert not send.done()
    peer.deaf = True
    assert await send == Lost(Phase.SENT, "silent", "no answer to a ping")


async def test_a_peer_that_died_is_noticed_by_who_waits_for_it_and_harms_nobody_else(stage: Stage) -> None:
    seen: list[Arrival] = []
    peer, client = await stage.play(first(seen.append), Options(ping=3_600, patience=0.3))
    send = stage.send(client, peer.url())
    await eventually(lambda: bool(seen), within=15)
    peer.links[0].transport.pause_reading()
    one = connections(client)[0]
    await eventually(lambda: one._asked() or send.done(), within=15)
    assert await client.send(post(peer.url("/other")), LONG) == HttpReply(200, {}, b"/other")
    assert len(peer.links) == 2
    assert await send == Lost(Phase.SENT, "silent", "no answer to a ping")


@pytest.mark.parametrize("status", ["abc", "", "-20", "2_0_0", "0200", "9" * 5_000])
async def test_a_status_that_is_none_costs_one_request(stage: Stage, status: str) -> None:
    def strange(arrival: Arrival) -> None:
        arrival.link.h2.send_headers(arrival.stream, [(":status", status)])
        arrival.link.h2.end_stream(arrival.stream)
        arrival.link.flush()

    peer, client = await stage.play(first(strange))
    assert await client.send(post(peer.url()), LONG) == Lost(Phase.SENT, "bad_reply", "not a status of HTTP")
    assert await client.send(post(peer.url()), LONG) == HttpReply(200, {}, b"/")
    assert len(peer.links) == 1


async def test_closing_tells_whoever_waits(stage: Stage) -> None:
    peer, client = await stage.play(nothing, Options(connections=1), settings={3: 1})
    sends = [stage.send(client, peer.url(f"/{n}")) for n in range(2)]
    await peer.got(1)
    await client.aclose()
    assert await sends[0] == Lost(Phase.SENT, "closed")
    assert await sends[1] == Lost(Phase.NOT_SENT, "closed")
    assert await client.send(post(peer.url()), LONG) == Lost(Phase.NOT_SENT, "closed")
    await eventually(lambda: peer.links[0].closed, within=15)


async def test_closing_stops_a_dial(stage: Stage) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        client = Http2Client(PUBLIC)
        send = stage.send(client, f"https://127.0.0.1:{silent.getsockname()[1]}/")
        await asyncio.sleep(0)
        await client.aclose()
        assert await send == Lost(Phase.NOT_SENT, "closed")


# ------------------------------------------------------------------------------------------- deadlines


async def test_a_deadline_cancels_its_stream_and_no_other(stage: Stage) -> None:
    waiting: list[Arrival] = []
    peer, client = await stage.play(waiting.append)
    other = stage.send(client, peer.url("/other"))
    await peer.got(1)
    assert await client.send(post(peer.url("/late")), 0.3) == Lost(Phase.SENT, "timeout")
    (link,) = peer.links
    late = peer.begun[-1]
    assert late.path == "/late"
    await eventually(lambda: link.resets == [(late.stream, ErrorCodes.CANCEL)], within=15)
    waiting[0].reply(200, b"in time")
    assert await other == HttpReply(200, {}, b"in time")
    assert len(peer.links) == 1


async def test_a_late_answer_harms_nobody(stage: Stage) -> None:
    """The answer is already under way when the stream is cancelled."""
    peer, client = await stage.play(nothing)
    assert await client.send(post(peer.url()), 0.3) == Lost(Phase.SENT, "timeout")
    (link,) = peer.links
    late = HeadersFrame(peer.begun[0].stream, link.h2.encoder.encode([(":status", "200")]), flags=["END_HEADERS"])
    link.frames(late, DataFrame(peer.begun[0].stream, b"x" * 100, flags=["END_STREAM"]))
    peer.answer = ok
    assert await client.send(post(peer.url()), LONG) == HttpReply(200, {}, b"/")
    assert len(peer.links) == 1


async def test_a_caller_that_goes_away_cancels_its_stream(stage: Stage) -> None:
    peer, client = await stage.play(nothing, Options(connections=1), settings={3: 1})
    held, queued = (stage.send(client, peer.url(f"/{n}")) for n in range(2))
    await peer.got(1)
    queued.cancel()
    await asyncio.gather(queued, return_exceptions=True)
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)
    await eventually(lambda: peer.links[0].resets, within=15)
    peer.answer = ok
    assert await client.send(post(peer.url("/2")), LONG) == HttpReply(200, {}, b"/2")
    assert peer.paths == ["/0", "/2"]


async def test_a_request_that_waits_for_room_has_a_deadline_too(stage: Stage) -> None:
    peer, client = await stage.play(nothing, Options(connections=1), settings={3: 1})
    stage.send(client, peer.url())
    await peer.got(1)
    assert await client.send(post(peer.url()), 0.1) == Lost(Phase.NOT_SENT, "timeout")
    peer.links[0].settle(streams=0)
    assert await client.send(post(peer.url()), 0.1) == Lost(Phase.NOT_SENT, "timeout")


# ------------------------------------------------------------------------------------------- windows


async def test_a_body_waits_for_its_window(stage: Stage) -> None:
    peer, client = await stage.play(settings={4: 10}, stingy=True)
    await client.send(HttpRequest("GET", peer.url()), LONG)  # the settings have come
    body = bytes(range(250))
    send = stage.send(client, peer.url("/big"), body)
    await eventually(lambda: peer.begun[-1].path == "/big" and len(peer.begun[-1].body) == 10, within=15)
    (link,) = peer.links
    link.h2.increment_flow_control_window(40, peer.begun[-1].stream)
    link.flush()
    await eventually(lambda: len(peer.begun[-1].body) == 50, within=15)
    assert not send.done()
    link.settle(window=1_000)
    assert await send == HttpReply(200, {}, b"/big")
    assert peer.arrivals[-1].body == body


async def test_a_window_that_never_opens_ends_with_the_deadline(stage: Stage) -> None:
    peer, client = await stage.play(settings={4: 0}, stingy=True)
    await client.send(HttpRequest("GET", peer.url()), LONG)
    assert await client.send(post(peer.url()), 0.2) == Lost(Phase.SENT, "timeout")
    assert await client.send(HttpRequest("GET", peer.url()), LONG) == HttpReply(200, {}, b"/")
    assert len(peer.links) == 1


async def test_the_window_of_the_connection_counts_as_well(stage: Stage) -> None:
    peer, client = await stage.play(stingy=True)
    sends = [stage.send(client, peer.url(f"/{n}"), b"x" * 30_000) for n in range(3)]
    await peer.got(2)
    await _turns()
    assert len(peer.arrivals) == 2
    peer.links[0].h2.increment_flow_control_window(60_000)
    peer.links[0].flush()
    await asyncio.gather(*sends)
    assert [len(arrival.body) for arrival in peer.arrivals] == [30_000] * 3


async def test_an_answer_may_come_before_the_body_has_left(stage: Stage) -> None:
    peer, client = await stage.play(settings={4: 0}, stingy=True)
    await client.send(HttpRequest("GET", peer.url()), LONG)
    send = stage.send(client, peer.url("/big"))
    await eventually(lambda: peer.begun[-1].path == "/big", within=15)
    peer.begun[-1].reply(413)
    assert await send == HttpReply(413, {}, b"")
    await eventually(lambda: peer.links[0].resets, within=15)
    assert await client.send(HttpRequest("GET", peer.url()), LONG) == HttpReply(200, {}, b"/")


async def test_a_server_never_waits_for_us_to_read(stage: Stage) -> None:
    """Far more than one window's worth of answers comes over one connection."""
    peer, client = await stage.play(lambda arrival: arrival.reply(200, b"x" * 15_000))
    for _ in range(10):
        await asyncio.gather(*(client.send(post(peer.url()), LONG) for _ in range(12)))
    assert len(peer.links) == 1


# ------------------------------------------------------------------------------------------- bad answers


async def test_an_answer_is_cut_to_the_cap_and_its_stream_ended(stage: Stage) -> None:
    def answer(arrival: Arrival) -> None:
        arrival.link.h2.send_headers(arrival.stream, [(":status", "500")])
        arrival.link.h2.send_data(arrival.stream, b"x" * 5_000)

    peer, client = await stage.play(first(answer), Options(body_cap=1_000))
    assert await client.send(post(peer.url()), LONG) == HttpReply(500, {}, b"x" * 1_000)
    assert await client.send(post(peer.url()), LONG) == HttpReply(200, {}, b"/")
    assert peer.links[0].resets == [(1, ErrorCodes.CANCEL)]


async def test_too_many_fields_end_the_stream(stage: Stage) -> None:
    peer, client = await stage.play(first(lambda arrival: arrival.reply(200, big="x" * 20_000)))
    result = await client.send(post(peer.url()), LONG)
    assert result == Lost(Phase.SENT, "bad_reply", "too many header fields")
    assert await client.send(post(peer.url()), LONG) == HttpReply(200, {}, b"/")
    assert len(peer.links) == 1


def _flood(arrival: Arrival) -> list[Frame]:
    endless = [ContinuationFrame(arrival.stream, b"\x00\x01a\x01b" * 100) for _ in range(200)]
    return [HeadersFrame(arrival.stream, b"\x88"), *endless]


def _bomb(arrival: Arrival) -> list[Frame]:
    """One field of 4,000 bytes, then a thousand references to it (CVE-2016-6581)."""
    field = b"\x40\x01a" + b"\x7f\xa1\x1e" + b"x" * 4_000
    return [HeadersFrame(arrival.stream, b"\x88" + field + b"\xbe" * 1_000, flags=["END_HEADERS", "END_STREAM"])]


class _Raw(Frame):
    """Bytes that are no frame."""

    def serialize(self) -> bytes:
        return b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10


@pytest.mark.parametrize(
    "nonsense",
    [
        _flood,
        _bomb,
        lambda arrival: [_Raw(0)],
        lambda arrival: [DataFrame(arrival.stream + 100, b"x")],
        lambda arrival: [DataFrame(arrival.stream, b"x" * 20_000)],
        lambda arrival: [HeadersFrame(arrival.stream, b"\xff\xff\xff\xff\xff", flags=["END_HEADERS"])],
        lambda arrival: [HeadersFrame(arrival.stream, b"\x00\x01a\x01b", flags=["END_HEADERS", "END_STREAM"])],
        lambda arrival: [HeadersFrame(2, b"\x88", flags=["END_HEADERS"])],
    ],
    ids=["continuations", "bomb", "http1", "unknown stream", "large frame", "hpack", "no status", "push"],
)
async def test_nonsense_ends_the_connection_and_nothing_else(
    stage: Stage, nonsense: Callable[[Arrival], list[Frame]], caplog: pytest.LogCaptureFixture
) -> None:
    peer, client = await stage.play(first(lambda arrival: arrival.link.frames(*nonsense(arrival))))
    result = await client.send(post(peer.url()), LONG)
    assert isinstance(result, Lost)
    assert (result.phase, result.reason) == (Phase.SENT, "protocol")
    assert await client.send(post(peer.url()), LONG) == HttpReply(200, {}, b"/")
    assert len(peer.links) == 2
    await eventually(lambda: peer.links[0].closed, within=15)
    assert not caplog.records


async def test_frames_for_streams_that_are_over_harm_nobody(stage: Stage) -> None:
    def answer(arrival: Arrival) -> None:
        arrival.reset(ErrorCodes.INTERNAL_ERROR)

    peer, client = await stage.play(first(answer))
    await client.send(post(peer.url()), LONG)
    peer.links[0].frames(DataFrame(1, b"late"))
    assert await client.send(post(peer.url()), LONG) == HttpReply(200, {}, b"/")


async def test_a_server_that_asks_on_and_on_without_reading_is_left(stage: Stage) -> None:
    """Each PING wants an answer: without a bound, what is not read would be kept."""
    peer, client = await stage.play(nothing)
    send = stage.send(client, peer.url())
    await peer.got(1)
    link, (connection,) = peer.links[0], connections(client)
    assert connection._transport is not None
    for side, option in ((link.transport, socket.SO_RCVBUF), (connection._transport, socket.SO_SNDBUF)):
        side.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, option, 4_096)
    link.transport.pause_reading()
    flood = b"".join(PingFrame(0, b"12345678").serialize() for _ in range(2_000))
    while not link.transport.is_closing() and not send.done():
        if link.transport.get_write_buffer_size() < 1_000_000:
            link.transport.write(flood)
        await asyncio.sleep(0)
    result = await send
    assert isinstance(result, Lost)
    assert (result.phase, result.reason, result.detail) == (Phase.SENT, "protocol", "the peer does not read")


async def test_nothing_is_started_while_the_server_does_not_read(stage: Stage) -> None:
    peer, client = await stage.play(nothing, Options(connections=1))
    stage.send(client, peer.url())
    await peer.got(1)
    link, (connection,) = peer.links[0], connections(client)
    connection.pause_writing()
    send = stage.send(client, peer.url("/2"))
    await _turns()
    assert len(peer.begun) == 1
    peer.answer = ok
    connection.resume_writing()
    assert await send == HttpReply(200, {}, b"/2")
    assert not link.closed


async def test_a_smaller_table_of_fields_is_agreed_to(stage: Stage) -> None:
    peer, client = await stage.play()
    await client.send(post(peer.url()), LONG)
    for size in (0, 100, 4_096):
        peer.links[0].settle(table=size)
        assert await client.send(post(peer.url()), LONG) == HttpReply(200, {}, b"/")
    assert peer.links[0].broken is None
    assert len(peer.links) == 1
