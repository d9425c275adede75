"""Does SendGrid's published description of its API admit our requests?

The description is SendGrid's (``tsg_mail_v3.json`` of github.com/twilio/sendgrid-oai, MIT) and not part of this
repository: name a downloaded copy in ``ULAK_SENDGRID_OPENAPI``. Without it the sandbox, which is as strict, judges
our requests in ``tests/sandbox/test_vendors.py``.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.support import eventually, from_npm
from ulak.core.content.email import Attachment, EmailContent
from ulak.core.model import Account, Channel
from ulak.io.outbound.vendor import VendorSender
from ulak.providers.contract import HttpReply, HttpRequest, Links, Message
from ulak.providers.email import sendgrid

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(400)]

HERE = Path(__file__).parent
FULL = EmailContent(
    "Öcto <octo@example.com>",
    "Grüße",
    "text",
    "<p>html</p>",
    reply_to="Support <support@example.com>",
    language="de",
    attachments=(
        Attachment("a.pdf", "application/pdf", b"%PDF"),
        Attachment("logo.png", "image/png", b"\x89PNG", "logo"),
    ),
    tags=tuple(f"tag{number}" for number in range(12)),
    metadata=(("order", "42"),),
)
PLAIN = EmailContent("octo@example.com", "Hello", "text")


@pytest.fixture(scope="module")
def prism() -> Path:
    """The judge, installed once for each state of the lock file."""
    return from_npm(HERE, "oracles", "prism") / "prism"


@pytest.fixture(scope="module")
def description() -> Path:
    """SendGrid's own file."""
    given = os.environ.get("ULAK_SENDGRID_OPENAPI")
    if not given:
        pytest.skip("ULAK_SENDGRID_OPENAPI names no copy of SendGrid's tsg_mail_v3.json")
    return Path(given)


@pytest.fixture(scope="module")
def judge(description: Path, prism: Path) -> Iterator[str]:
    """A server that checks every request against the description."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [str(prism), "mock", "--errors", "--host", "127.0.0.1", "--port", str(port), str(description)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
async def sender() -> AsyncIterator[VendorSender]:
    """What a node sends by, allowed to reach this machine."""
    one = VendorSender(Account("mail", "sendgrid", Channel.EMAIL), [ip_network("127.0.0.1/32")])
    yield one
    await one.close()


async def ask(sender: VendorSender, request: HttpRequest) -> HttpReply:
    async def once() -> HttpReply | None:
        reply = await sender.send(request, 20)
        return reply if isinstance(reply, HttpReply) else None

    reply = await eventually(once, within=60, every=0.2, what="prism to answer")
    assert isinstance(reply, HttpReply)
    return reply


def request_of(judge: str, content: EmailContent) -> HttpRequest:
    settings: dict[str, object] = {"api_key": "SG.x", "endpoint": judge, "ip_pool": "main"}
    account = Account("mail", "sendgrid", Channel.EMAIL, settings=settings)
    links = Links("https://example.com/u/x")
    now = datetime.now(UTC)
    message = Message("dlv_1", "att_1_1", "ada@example.com", content, now, type="t", category="c", links=links)
    return sendgrid.build([message], account, now)


@pytest.mark.parametrize("content", [FULL, PLAIN, replace(FULL, html=None, attachments=())])
async def test_the_description_admits_what_we_send(content: EmailContent, judge: str, sender: VendorSender) -> None:
    reply = await ask(sender, request_of(judge, content))
    assert (reply.status, reply.body) == (202, b"")


async def test_the_judge_would_notice(judge: str, sender: VendorSender) -> None:
    request = request_of(judge, PLAIN)
    for wrong in (b'"personalizations"', b'"from"', b'"email"'):
        reply = await ask(sender, replace(request, body=request.body.replace(wrong, b'"other"', 1)))
        assert reply.status in {400, 422}, reply.body
    reply = await ask(sender, replace(request, headers=request.headers[1:]))
    assert reply.status == 401
