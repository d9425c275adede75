"""Does a "no" by a link hold from its answer on, for mail that is on its way in many batches on several nodes?"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.edge.api.harness import call
from tests.flow.harness import PROJECT, body, open_node, prepare, put_users, send, states
from tests.support import eventually
from ulak.core.loaded import Loaded
from ulak.edge.links import LinkDeps, LinkDoor
from ulak.flow.attempt import worker
from ulak.io.postgres import attempting
from ulak.io.postgres.consents import Consents
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.tracking import Tracking
from ulak.node import Node
from ulak.sandbox.server import Options, Sandbox

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

BASE = "https://n.example.com"
FORM = {"content-type": "application/x-www-form-urlencoded"}
OPEN = "SELECT (SELECT count(*) FROM plan_work) + (SELECT count(*) FROM deliveries WHERE settled_at IS NULL)"
ATTEMPTS = (
    "SELECT d.user_id, count(*) AS n FROM attempts a JOIN deliveries d ON d.tenant = a.tenant AND d.id = a.delivery"
    " WHERE d.user_id = ANY ($1::text[]) GROUP BY d.user_id"
)


def door(node: Node) -> LinkDoor:
    """The door for links of a node."""

    def loaded(tenant: int) -> Loaded:
        return node.catalogs.current[tenant]

    return LinkDoor(
        LinkDeps(
            node.linker,
            Consents(node.pool),
            Tracking(node.pool),
            loaded,
            lambda: datetime.now(UTC),
            time.monotonic,
        )
    )


async def one_click(app: LinkDoor, url: str) -> int:
    """What a mail program does when its user presses "unsubscribe"."""
    path = urlsplit(url).path
    return (await call(app, "POST", path, b"List-Unsubscribe=One-Click", token=None, headers=FORM)).status


async def test_who_unsubscribes_by_a_mails_header_gets_no_further_one(database: Pool) -> None:
    """The whole way: a real mail over SMTP, the link of its header, the next notification."""
    await put_users(database, "ada", "eve")
    async with Sandbox(Options(http_port=None)) as sandbox:
        smtp = f'provider = "smtp"\nhost = "127.0.0.1"\nport = {sandbox.smtp_port}\ntls = "none"'
        await prepare(database, {**PROJECT, "ulak.toml": PROJECT["ulak.toml"].replace('provider = "noop"', smtp)})
        node = await open_node(database, public_url=BASE)
        node.start()

        async def settled() -> bool:
            return bool(await database.fetchval(OPEN) == 0)

        await send(node, body("offer", "ada", "eve"))
        await eventually(settled, within=60, what="both mails to be sent")
        mails = {each.recipients[0]: message_from_bytes(each.raw) for each in sandbox.record.after(0, 10)}
        header = mails["ada@example.com"]["List-Unsubscribe"]
        assert mails["ada@example.com"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        url = "".join(str(header).split()).strip("<>")
        assert url.startswith(f"{BASE}/u/")
        assert await one_click(door(node), url) == 200
        await send(node, body("offer", "ada", "eve"))
        await send(node, body("alarm", "ada"))
        await eventually(settled, within=60, what="the others to be sent")
        await node.stop()
        taken = sorted(each.recipients[0] for each in sandbox.record.after(0, 10))
        # Ada's second mail is the alarm, which no link silences.
        assert taken == ["ada@example.com"] * 2 + ["eve@example.com"] * 2
    ended = await database.fetch("SELECT state, reason FROM deliveries WHERE reason IS NOT NULL")
    assert [(row["state"], row["reason"]) for row in ended] == [("skipped", "opted_out")]


@dataclass
class Race:
    """Opt-outs that run against a campaign; each counts the attempts that were there when it was answered."""

    pool: Pool
    app: LinkDoor
    links: dict[str, str]
    answered: dict[str, int] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, user: str) -> None:
        if user in self.links:
            self.tasks.append(asyncio.create_task(self._no(user, self.links.pop(user))))

    async def _no(self, user: str, url: str) -> None:
        assert await one_click(self.app, url) == 200
        rows = await self.pool.fetch(ATTEMPTS, [user])
        self.answered[user] = rows[0]["n"] if rows else 0

    async def late(self) -> list[str]:
        """Users to whom an attempt began after their "no" was answered."""
        await asyncio.gather(*self.tasks)
        found = {r["user_id"]: r["n"] for r in await self.pool.fetch(ATTEMPTS, list(self.answered))}
        return [user for user, n in self.answered.items() if found.get(user, 0) > n]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("size", "gate"), [(10_000, True), (2_000, False)], ids=["gate", "mutation: without the gate"])
async def test_nobody_is_written_to_after_his_no_was_answered(
    database: Pool, monkeypatch: pytest.MonkeyPatch, size: int, gate: bool
) -> None:
    """A campaign to all users on two nodes, while hundreds of them unsubscribe.

    Some do it at any moment, some at the worst one: when the batch that they are in has been judged and is not
    committed yet. With the gate their answer waits for that commit.
    """
    if not gate:
        monkeypatch.setattr("ulak.flow.attempt.worker.SENDING", "SELECT 1")
        monkeypatch.setattr("ulak.io.postgres.consents.FORBIDDING", "SELECT 1")
    users = [f"user{n:05}" for n in range(size)]
    await put_users(database, *users)
    await prepare(
        database, {**PROJECT, "ulak.toml": PROJECT["ulak.toml"].replace("concurrency = 2", "concurrency = 1")}
    )
    nodes = [await open_node(database, f"node{n}", public_url=BASE) for n in range(2)]
    await nodes[0].linker.ready()
    race = Race(database, door(nodes[0]), _links(nodes[0], users))
    really_begin = attempting.begin

    async def begin(*args: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        started, stopped = await really_begin(*args)
        if started:
            race.start(random.choice(started).user)
            await asyncio.sleep(0.02)  # as long as a slow disk takes to commit
        return started, stopped

    monkeypatch.setattr(worker, "begin", begin)
    for node in nodes:
        node.start()
    await send(nodes[0], {"type": "offer", "to": [{"all": True}], "data": {"number": 7}})
    for user in random.sample(users, 200):
        race.start(user)
        await asyncio.sleep(0.01)

    async def settled() -> bool:
        return bool(await database.fetchval(OPEN) == 0)

    await eventually(settled, within=600, every=0.1, what="the campaign to end")
    late = await race.late()
    for node in nodes:
        await node.stop()
    ends = await states(database)
    assert set(ends.values()) == {"accepted", "skipped:opted_out"}
    assert len(ends) == size
    if not gate:
        assert late
        return
    assert late == []
    assert len(race.answered) > 200
    assert sum(race.answered.values()) < len(race.answered)
    refused = {user for (user, _), end in ends.items() if end == "skipped:opted_out"}
    assert refused == {user for user, n in race.answered.items() if n == 0}


def _links(node: Node, users: Sequence[str]) -> dict[str, str]:
    """The link that an earlier mail of this category brought each user."""
    found = {}
    for user in users:
        made = node.linker.choices(0, user, "email", "offers", node.new_id())
        assert made is not None
        found[user] = made.unsubscribe
    return found
