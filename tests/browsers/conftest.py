"""A real Firefox that has subscribed, and a real node that knows its subscription, shared by all tests here."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.browsers.rig import Firefox, Person, PushService, keys, project
from tests.clients.rig import Caller, Node
from tests.support import program
from tests.tls import certificate


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    """One loop for all of them, so that the browser is started once."""
    return "asyncio"


@pytest.fixture(scope="package")
def folder() -> Iterator[Path]:
    """Where node and browser keep what is theirs; PostgreSQL's own account must reach it."""
    made = Path(tempfile.mkdtemp(prefix="ulak-firefox-", dir="/tmp"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="package")
def trusted(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """The push service's certificate, and the file to trust it by."""
    return certificate(folder)


@pytest.fixture(scope="package")
async def service(anyio_backend: str, trusted: tuple[ssl.SSLContext, Path]) -> AsyncIterator[PushService]:
    """Where Firefox's pushes come from."""
    async with PushService().running(trusted[0]) as running:
        yield running


@pytest.fixture(scope="package")
def settings(service: PushService, trusted: tuple[ssl.SSLContext, Path]) -> dict[str, Any]:
    """Of the account that the browser subscribes with; 3,993 octets are the most that a push can carry."""
    hosts = [f"127.0.0.1:{service.port}"]
    return {
        "subject": "mailto:push@example.com",
        "hosts": hosts,
        "payload_bytes": 3_993,
        "ca_file": str(trusted[1]),
    } | keys()


@pytest.fixture(scope="package")
async def person(service: PushService) -> AsyncIterator[Person]:
    """Who looks at the page, and the page."""
    async with Person(service).running() as running:
        yield running


@pytest.fixture(scope="package")
async def node(folder: Path, person: Person, settings: dict[str, Any]) -> AsyncIterator[Node]:
    """The node that owns the database."""
    more = {"WEBPUSH_KEY": settings["private_key"], "ULAK_ALLOW_NETWORKS": "127.0.0.1/32"}
    more |= {"ULAK_PUBLIC_URL": "https://ulak.example.com"}
    started = await asyncio.to_thread(Node, folder, person.origin, project(settings), more)
    yield started
    await asyncio.to_thread(started.stop)


@pytest.fixture(scope="package")
async def caller(node: Node, person: Person) -> AsyncIterator[Caller]:
    """Who sends notifications."""
    async with aiohttp.ClientSession() as session:
        person.caller, person.api = await asyncio.to_thread(Caller, node, session), node.url
        yield person.caller


@pytest.fixture(scope="package")
async def firefox(folder: Path, service: PushService, person: Person, caller: Caller) -> AsyncIterator[Person]:
    """The person, once the browser is registered."""
    path = program("firefox-esr", "firefox", package="firefox-esr")
    browser = await asyncio.to_thread(Firefox, path, folder / "profile", service, person.origin)
    try:
        await person.registers()
        yield person
    finally:
        await asyncio.to_thread(browser.stop)
