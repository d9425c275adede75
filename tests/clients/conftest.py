"""A browser, a node and all between them, shared by the tests of the browser client."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from tests.clients.rig import CLIENT, Caller, Node, Site, Tab, Wire
from tests.support import from_npm, program

Open = Callable[..., Awaitable[Tab]]


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    """One loop for all of them, so that browser and node are started once."""
    return "asyncio"


@pytest.fixture(scope="package")
def tools() -> Path:
    """The folder of the pinned TypeScript and esbuild, installed once for each state of the lock file."""
    return from_npm(CLIENT, "js", "TypeScript and esbuild")


@pytest.fixture(scope="package")
async def browser(anyio_backend: str) -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    path = program("chromium", "chromium-browser", "google-chrome", package="chromium")
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        await found.close()


@pytest.fixture(scope="package")
async def site(anyio_backend: str) -> AsyncIterator[Site]:
    """Where the page comes from."""
    async with Site().running() as running:
        yield running


@pytest.fixture(scope="package")
def folder() -> Iterator[Path]:
    """Where nodes keep what is theirs; PostgreSQL's own account must reach it."""
    made = Path(tempfile.mkdtemp(prefix="ulak-browser-", dir="/tmp"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="package")
async def node(folder: Path, site: Site) -> AsyncIterator[Node]:
    """The node that owns the database."""
    started = await asyncio.to_thread(Node, folder, site.origin)
    yield started
    await asyncio.to_thread(started.stop)


@pytest.fixture(scope="package")
async def caller(node: Node, site: Site) -> AsyncIterator[Caller]:
    """Who sends notifications."""
    async with aiohttp.ClientSession() as session:
        site.caller = await asyncio.to_thread(Caller, node, session)
        yield site.caller


@pytest.fixture
async def wire(node: Node, site: Site) -> AsyncIterator[Wire]:
    """The way from the browser to the node."""
    site.tokens, site.spoilt = 0, False
    async with Wire(node.port).running() as running:
        yield running


@pytest.fixture
def user() -> str:
    """A user that no other test knows."""
    return f"u-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A browser of one person: tabs in it share storage, locks and channels."""
    made = await browser.new_context()
    yield made
    await made.close()


@pytest.fixture
def opened(context: BrowserContext, site: Site, wire: Wire, caller: Caller, user: str) -> Open:
    """Opens tabs with the user's inbox in them."""

    async def open_tab(where: BrowserContext = context, *, clock: bool = False, **options: object) -> Tab:
        page = await where.new_page()
        if clock:
            await page.clock.install()
        await page.goto(site.origin)
        await page.wait_for_function("() => window.begin")
        await page.evaluate("(options) => begin(options)", {"url": wire.url, "user": user, **options})
        return Tab(page)

    return open_tab
