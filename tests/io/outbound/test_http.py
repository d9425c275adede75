"""Does the guarded client hold against hostile names, servers and replies, and only because of its guards?

Each attack runs against a real server on loopback. Where a test takes ``guarded``, it runs twice: as it
is, and with the one defence switched off, when the attack must succeed; else it would prove nothing.
The operator's allow-list plays the public network (127.0.0.1) and 127.0.0.2 the forbidden one.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import subprocess
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Self

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from ulak.io.outbound import http
from ulak.io.outbound.egress import networks
from ulak.io.outbound.http import HttpClient, unusable
from ulak.providers.contract import HttpReply, HttpRequest, Lost, Phase, Refused

pytestmark = pytest.mark.anyio

PUBLIC = networks(["127.0.0.1/32"])
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A scripted server: records the heads of what it received, then lets ``answer`` speak."""

    def __init__(self, answer: Answer, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.host = host
        self.tls = tls
        self.heads: list[str] = []
        self.connections = 0
        self.serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for task in self.serving:
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heads.append(head.decode("latin-1"))
                await self.answer(reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if not writer.transport.is_closing():  # one that is closed has no loop to abort it
                writer.transport.abort()

    def url(self, host: str | None = None, path: str = "/") -> str:
        return f"http://{host or self.host}:{self.port}{path}"


class Names(AbstractResolver):
    """A resolver with a script: each look-up of a name takes its next list of addresses."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not addresses:
            raise OSError(socket.EAI_NONAME, "no such name")
        return [
            ResolveResult(hostname=host, host=a, port=port, family=socket.AF_INET, proto=0, flags=0) for a in addresses
        ]

    async def close(self) -> None:
        """Nothing to close."""


def says(reply: bytes, close: bool = False) -> Answer:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        if close:
            await writer.drain()
            writer.close()

    return answer


OK = says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\nok")


def get(url: str) -> HttpRequest:
    return HttpRequest("GET", url)


def post(url: str) -> HttpRequest:
    return HttpRequest("POST", url, (("Content-Type", "application/json"),), b"{}")


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    async with HttpClient(PUBLIC) as made:
        yield made


# ------------------------------------------------------------------------------------------- the plain case


async def test_a_reply_comes_whole_and_the_connection_is_used_again(client: HttpClient) -> None:
    async with Peer(OK) as peer:
        reply = await client.send(post(peer.url(path="/hook?a=1")), 30)
        again = await client.send(get(peer.url()), 30)
    assert reply == HttpReply(200, {"content-length": "2", "x-a": "1, 2"}, b"ok")
    assert again == reply
    assert peer.connections == 1
    head = peer.heads[0].lower()
    assert head.startswith("post /hook?a=1 http/1.1\r\n")
    assert "accept-encoding: identity" in head
    assert "cookie" not in head


async def test_cookies_are_not_kept(client: HttpClient) -> None:
    async with Peer(says(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")) as peer:
        await client.send(get(peer.url("127.0.0.1")), 30)
        await client.send(get(peer.url("127.0.0.1")), 30)
    assert "cookie" not in peer.heads[1].lower()


async def test_proxies_from_the_environment_are_ignored(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Peer(OK) as peer, Peer(OK) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url())
        monkeypatch.setenv("HTTP_PROXY", proxy.url())
        assert isinstance(await client.send(get(peer.url()), 30), HttpReply)
    assert proxy.heads == []


# --------------------------------------------------------------------------------------------- the address


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/list/a%2Bb%40example.com", "/list/a%2Bb%40example.com"),
        ("/list/%7e%21?x=1", "/list/%7e%21?x=1"),
        ("/list/ö%40", "/list/%C3%B6@"),
        ("/a/../b%40", "/b@"),
        ("", "/"),
    ],
)
async def test_a_path_that_is_right_goes_as_it_was_built(path: str, sent: str, client: HttpClient) -> None:
    async with Peer(says(b"HTTP/1.1 204 No Content\r\n\r\n")) as peer:
        await client.send(get(peer.url(path=path)), 30)
    assert peer.heads[0].split()[1] == sent


@pytest.fixture(params=[True, False], ids=["guarded", "unguarded"])
def guarded(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def switch_off_the_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "judge_dial", lambda *_: None)


@pytest.mark.parametrize("host", ["127.0.0.2", "[::ffff:127.0.0.2]", "[::ffff:7f00:2]"])
async def test_literals_are_judged(
    host: str, guarded: bool, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Peer(OK, "127.0.0.2") as victim:
        if not guarded:
            switch_off_the_judge(monkeypatch)
        reply = await client.send(get(victim.url(host)), 30)
    assert isinstance(reply, Refused if guarded else HttpReply), reply
    assert victim.connections == (0 if guarded else 1)


SPELLINGS = [
    "127.0.0.1",
    "localhost",
    "[::ffff:127.0.0.1]",
    "0x7f.1",
    "127.1",
    "0177.0.0.1",
    "2130706433",
    "①②⑦.⓪.⓪.①",
]


@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_loopback_gets_through(host: str) -> None:
    async with Peer(OK) as victim, HttpClient() as strict:
        reply = await strict.send(get(victim.url(host)), 30)
    assert isinstance(reply, Refused), reply
    assert victim.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "①②⑦.⓪.⓪.①"])
async def test_without_the_judge_a_spelling_gets_through(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    switch_off_the_judge(monkeypatch)
    async with Peer(OK) as victim, HttpClient() as strict:
        assert isinstance(await strict.send(get(victim.url(host)), 30), HttpReply)


async def test_a_name_that_rebinds_is_judged_on_the_second_dial(guarded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    closing = says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", close=True)
    async with Peer(closing) as public, Peer(closing, "127.0.0.2") as victim:
        victim.server.close()
        victim.server = await asyncio.start_server(victim._serve, "127.0.0.2", public.port)
        async with HttpClient(PUBLIC, resolver=Names(["127.0.0.1"], ["127.0.0.2"])) as client:
            url = public.url("rebind.example")
            assert isinstance(await client.send(get(url), 5), HttpReply)
            client._open().connector.clear_dns_cache()  # type: ignore[union-attr]
            if not guarded:
                switch_off_the_judge(monkeypatch)
            reply = await client.send(get(url), 5)
    assert isinstance(reply, Refused if guarded else HttpReply), reply
    assert victim.connections == (0 if guarded else 1)


async def test_a_name_with_good_and_bad_addresses_only_reaches_the_good_ones() -> None:
    names = Names(["127.0.0.2", "169.254.169.254", "127.0.0.1"])
    async with Peer(OK) as public, HttpClient(PUBLIC, resolver=names) as client:
        assert isinstance(await client.send(get(public.url("mixed.example")), 5), HttpReply)


async def test_a_bad_address_beside_a_dead_good_one_is_lost_not_refused() -> None:
    port = free_port()
    async with HttpClient(PUBLIC, resolver=Names(["127.0.0.1", "127.0.0.2"])) as client:
        reply = await client.send(get(f"http://mixed.example:{port}/"), 5)
    assert reply == Lost(Phase.NOT_SENT, "connect", "ClientConnectorError")


async def test_the_refusal_names_the_reason() -> None:
    async with HttpClient() as strict:
        assert await strict.send(get("http://169.254.169.254/latest/meta-data"), 5) == Refused("address", "link_local")
        assert await strict.send(get("http://1.1.1.1:25/"), 5) == Refused("address", "port")


# -------------------------------------------------------------------------------------------- the redirect


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(
    status: int, guarded: bool, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Peer(OK) as target:
        reply_head = f"HTTP/1.1 {status} Moved\r\nLocation: {target.url()}\r\nContent-Length: 0\r\n\r\n".encode()
        async with Peer(says(reply_head)) as peer:
            if not guarded:
                monkeypatch.setattr(http, "REQUEST_OPTIONS", {})
            reply = await client.send(get(peer.url()), 30)
    assert isinstance(reply, HttpReply)
    assert reply.status == (status if guarded else 200)
    assert target.connections == (0 if guarded else 1)


async def test_a_redirect_to_a_forbidden_address_would_meet_the_judge_too(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "REQUEST_OPTIONS", {})
    metadata = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    async with Peer(says(metadata)) as peer:
        reply = await client.send(get(peer.url()), 30)
    assert reply == Lost(Phase.SENT, "connect", "ClientConnectorError")


# ------------------------------------------------------------------------------------------------ the body


async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _n in range(1_000):
        writer.write(b"x" * 65_536)
        await writer.drain()
    writer.close()


async def test_an_endless_body_costs_no_more_than_the_cap(guarded: bool, client: HttpClient) -> None:
    if not guarded:
        client._body_cap = 1 << 40
    async with Peer(endless) as peer:
        tracemalloc.start()  # what the whole process has ever used would depend on the tests before
        try:
            reply = await client.send(get(peer.url()), 60)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert isinstance(reply, HttpReply)
    assert (len(reply.body) == http.BODY_CAP) is guarded
    assert (most < 32_000_000) is guarded


async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _n in range(20):
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.1)
    writer.close()


async def test_the_deadline_covers_a_trickling_body(guarded: bool, client: HttpClient) -> None:
    async with Peer(trickle) as peer:
        reply = await client.send(get(peer.url()), 1.0 if guarded else 60)
    assert reply == Lost(
        Phase.SENT, "timeout" if guarded else "cut_off", "TimeoutError" if guarded else "ClientPayloadError"
    )


async def test_a_bomb_is_not_unpacked(guarded: bool, client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(bytes(8 << 20))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    if not guarded:
        monkeypatch.setattr(http, "SESSION_OPTIONS", {**http.SESSION_OPTIONS, "auto_decompress": True})
    async with Peer(says(head + bomb)) as peer:
        reply = await client.send(get(peer.url()), 30)
    assert isinstance(reply, HttpReply)
    assert len(reply.body) <= http.BODY_CAP
    assert reply.body.startswith(b"\x1f\x8b") is guarded


@pytest.mark.parametrize(
    "fields",
    [b"X-Long: " + b"a" * 9_000 + b"\r\n", b"".join(b"X-%d: a\r\n" % n for n in range(120))],
    ids=["long", "many"],
)
async def test_huge_headers_are_cut_off(
    fields: bytes, guarded: bool, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not guarded:
        wide = {"max_line_size": 1 << 30, "max_field_size": 1 << 30, "max_headers": 1 << 30}
        monkeypatch.setattr(http, "SESSION_OPTIONS", {**http.SESSION_OPTIONS, **wide})
    async with Peer(says(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 0\r\n\r\n")) as peer:
        reply = await client.send(get(peer.url()), 30)
    assert isinstance(reply, Lost if guarded else HttpReply), reply
    if isinstance(reply, Lost):
        assert reply.phase is Phase.SENT
        assert reply.reason == "bad_reply"


# ---------------------------------------------------------------------------------------------- the phases


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_refused_connection_was_not_sent(client: HttpClient) -> None:
    reply = await client.send(post(f"http://127.0.0.1:{free_port()}/"), 5)
    assert reply == Lost(Phase.NOT_SENT, "connect", "ClientConnectorError")


async def test_an_unknown_name_was_not_sent() -> None:
    async with HttpClient(PUBLIC, resolver=Names([])) as client:
        reply = await client.send(post("http://nowhere.example/"), 5)
    assert reply == Lost(Phase.NOT_SENT, "dns", "ClientConnectorDNSError")


async def test_a_resolver_that_hangs_meets_the_deadline_unsent() -> None:
    class Hanging(Names):
        async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
            await asyncio.Event().wait()
            raise AssertionError

    async with HttpClient(PUBLIC, resolver=Hanging([])) as client:
        reply = await client.send(post("http://slow.example/"), 0.2)
    assert reply == Lost(Phase.NOT_SENT, "timeout", "TimeoutError")


async def test_silence_after_the_request_is_sent(client: HttpClient) -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with Peer(silent) as peer:
        reply = await client.send(post(peer.url()), 2.0)
    assert reply == Lost(Phase.SENT, "timeout", "TimeoutError")


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
async def test_a_cut_connection_is_sent_and_never_tried_again_by_itself(
    method: str, guarded: bool, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def plain(request: object, handler: Callable[[object], Awaitable[object]]) -> object:
        return await handler(request)

    if not guarded:
        monkeypatch.setattr(http, "_once", plain)
    async with Peer(says(b"", close=True)) as peer:
        reply = await client.send(HttpRequest(method, peer.url()), 30)
    assert isinstance(reply, Lost)
    assert reply.phase is Phase.SENT
    if guarded:
        assert reply.reason == "cut_off"
    assert len(peer.heads) == (1 if guarded or method == "POST" else 2)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
async def test_a_body_cut_short_is_lost_not_an_answer(reply: bytes, client: HttpClient) -> None:
    async with Peer(says(reply, close=True)) as peer:
        assert await client.send(post(peer.url()), 30) == Lost(Phase.SENT, "cut_off", "ClientPayloadError")


@pytest.mark.parametrize(
    "junk", [b"220 smtp ready\r\n", b"\x00\xff\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"SSH-2.0-x\r\n"]
)
async def test_what_is_not_http_is_a_bad_reply(junk: bytes, client: HttpClient) -> None:
    async with Peer(says(junk, close=True)) as peer:
        reply = await client.send(post(peer.url()), 30)
    assert isinstance(reply, Lost)
    assert reply.phase is Phase.SENT


# ------------------------------------------------------------------------------------------------- the TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=good.example"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:good.example", "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
    )
    return cert, key


def serving(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.mark.parametrize(
    ("host", "trusted", "expected"),
    [("good.example", True, 200), ("bad.example", True, "certificate"), ("good.example", False, "certificate")],
)
async def test_certificate_and_name_are_verified(
    host: str, trusted: bool, expected: object, certificate: tuple[Path, Path]
) -> None:
    trust = ssl.create_default_context(cafile=str(certificate[0])) if trusted else None
    async with (
        Peer(OK, tls=serving(certificate)) as peer,
        HttpClient(PUBLIC, resolver=Names(["127.0.0.1"]), tls=trust) as client,
    ):
        reply = await client.send(post(f"https://{host}:{peer.port}/"), 30)
    if expected == 200:
        assert isinstance(reply, HttpReply)
    else:
        assert reply == Lost(Phase.NOT_SENT, "certificate", "ClientConnectorCertificateError")
        assert peer.heads == []


async def test_a_server_without_tls_was_not_sent_anything(client: HttpClient) -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 No\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reply = await client.send(post(f"https://127.0.0.1:{port}/"), 5)
    assert isinstance(reply, Lost)
    assert (reply.phase, reply.reason) == (Phase.NOT_SENT, "tls")


def test_a_context_that_does_not_verify_is_not_taken() -> None:
    lax = ssl.create_default_context()
    lax.check_hostname = False
    with pytest.raises(ValueError, match="must verify"):
        HttpClient(tls=lax)


# --------------------------------------------------------------------------------------------- the request


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("gopher://127.0.0.1:25/", "scheme"),
        ("//example.com/", "scheme"),
        ("", "scheme"),
        ("http:///path", "url"),
        ("http://user:pass@example.com/", "userinfo"),
        ("http://user@example.com/", "userinfo"),
        ("http://@example.com/", "userinfo"),
        ("http://example.com\\@evil.example/", "url"),
        ("http://example.com/\r\nX: y", "url"),
        ("http://exa mple.com/", "url"),
        ("http://example.com:99999/", "url"),
        ("http://example.com:-1/", "url"),
        ("http://[::1/", "url"),
        ("http://example.com/" + "a" * 5_000, "url"),
        ("http://example.com/\x00", "url"),
    ],
)
async def test_an_unusable_url_is_refused_before_anything_is_resolved(
    url: str, reason: str, client: HttpClient
) -> None:
    reply = await client.send(get(url), 5)
    assert isinstance(reply, Refused)
    assert reply.reason == reason


@pytest.mark.parametrize(
    "host", ["a" * 64 + ".example", "a..example", "xn--a", "%", "\u2024", "exa_mple.invalid", "[v1.a]"]
)
async def test_a_strange_host_is_a_value_not_an_exception(host: str) -> None:
    async with HttpClient() as strict:
        assert isinstance(await strict.send(get(f"http://{host}/"), 5), Refused | Lost)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "a"),
        ("Content-Length", "1"),
        ("transfer-encoding", "chunked"),
        ("X-A", "a\r\nB: c"),
        ("X A", "b"),
        ("", "a"),
        ("X", "\u2028"),
    ],
)
def test_header_fields_that_would_change_the_framing_are_refused(name: str, value: str) -> None:
    refused = unusable(HttpRequest("GET", "http://example.com/", ((name, value),)))
    assert isinstance(refused, Refused)
    assert refused.reason == "header"


def test_a_method_must_be_a_token() -> None:
    refused = unusable(HttpRequest("GET / HTTP/1.1\r\nX:", "http://example.com/"))
    assert isinstance(refused, Refused)
    assert refused.reason == "method"


async def test_plain_http_can_be_closed() -> None:
    async with HttpClient(PUBLIC, schemes=("https",)) as client:
        assert await client.send(get("http://127.0.0.1/"), 5) == Refused("scheme", "only https")
