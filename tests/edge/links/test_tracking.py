"""Is a click noted once, told as a click and never as "read", and does it lead where it was made for?"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from uuid import UUID

import pytest

from tests.edge.api.harness import NOW, Answer, call
from tests.flow.harness import PROJECT, body, open_node, plan_all, prepare, put_users, send, states
from tests.flow.station import station
from ulak.core.link import Click, make
from ulak.core.loaded import Loaded
from ulak.core.model import Mark
from ulak.core.project import load
from ulak.edge.links import LinkDeps, LinkDoor
from ulak.io.links import Linker
from ulak.io.postgres.consents import Consents
from ulak.io.postgres.gate import SENDING
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.secrets import Purpose, Secrets
from ulak.io.postgres.tracking import Tracking

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

TYPES = """
[types.clicky]
category = "orders"
class = "transactional"
template = "order"
track = ["opens", "clicks"]
route = [{ channel = "email" }, { channel = "in_app", after = "1h", unless = "clicked" }]

[types.ready]
category = "orders"
class = "transactional"
template = "order"
route = [{ channel = "email" }, { channel = "in_app", after = "1h", unless = "read" }]
"""
WHERE = "https://shop.example/orders?id=7"


@dataclass
class World:
    """A door, and a message of each type that was sent to Ada."""

    pool: Pool
    app: LinkDoor
    linker: Linker
    ids: dict[str, UUID]

    def path(self, kind: str, *, click: bool) -> str:
        one = self.linker
        url = one.click(0, self.ids[kind], WHERE) if click else one.shown(0, self.ids[kind])
        return (url or "").removeprefix("https://n.example.com")

    async def visit(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return await call(self.app, method, path, token=None, headers=headers)

    async def noted(self) -> list[tuple[str, str]]:
        rows = await self.pool.fetch("SELECT kind, source FROM receipts ORDER BY id")
        return [(row["kind"], row["source"]) for row in rows]

    async def masks(self) -> list[int]:
        return [row["mask"] for row in await self.pool.fetch("SELECT mask FROM markers")]


@pytest.fixture
async def world(store: Pool) -> World:
    files = {**PROJECT, "ulak.toml": PROJECT["ulak.toml"] + TYPES}
    await prepare(store, files)
    await put_users(store, "ada")
    node = await open_node(store)
    node.acceptor.start()
    ids = {}
    for kind in ("clicky", "ready"):
        await send(node, body(kind, "ada"))
        await plan_all(node)
        async with station(node) as one:
            await one.work()
        ids[kind] = await store.fetchval("SELECT id FROM deliveries WHERE channel = 'email' ORDER BY id DESC LIMIT 1")
    await node.acceptor.stop()
    linker = Linker(Secrets(store), "https://n.example.com", os.urandom, time.monotonic)
    await linker.ready()
    catalog = Loaded.of(load(files))
    deps = LinkDeps(linker, Consents(store), Tracking(store), lambda _: catalog, lambda: NOW, lambda: 0.0)
    return World(store, LinkDoor(deps), linker, ids)


async def test_a_click_leads_on_and_is_noted_once(world: World) -> None:
    for _ in range(3):
        answer = await world.visit(world.path("clicky", click=True))
        assert (answer.status, answer.headers["location"], answer.body) == (302, WHERE, b"")
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert await world.noted() == [("clicked", "link")]
    assert await world.masks() == [int(Mark.CLICKED | Mark.DELIVERED)]
    row = await world.pool.fetchrow(
        "SELECT state, clicked_at, read_at FROM deliveries WHERE id = $1", world.ids["clicky"]
    )
    assert row is not None
    assert (row["state"], row["clicked_at"], row["read_at"]) == ("delivered", NOW, None)


async def test_whoever_waits_for_read_is_not_told_by_a_click_or_an_open(world: World) -> None:
    for click in (True, False):
        await world.visit(world.path("ready", click=click))
    assert await world.noted() == [("clicked", "link"), ("opened", "link")]
    assert await world.masks() == []


async def test_a_picture_tells_that_a_message_was_shown(world: World) -> None:
    answer = await world.visit(world.path("clicky", click=False))
    assert (answer.status, answer.headers["content-type"], answer.body[:6]) == (200, "image/gif", b"GIF89a")
    assert await world.noted() == [("opened", "link")]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("HEAD", {}),
        ("GET", {"sec-purpose": "prefetch;prerender"}),
        ("GET", {"purpose": "prefetch"}),
        ("GET", {"x-purpose": "preview"}),
        ("GET", {"x-moz": "prefetch"}),
        ("POST", {}),
    ],
)
async def test_what_a_program_fetches_ahead_is_not_noted(world: World, method: str, headers: dict[str, str]) -> None:
    for click in (True, False):
        answer = await world.visit(world.path("clicky", click=click), method, **headers)
        assert answer.status == (405 if method == "POST" else 302 if click else 200)
    assert await world.noted() == []


async def test_it_is_no_open_redirect(world: World) -> None:
    secrets = await Secrets(world.pool).all(Purpose.LINK)
    (kid, secret), *_ = secrets.items()
    forged = make(Click(0, world.ids["clicky"], "https://evil.example"), kid, b"x" * 32)
    wrong = [
        forged,
        "https://evil.example",
        "?url=https://evil.example",
        world.path("clicky", click=True)[3:-4],
    ]
    wrong += [
        make(Click(0, world.ids["clicky"], url), kid, secret) for url in ("javascript:alert(1)", "https://a\r\nb: c")
    ]
    for token in wrong:
        answer = await world.visit(f"/t/{token}")
        assert answer.status == 404
        assert "location" not in answer.headers
    choices = world.linker.choices(0, "ada", "email", "orders", world.ids["clicky"])
    assert choices is not None
    assert (await world.visit(choices.unsubscribe.replace("https://n.example.com/u/", "/t/"))).status == 404
    assert await world.noted() == []


async def test_nobody_is_kept_from_where_he_goes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ulak.io.postgres.gate.FORBIDDING", "SET LOCAL lock_timeout = '50ms'; LOCK TABLE gate IN SHARE MODE"
    )
    async with world.pool.transaction(SENDING):
        assert (await world.visit(world.path("clicky", click=True))).status == 302
    assert await world.noted() == []
    assert set((await states(world.pool)).values()) <= {"accepted", "held"}
