"""Does a row become its message: with its files, in its user's time, and with an outcome where it can't?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.flow.harness import body, open_node, plan_all, prepare, send, states
from tests.flow.station import MAIL, Options, Scripted, station
from ulak.core.content.email import MAX_ATTACHED, Attachment, EmailContent, Linked
from ulak.core.outcome import Kind, Outcome, accepted
from ulak.flow.attempt import Route, attachments
from ulak.flow.attempt.messages import Maker, NoFiles
from ulak.io.outbound.egress import networks
from ulak.io.outbound.http import HttpClient
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.users import Profile, Users
from ulak.node import Node
from ulak.providers.contract import Capabilities, HttpReply, HttpRequest, Lost, Message, Phase, Refused

PROJECT = {
    "ulak.toml": """
[email]
from = "Octo <octo@example.com>"
[locales]
timezone = "Europe/Berlin"
[accounts.mail]
channel = "email"
provider = "noop"
[types.bill]
category = "orders"
class = "transactional"
route = [{ channel = "email" }]
""",
    "templates/bill/email.en.md": """+++
subject = "Bill of {{ data.at | datetime }}"
attachments = [
  { url = "{{ data.file }}", name = "bill {{ data.n }}.pdf", type = "application/pdf" },
  { url = "{{ data.logo }}", inline = "logo" },
]
+++
![]({{ "cid:logo" }}) {{ data.at | time }}
""",
}
Reply = HttpReply | Lost | Refused

pytestmark = pytest.mark.anyio


class Web:
    """Files by URL; what is asked for is written down."""

    def __init__(self, pages: Mapping[str, Reply]) -> None:
        self.pages = pages
        self.asked: list[str] = []

    async def send(self, request: HttpRequest, deadline: float) -> Reply:
        assert request.method == "GET"
        assert 0 < deadline <= attachments.PATIENCE
        self.asked.append(request.url)
        return self.pages[request.url]


def ok(data: bytes, kind: str = "image/png") -> HttpReply:
    return HttpReply(200, {"content-type": kind}, data)


LINK = Linked("https://files.example/a%20b.pdf?secret=1")


@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        (HttpReply(404, {}, b"x"), Kind.PAYLOAD_ERROR, "attachment_missing"),
        (HttpReply(403, {}, b"x"), Kind.PAYLOAD_ERROR, "attachment_missing"),
        (HttpReply(302, {"location": "http://10.0.0.1/"}, b""), Kind.PAYLOAD_ERROR, "attachment_missing"),
        (HttpReply(206, {}, b"x"), Kind.PAYLOAD_ERROR, "attachment_missing"),
        (HttpReply(500, {}, b"x"), Kind.RETRY, "attachment_unavailable"),
        (HttpReply(429, {}, b"x"), Kind.RETRY, "attachment_unavailable"),
        (Lost(Phase.NOT_SENT, "dns"), Kind.RETRY, "attachment_unavailable"),
        (Lost(Phase.SENT, "cut_off"), Kind.RETRY, "attachment_unavailable"),
        (Refused("address", "loopback"), Kind.PAYLOAD_ERROR, "attachment_refused"),
        (ok(b""), Kind.PAYLOAD_ERROR, "attachment_empty"),
        (ok(b"x" * 101), Kind.PAYLOAD_ERROR, "attachment_too_big"),
        (HttpReply(200, {"content-encoding": "gzip"}, b"x"), Kind.PAYLOAD_ERROR, "attachment_encoded"),
    ],
)
def test_what_a_file_server_says_decides_what_becomes_of_the_message(reply: Reply, kind: Kind, reason: str) -> None:
    made = attachments.read(reply, LINK, 100)
    assert isinstance(made, Outcome)
    assert (made.kind, made.reason) == (kind, reason)
    assert "secret" not in made.detail


@pytest.mark.parametrize(
    ("link", "told", "made"),
    [
        (LINK, "application/pdf; charset=x", ("a b.pdf", "application/pdf", None)),
        (LINK, "text/html\r\nBcc: x", ("a b.pdf", "application/octet-stream", None)),
        (Linked("https://x.y", "n.txt", "text/plain", "c"), "image/png", ("n.txt", "text/plain", "c")),
        (Linked("https://x.y"), "", ("file", "application/octet-stream", None)),
    ],
)
def test_a_file_has_the_name_and_type_that_the_template_or_its_server_says(
    link: Linked, told: str, made: tuple[str, str, str | None]
) -> None:
    assert attachments.read(ok(b"x", told), link, 100) == Attachment(made[0], made[1], b"x", made[2])


async def test_files_share_one_limit_and_are_asked_for_in_turn() -> None:
    half = MAX_ATTACHED // 2
    urls = [f"https://x.y/{n}" for n in range(3)]
    content = EmailContent("o@x.yy", "s", "t", linked=tuple(Linked(url) for url in urls))
    web = Web({urls[0]: ok(b"x" * half), urls[1]: ok(b"x" * (half + 1)), urls[2]: ok(b"x")})
    made = await attachments.fetched(content, web, lambda: 0.0)
    assert isinstance(made, Outcome)
    assert made.reason == "attachment_too_big"
    assert web.asked == urls[:2]
    web = Web(dict.fromkeys(urls, ok(b"x")))
    made = await attachments.fetched(content, web, lambda: 0.0)
    assert isinstance(made, EmailContent)
    assert (len(made.attachments), made.linked) == (3, ())


@pytest.mark.parametrize(
    ("allowed", "made"), [((), "attachment_refused"), (("127.0.0.1/32",), "bill.pdf")], ids=["no", "yes"]
)
async def test_files_come_through_the_guard(allowed: tuple[str, ...], made: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\nContent-Length: 4\r\n\r\n%PDF")
        writer.close()

    async with (
        await asyncio.start_server(answer, "127.0.0.1", 0) as server,
        HttpClient(networks(allowed), body_cap=attachments.BODY_CAP) as client,
    ):
        port = server.sockets[0].getsockname()[1]
        content = EmailContent("o@x.yy", "s", "t", linked=(Linked(f"http://127.0.0.1:{port}/bill.pdf"),))
        found = await attachments.fetched(content, client, time.monotonic)
    assert (found.reason if isinstance(found, Outcome) else found.attachments[0].filename) == made


pg = pytest.mark.pg


class Rendering(Scripted):
    """A scripted vendor that wants content."""

    def __init__(self) -> None:
        super().__init__()
        self.CAPABILITIES = Capabilities(channel=MAIL.channel)


@pytest.fixture
async def node(store: Pool) -> AsyncIterator[Node]:
    """A node of which only the acceptor runs; planning and sending are done by hand."""
    await prepare(store, PROJECT)
    made = await open_node(store)
    made.acceptor.start()
    yield made
    await made.acceptor.stop()


async def run(node: Node, files: Any, data: dict[str, Any]) -> tuple[list[Message], dict[tuple[str, str], str]]:
    """Send a bill to one user and say what the vendor was given, and what became of it."""
    await Users(node.pool).put(0, "ada", Profile(email="ada@example.com", locale="en-GB", timezone="Asia/Tokyo"))
    await send(node, body("bill", "ada", data=data))
    await plan_all(node)
    async with station(node, lambda _: accepted(), Options()) as at:
        at.worker.route = Route(MAIL, Rendering(), at.vendor)
        at.worker._maker = Maker(node.pool, node.catalogs, lambda: 0.0, files)
        await at.work()
        return at.vendor.sent, await states(node.pool)


@pg
async def test_a_message_has_its_files_and_its_users_time(node: Node) -> None:
    web = Web({"https://f.example/7": ok(b"%PDF"), "https://f.example/l.png": ok(b"\x89PNG")})
    data = {"at": "2026-11-22T12:00:00Z", "n": 7, "file": "https://f.example/7", "logo": "https://f.example/l.png"}
    (message,), found = await run(node, web, data)
    content = message.content
    assert isinstance(content, EmailContent)
    assert content.subject == "Bill of 22 Nov 2026, 21:00"
    assert content.attachments == (
        Attachment("bill 7.pdf", "application/pdf", b"%PDF"),
        Attachment("l.png", "image/png", b"\x89PNG", "logo"),
    )
    assert set(found.values()) == {"accepted"}


@pg
async def test_without_an_address_there_is_no_file(node: Node) -> None:
    (message,), _ = await run(node, NoFiles(), {"at": 0})
    content = message.content
    assert isinstance(content, EmailContent)
    assert (content.attachments, content.linked) == ((), ())


@pg
@pytest.mark.parametrize(
    ("reply", "state"),
    [(HttpReply(404, {}, b""), "dead:bad_payload"), (Lost(Phase.NOT_SENT, "dns"), "retrying:vendor_trouble")],
    ids=["no", "later"],
)
async def test_a_message_without_its_file_is_not_sent(node: Node, reply: Reply, state: str) -> None:
    sent, found = await run(node, Web({"https://f.example/7": reply}), {"at": 0, "file": "https://f.example/7"})
    assert sent == []
    assert set(found.values()) == {state}


@pg
async def test_a_link_that_is_none_fails_the_message(node: Node) -> None:
    sent, found = await run(node, Web({}), {"at": 0, "file": "file:///etc/passwd"})
    assert sent == []
    assert set(found.values()) == {"dead:bad_payload"}
