"""Does a stream carry what a socket would, and end as it should?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.edge.gateway.harness import KEY, Node, dlv, running
from tests.support import eventually
from ulak.core import token
from ulak.core.handshake import Networks
from ulak.core.inbox import Op
from ulak.core.revocation import Revocation
from ulak.core.session_commands import Limits
from ulak.core.token import Claims, TokenError
from ulak.edge.gateway import Rights, Room
from ulak.edge.gateway.stream import Flow
from ulak.edge.gateway.streams import PATH, Streams
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.anyio, pytest.mark.pg]


@asynccontextmanager
async def streaming(pool: Pool, flow: Flow | None = None, **more: Any) -> AsyncIterator[Node]:
    """A node that serves streams."""
    async with running(pool, **more) as node:
        assert node.server is not None
        node.server.config.loaded_app = Streams(node.gateway, flow)
        yield node


class Reader:
    """Reads a stream as a client does."""

    def __init__(self, node: Node, user: str = "ann") -> None:
        self.node = node
        self.token = token.mint(KEY, user, 600, node.clock.unix())
        self.events: list[dict[str, Any]] = []
        self.frames: list[dict[str, Any]] = []
        self.comments = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.problem: dict[str, Any] = {}
        self.close: dict[str, Any] | None = None
        self.ended = False
        self._session = aiohttp.ClientSession()
        self._answer: aiohttp.ClientResponse | None = None
        self._task: asyncio.Task[None] | None = None
        self._heard = asyncio.Condition()

    async def open(self, query: str = "", **headers: str) -> None:
        given = {"Authorization": f"Bearer {self.token}"} | headers
        url = f"http://127.0.0.1:{self.node.port}{PATH.decode()}{query}"
        answer = await self._session.get(url, headers={n: v for n, v in given.items() if v})
        self._answer = answer
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.headers.items()}
        if self.status != 200:
            self.problem = await answer.json(content_type="application/problem+json")
            return
        self._task = asyncio.create_task(self._read(answer))

    async def until(self, condition: Any, within: float = 30.0) -> Any:
        async with self._heard:
            await asyncio.wait_for(self._heard.wait_for(lambda: condition(self)), within)
        return condition(self)

    async def titles(self, *wanted: str) -> None:
        await self.until(lambda r: [i["title"] for f in r.told("items") for i in f["items"]] == list(wanted))

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._answer is not None:
            self._answer.close()
        await self._session.close()

    def told(self, op: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["op"] == op]

    async def _read(self, answer: aiohttp.ClientResponse) -> None:
        rest = ""
        try:
            async for chunk in answer.content.iter_any():
                *blocks, rest = (rest + chunk.decode()).split("\n\n")
                async with self._heard:
                    for block in blocks:
                        self._take(block)
                    self._heard.notify_all()
        except aiohttp.ClientError:
            pass
        async with self._heard:
            self.ended = True
            self._heard.notify_all()

    def _take(self, block: str) -> None:
        event = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        self.comments += block.startswith(":")
        if event:
            self.events.append(event)
        if event.get("event") == "close":
            self.close = json.loads(event["data"])
        elif "data" in event:
            self.frames.append(json.loads(event["data"]))


@asynccontextmanager
async def reading(node: Node, query: str = "", user: str = "ann", **headers: str) -> AsyncIterator[Reader]:
    reader = Reader(node, user)
    try:
        await reader.open(query, **headers)
        yield reader
    finally:
        await reader.stop()


async def test_a_stream_says_what_a_socket_says(store: Pool) -> None:
    async with streaming(store) as node:
        (first,) = await node.add("ann")
        async with reading(node) as reader:
            assert reader.headers["content-type"] == "text/event-stream"
            assert reader.headers["cache-control"] == "no-store"
            await reader.titles("item 1")
            await node.add("ann")  # live
            await node.add("ann", 2)
            await reader.titles("item 1", "item 2", "item 3", "item 4")
            await node.store.change(0, "ann", Op.READ, [first])
            (changed,) = await reader.until(lambda r: r.told("changed"))
            assert [item["id"] for item in changed["items"]] == [dlv(first)]
            await reader.until(lambda r: (r.told("count") or [{}])[-1].get("unread") == 3)
            assert reader.frames[0]["op"] == "welcome"
            assert reader.frames[0]["user"] == "ann"
            prevs = [(f["prev"], f["revision"]) for f in reader.frames if f["op"] in ("items", "changed")]
            assert [prev for prev, _ in prevs] == [0, *(revision for _, revision in prevs[:-1])]
            epoch = reader.frames[0]["epoch"]
            ids = [event["id"] for event in reader.events if "id" in event]
            assert ids == [f"{epoch}:{revision}" for _, revision in prevs]
            assert "retry" in reader.events[0]


@pytest.mark.parametrize("how", ["query", "header", "both"])
async def test_it_goes_on_where_the_client_stood(store: Pool, how: str) -> None:
    async with streaming(store) as node:
        await node.add("ann", 3)
        async with reading(node) as reader:
            await reader.titles("item 1", "item 2", "item 3")
            epoch = reader.frames[0]["epoch"]
        last = f"{epoch}:2"
        query, headers = {
            "query": (f"?since=2&epoch={epoch}", {}),
            "header": ("", {"Last-Event-ID": last}),
            "both": (f"?since=1&epoch={epoch}", {"Last-Event-ID": last}),
        }[how]
        async with reading(node, query, **headers) as reader:
            await reader.titles("item 3")
            assert not reader.frames[0]["full"]
        async with reading(node, "?since=2&epoch=other") as reader:
            await reader.titles("item 1", "item 2", "item 3")
            assert reader.frames[0]["full"]


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("", {"Authorization": ""}, 401, "unauthorised"),
        ("", {"Authorization": "Bearer"}, 401, "unauthorised"),
        ("", {"Authorization": "Basic YTpi"}, 401, "unauthorised"),
        ("", {"Authorization": "Bearer nonsense"}, 401, "unauthorised"),
        ("?since=-1", {}, 422, "bad_offset"),
        ("?since=x", {}, 422, "bad_offset"),
        ("?since=9007199254740992", {}, 422, "bad_offset"),
        ("?since=%C2%B2", {}, 422, "bad_offset"),
        ("?since=" + "1" * 5_000, {}, 422, "bad_offset"),
        ("?epoch=", {}, 422, "bad_epoch"),
        ("?epoch=" + "e" * 65, {}, 422, "bad_epoch"),
        ("", {"Last-Event-ID": "7"}, 422, "bad_epoch"),
        ("", {"Last-Event-ID": "e:"}, 422, "bad_offset"),
        ("?topics=a", {}, 422, "bad_topics"),
        ("?topics=[]", {}, 422, "bad_topics"),
        ("?topics=[1]", {}, 422, "bad_topics"),
        ("?topics=" + "[" * 20_000, {}, 422, "bad_topics"),
        ("?token=x", {}, 422, "unknown_parameter"),
        ("?since=1&since=2", {}, 422, "unknown_parameter"),
        ("?" + "&".join(f"p{n}=1" for n in range(100)), {}, 422, "unknown_parameter"),
        ("", {"Origin": "https://evil.example"}, 403, "origin_refused"),
        ("", {"Origin": "null"}, 403, "origin_refused"),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_what_is_wrong_is_told_before_the_stream_begins(
    store: Pool, query: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with (
        streaming(store, origins=frozenset({"https://app.example"})) as node,
        reading(node, query, **headers) as reader,
    ):
        assert (reader.status, reader.problem["code"]) == (status, code)
        assert reader.problem["status"] == status
        assert len(node.hub) == 0


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (TokenError("token_expired"), 401, "token_expired"),
        (TokenError("token_revoked"), 401, "token_revoked"),
        (TokenError("token_unavailable"), 503, "unavailable"),
        (ConnectionRefusedError(), 503, "unavailable"),
    ],
)
async def test_a_token_that_can_not_be_believed_is_told_apart(
    store: Pool, error: Exception, status: int, code: str
) -> None:
    async def verify(text: str) -> Claims:
        raise error

    async with streaming(store, rights=Rights(verify)) as node, reading(node) as reader:
        assert (reader.status, reader.problem["code"]) == (status, code)
        assert ("retry-after" in reader.headers) == (status == 503)
        assert ("www-authenticate" in reader.headers) == (status == 401)


async def test_pages_of_a_listed_origin_may_read_answers_and_refusals(store: Pool) -> None:
    origin = "https://app.example"
    async with streaming(store, origins=frozenset({origin})) as node:
        for query, status in (("", 200), ("?since=x", 422)):
            async with reading(node, query, Origin=origin) as reader:
                assert (reader.status, reader.headers["access-control-allow-origin"]) == (status, origin)
                assert reader.headers["vary"] == "origin"


async def test_a_header_that_comes_twice_hides_none(store: Pool) -> None:
    listed = frozenset({"https://app.example"})
    async with streaming(store, origins=listed, proxies=Networks("127.0.0.1, 10.0.0.0/8")) as node:
        known = f"authorization: Bearer {token.mint(KEY, 'ann', 600, node.clock.unix())}"
        hops = "x-forwarded-for: 192.0.2.1\r\nx-forwarded-for: 198.51.100.7\r\nx-forwarded-for: 10.0.0.9"
        for lines, status in (
            (f"{known}\r\n{hops}", 200),
            (f"{known}\r\norigin: https://evil.example\r\norigin: https://app.example", 403),
            (f"authorization: Bearer nonsense\r\n{known}", 401),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            writer.write(f"GET {PATH.decode()} HTTP/1.1\r\nhost: x\r\n{lines}\r\n\r\n".encode())
            answer = await reader.readline()
            addresses = [member.describe().address for member in node.hub.members()]
            writer.transport.abort()
            await eventually(lambda: len(node.hub) == 0)
            assert int(answer.split()[1]) == status
            assert addresses == (["198.51.100.7"] if status == 200 else [])


async def test_room_is_shared_with_sockets_and_given_back(store: Pool) -> None:
    async with streaming(store, room=Room(sockets=1)) as node:
        async with reading(node) as first, reading(node) as second:
            assert (first.status, second.status) == (200, 503)
            assert int(second.headers["retry-after"]) >= 1
        await eventually(lambda: not len(node.hub))
        for query in ("?since=x", ""):
            async with reading(node, query) as third:
                assert third.status != 503
            await eventually(lambda: node.gateway.gauges()["sockets"] == 0)


async def test_a_user_may_have_so_many_and_no_more(store: Pool) -> None:
    async with streaming(store, per_user=1) as node, reading(node) as first, reading(node) as second:
        await first.until(lambda r: r.told("welcome"))
        assert await second.until(lambda r: r.close) == {"code": 4007, "reason": "too_many"}
        assert first.close is None


async def test_it_ends_with_its_token_and_says_so(store: Pool) -> None:
    async with streaming(store) as node, reading(node) as reader:
        await reader.until(lambda r: r.told("welcome"))
        node.clock.ahead += 601
        assert await reader.until(lambda r: r.close) == {"code": 4006, "reason": "token_expired"}
        await reader.until(lambda r: r.ended)
        assert len(node.hub) == 0


async def test_a_revoked_or_disconnected_one_ends(store: Pool) -> None:
    async with streaming(store) as node:
        async with reading(node) as reader:
            await reader.until(lambda r: r.told("welcome"))
            now = node.clock.unix()
            node.hub.revoke([Revocation(1, 0, "ann", None, now + 1, now + 900)])
            assert await reader.until(lambda r: r.close) == {"code": 4506, "reason": "revoked"}
        async with reading(node) as reader:
            await reader.until(lambda r: r.told("welcome"))
            node.hub.members()[0].close("disconnected")
            assert await reader.until(lambda r: r.close) == {"code": 4507, "reason": "disconnected"}


async def test_a_revocation_while_rights_are_looked_up_is_not_missed(store: Pool) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def may(claims: Claims, topics: Sequence[str]) -> bool:
        asked.set()
        await go.wait()
        return True

    async with streaming(store) as node:
        node.gateway.rights = Rights(node.gateway.rights.verify, may_subscribe=may)
        reader = Reader(node)
        opening = asyncio.create_task(reader.open('?topics=["news"]'))
        await asked.wait()
        now = node.clock.unix()
        node.hub.revoke([Revocation(1, 0, "ann", None, now + 1, now + 900)])
        go.set()
        await opening
        assert await reader.until(lambda r: r.close) == {"code": 4506, "reason": "revoked"}
        assert (reader.frames, node.hub.publish(0, "news", "{}")) == ([], 0)
        await reader.stop()


async def test_drain_sends_it_elsewhere_with_a_time_to_come_back(store: Pool) -> None:
    async with streaming(store) as node, reading(node) as reader:
        await reader.until(lambda r: r.told("welcome"))
        await asyncio.wait_for(node.gateway.drain(60.0), 30.0)
        assert await reader.until(lambda r: r.close) == {"code": 4000, "reason": "draining"}
        assert 0 <= reader.told("drain")[0]["retry_after"] <= 10
        async with reading(node) as late:
            assert (late.status, "retry-after" in late.headers) == (503, True)


async def test_topics_and_notices_come_through(store: Pool) -> None:
    async def may(claims: Claims, topics: Sequence[str]) -> bool:
        return "secret" not in topics

    async with streaming(store) as node:
        node.gateway.rights = Rights(node.gateway.rights.verify, may_subscribe=may)
        async with reading(node, '?topics=["news","a,b"]') as reader:
            await reader.until(lambda r: r.told("ok"))
            assert [frame["op"] for frame in reader.frames[:2]] == ["welcome", "ok"]
            assert node.hub.publish(0, "a,b", '{"op":"message","topic":"a,b","data":1}') == 1
            assert node.hub.publish(0, "other", '{"op":"message","topic":"other","data":2}') == 0
            node.hub.broadcast(0, '{"op":"notice","data":3}')
            await reader.until(lambda r: r.told("notice"))
            assert [frame["data"] for frame in reader.told("message")] == [1]
        async with reading(node, '?topics=["secret"]') as reader:
            (error,) = await reader.until(lambda r: r.told("error"))
            assert error == {"op": "error", "id": "topics", "code": "forbidden"}
            assert node.hub.publish(0, "secret", "{}") == 0


async def test_a_quiet_stream_shows_that_it_lives(store: Pool) -> None:
    async with streaming(store, Flow(beat=0.05)) as node, reading(node) as reader:
        await reader.until(lambda r: r.comments >= 3)


async def test_a_client_that_does_not_read_costs_little_and_is_let_go(store: Pool) -> None:
    flow = Flow(high=10_000, close_seconds=0.2)
    async with streaming(store, flow, limits=Limits(chunk=4_000)) as node:
        known = token.mint(KEY, "ann", 600, node.clock.unix())
        request = f"GET {PATH.decode()} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {known}\r\n\r\n"
        deaf, writer = await asyncio.open_connection("127.0.0.1", node.port, limit=1)
        writer.write(request.encode())
        await eventually(lambda: len(node.hub) == 1)
        (member,) = node.hub.members()
        while not member.session.held:
            await node.add("ann", 20, body="x" * 4_000)
            await asyncio.sleep(0.01)
        for _ in range(20):
            await node.add("ann", 20, body="x" * 4_000)
        node.hub.broadcast(0, '{"op":"notice"}')
        assert node.gateway.counters.dropped == 1
        assert member._size <= 10_000 + 4_000 + 5_000  # type: ignore[attr-defined]
        async with reading(node, user="ben") as other:
            await node.add("ben")
            await other.titles("item 1")
        node.clock.ahead += 31
        await eventually(lambda: node.gateway.counters.closes["slow_consumer"] == 1)
        await eventually(lambda: node.gateway.gauges()["sockets"] == 0)
        writer.transport.abort()
        del deaf


async def test_a_slow_reader_gets_everything_in_the_end(store: Pool) -> None:
    async with streaming(store, Flow(high=10_000), limits=Limits(chunk=4_000)) as node:
        address = f"http://127.0.0.1:{node.port}{PATH.decode()}"
        headers = {"Authorization": f"Bearer {token.mint(KEY, 'ann', 600, node.clock.unix())}"}
        async with (
            aiohttp.ClientSession(read_bufsize=1_024) as session,
            session.get(address, headers=headers) as answer,
        ):
            await eventually(lambda: len(node.hub) == 1)
            (member,) = node.hub.members()
            n = 0
            while not member.session.held:
                await node.add("ann", 20, body="x" * 4_000)
                n += 20
                await asyncio.sleep(0.01)
            text = ""
            async with asyncio.timeout(60):
                while f'"revision":{n},"more":false' not in text:
                    text += (await answer.content.readany()).decode()
        frames = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: ")]
        seen = [item["revision"] for frame in frames for item in frame.get("items", ())]
        assert seen == list(range(1, n + 1))


async def test_it_is_described_to_operators(store: Pool) -> None:
    async with streaming(store) as node, reading(node, **{"User-Agent": "probe/1"}) as reader:
        await reader.until(lambda r: r.told("welcome"))
        found = node.hub.members()[0].describe()
        assert (found.user, found.transport, found.user_agent, found.address) == ("ann", "sse", "probe/1", "127.0.0.1")
        assert found.id == reader.frames[0]["connection"]


async def test_a_client_that_leaves_is_gone_at_once(store: Pool) -> None:
    async with streaming(store) as node:
        async with reading(node) as reader:
            await reader.until(lambda r: r.told("welcome"))
            assert len(node.hub) == 1
        await eventually(lambda: len(node.hub) == 0)
