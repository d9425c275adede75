"""Does a strict server of other people's making find anything to object to?"""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support import eventually, program
from tests.tls import certificate
from ulak.io.outbound import tls
from ulak.io.outbound.egress import networks
from ulak.io.outbound.http2 import Http2Client, Options
from ulak.providers.contract import HttpReply, HttpRequest

pytestmark = pytest.mark.anyio

PUBLIC = networks(["127.0.0.1/32"])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _start(folder: Path, port: int, ca: Path) -> subprocess.Popen[bytes]:
    options = ["--echo-upload", "-m", "7", "-d", str(folder), "--address=127.0.0.1"]
    binary = program("nghttpd", package="nghttp2-server")
    return subprocess.Popen([binary, *options, str(port), str(folder / "key.pem"), str(ca)])


@pytest.fixture
async def nghttpd(tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """The URL of a server that gives back what it is sent, 7 requests at a time, and the certificate to trust."""
    _, ca = certificate(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = _start(tmp_path, port, ca)
    try:
        await eventually(lambda: _listens(port), within=30)
        yield f"https://127.0.0.1:{port}", ca
    finally:
        server.terminate()
        server.wait()


async def test_hundreds_of_requests_of_all_sizes_come_back(nghttpd: tuple[str, Path]) -> None:
    url, ca = nghttpd
    client = Http2Client(PUBLIC, Options(connections=2), tls=tls.context(str(ca), ("h2",)))
    bodies = [bytes([n % 256]) * size for n, size in enumerate([1, 350, 4_096, 16_384, 19_999] * 60)]
    fields = (("authorization", "bearer " + "x" * 300), ("apns-topic", "org.example"))
    requests = [HttpRequest("POST", f"{url}/3/device/{n}", fields, body) for n, body in enumerate(bodies)]
    try:
        replies = await asyncio.gather(*(client.send(request, 90) for request in requests))
    finally:
        await client.aclose()
    assert {reply.status for reply in replies if isinstance(reply, HttpReply)} == {200}
    assert [reply.body for reply in replies if isinstance(reply, HttpReply)] == bodies
