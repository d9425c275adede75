"""Does the page work in a real browser under its own policy, without a script?"""

from __future__ import annotations

import os
import time
from contextlib import AsyncExitStack
from uuid import UUID

import pytest
from playwright.async_api import async_playwright

from tests.edge.api.harness import LOADED, NOW
from tests.journeys.test_vendors import serving
from tests.support import program
from ulak.edge.links import LinkDeps, LinkDoor
from ulak.io.links import Linker
from ulak.io.postgres.consents import Consents
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.secrets import Secrets
from ulak.io.postgres.tracking import Tracking

pytestmark = [pytest.mark.anyio, pytest.mark.pg, pytest.mark.browser]


async def test_a_person_unsubscribes_changes_his_mind_and_chooses(store: Pool) -> None:
    linker = Linker(Secrets(store), "http://127.0.0.1", os.urandom, time.monotonic)
    await linker.ready()
    links = linker.choices(0, "ada", "email", "issues", UUID(int=7))
    assert links is not None
    consents = Consents(store)
    deps = LinkDeps(linker, consents, Tracking(store), lambda _: LOADED, lambda: NOW, time.monotonic)
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(serving(LinkDoor(deps)))
        playwright = await stack.enter_async_context(async_playwright())
        path = program("chromium", "chromium-browser", "google-chrome", package="chromium")
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        stack.push_async_callback(browser.close)
        tab = await (await browser.new_context(java_script_enabled=False, locale="en-GB")).new_page()
        refused: list[str] = []
        tab.on("console", lambda message: refused.append(message.text))
        await tab.goto(links.unsubscribe.replace("http://127.0.0.1", base))
        button = tab.get_by_role("button")
        assert await button.inner_text() == "Unsubscribe"
        # The page's own style is in force, so its policy names it.
        assert await button.evaluate("node => getComputedStyle(node).backgroundColor") == "rgb(29, 78, 216)"
        await button.click()
        assert await tab.get_by_role("status").is_visible()
        assert [(c.category, c.channel, c.allowed) for c in await consents.chosen(0, "ada")] == [
            ("issues", "email", False)
        ]
        await tab.get_by_role("button", name="Get it again").click()
        assert await consents.chosen(0, "ada") == []
        await tab.goto(links.preferences.replace("http://127.0.0.1", base))
        await tab.get_by_label("email").uncheck()
        await tab.get_by_role("button", name="Save").click()
        assert not await tab.get_by_label("email").is_checked()
        assert await tab.get_by_label("inbox").is_checked()
        assert [(c.channel, c.allowed) for c in await consents.chosen(0, "ada")] == [("email", False)]
        assert refused == []
