"""Does email arrive when its vendor doesn't work: at once by the next account, and twice only where nobody can know?"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from unittest import mock

import msgspec
import pytest

from tests.flow.harness import PROJECT, body, open_node, prepare, put_users, send, states
from tests.support import eventually
from ulak.core.breaker import State
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.sandbox import faults, vendor_faults
from ulak.sandbox.credentials import stand_in
from ulak.sandbox.server import Options, Sandbox

log = logging.getLogger(__name__)

pytestmark = [pytest.mark.anyio, pytest.mark.pg, pytest.mark.timeout(300)]

VENDORS = ("ses", "sendgrid", "postmark")
ALL = (*VENDORS, "smtp")
adapter = pytest.mark.parametrize("first", ALL)
TYPES = "[types.order]" + PROJECT["ulak.toml"].partition("[types.order]")[2]
OPEN = "SELECT (SELECT count(*) FROM plan_work) + (SELECT count(*) FROM deliveries WHERE settled_at IS NULL)"


@dataclass
class House:
    """A node whose accounts speak to a sandbox each, in this order."""

    node: Node
    sandboxes: dict[str, Sandbox]

    def taken(self, name: str | None = None) -> Counter[str]:
        """Recipients of what the vendors took, copies counted."""
        chosen = self.sandboxes.values() if name is None else [self.sandboxes[name]]
        return Counter(each.recipients[0] for box in chosen for each in box.record.after(0, 10**6))

    async def settled(self, within: float = 60.0) -> None:
        async def done() -> bool:
            return bool(await self.node.pool.fetchval(OPEN) == 0)

        await eventually(done, within=within, every=0.05, what="every delivery to end")

    async def unknown(self) -> int:
        return int(await self.node.pool.fetchval("SELECT count(*) FROM outcomes WHERE kind = 'unknown'"))

    def open(self, name: str) -> bool:
        return self.node.breakers.states()[f"email/{name}"][0] is not State.CLOSED

    async def away(self, name: str) -> None:
        """The vendor is gone: connections are refused."""
        box = self.sandboxes[name]
        if name == "smtp":
            await box.close()
        else:
            await box.vendors.listening(False)


def _table(vendor: str, box: Sandbox, priority: int, more: str) -> str:
    lines = [f"[accounts.{vendor}]", 'channel = "email"', f'provider = "{vendor}"', f"priority = {priority}"]
    lines += ['timeout = "2s"', 'reconcile_after = "1s"', "concurrency = 8", more]
    if vendor == "smtp":
        lines += ['host = "127.0.0.1"', f"port = {box.smtp_port}", 'tls = "none"']
    settings = {"region": "eu-central-1"} if vendor == "ses" else {}
    for key, value in {**settings, **stand_in(vendor, box.vendors_url)}.items():
        if key.startswith("events_"):
            continue
        if key in {"access_key", "secret_key", "api_key", "server_token"}:
            os.environ[f"SANDBOX_{key.upper()}"] = str(value)
            lines.append(f'{key}_env = "SANDBOX_{key.upper()}"')
        else:
            lines.append(f"{key} = {msgspec.json.encode(value).decode()}")
    return "\n".join(lines) + "\n\n"


@asynccontextmanager
async def house(pool: Pool, *vendors: str, types: str = "", same: bool = False, more: str = "") -> AsyncIterator[House]:
    """Start it; ``same`` gives all accounts the same priority."""
    async with AsyncExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ))
        boxes = {v: await stack.enter_async_context(Sandbox(Options(http_port=None))) for v in vendors}
        tables = "".join(_table(v, box, 1 if same else n, more) for n, (v, box) in enumerate(boxes.items(), start=1))
        head = '[email]\nfrom = "Octo <octo@example.com>"\n\n'
        await prepare(pool, {**PROJECT, "ulak.toml": head + tables + TYPES + types})
        node = await open_node(pool, allow_networks="127.0.0.1/32")
        node.start()
        try:
            yield House(node, boxes)
        finally:
            await node.stop()


@adapter
async def test_when_a_vendor_dies_the_next_account_goes_on_within_seconds(first: str, database: Pool) -> None:
    """Thirty by the living one, sixty while it is dead: nothing lost, and after a few calls nobody asks it."""
    users = [f"user{number}" for number in range(30)]
    await put_users(database, *users)
    spare = "smtp" if first != "smtp" else "ses"
    async with house(database, first, spare) as one:
        await send(one.node, body("mail", *users))
        await one.settled()
        assert sum(one.taken(first).values()) == 30
        await one.away(first)
        await send(one.node, body("mail", *users))
        await one.settled()
        assert one.open(first)
        await send(one.node, body("mail", *users))
        await one.settled()
        assert one.taken() == dict.fromkeys((f"{user}@example.com" for user in users), 3)
        assert sum(one.taken(spare).values()) == 60
        assert await one.unknown() == 0
        assert set((await states(database)).values()) == {"accepted"}
        slowest = await database.fetchval("SELECT extract(epoch FROM max(settled_at - planned_at)) FROM deliveries")
        assert slowest < 10


HTTP_PHASES = ["connect", "request", "taken", "answer"]
SMTP_PHASES = ["connect", "ehlo", "mail", "rcpt", "data", "body", "end"]
PHASES = [(vendor, at) for vendor in VENDORS for at in HTTP_PHASES] + [("smtp", at) for at in SMTP_PHASES]
TAKEN = {"taken", "answer", "end"}
"""Where the vendor has it, and we can't know."""


@pytest.mark.parametrize(("first", "at"), PHASES)
async def test_a_connection_lost_at_any_moment_doubles_only_what_is_unknown(
    first: str, at: str, database: Pool
) -> None:
    users = [f"user{number}" for number in range(8)]
    await put_users(database, *users)
    spare = "smtp" if first != "smtp" else "ses"
    async with house(database, first, spare) as one:
        box = one.sandboxes[first]
        fault: dict[str, object] = {"at": at, "do": "drop", "times": 1 if first == "postmark" else 3}
        if first == "smtp":
            box.faults.arm(faults.decode(fault))
        else:
            box.vendors.faults.arm(vendor_faults.decode(msgspec.json.encode(fault)))
        await send(one.node, body("mail", *users))
        await one.settled()
        taken = one.taken()
        assert set(taken) == {f"{user}@example.com" for user in users}, "nothing is lost"
        unsure = await database.fetch(
            "SELECT DISTINCT d.target FROM outcomes o JOIN deliveries d ON d.id = o.delivery WHERE o.kind = 'unknown'"
        )
        doubled = {to for to, copies in taken.items() if copies > 1}
        assert doubled <= {row["target"] for row in unsure}
        assert sum(taken.values()) - len(users) <= await one.unknown()
        if at in TAKEN:
            assert unsure, "the fault went off where it should"
        assert bool(doubled) == (at in TAKEN and first != "postmark"), "Postmark is asked before it is sent again"
        assert not one.taken(spare).keys() & {row["target"] for row in unsure}, "an unknown keeps its account"
        assert set((await states(database)).values()) == {"accepted"}


@adapter
async def test_whom_one_vendor_refuses_for_good_is_shown_to_no_other(first: str, database: Pool) -> None:
    spare = "smtp" if first != "smtp" else "ses"
    refused = "inactive" if first == "postmark" else "rejected"
    await put_users(database, "ada", refused)
    async with house(database, first, spare) as one:
        if first == "smtp":
            fault = {"at": "rcpt", "do": "reply", "code": 550, "text": "5.1.1 no such user", "to": f"{refused}@*"}
            one.sandboxes[first].faults.arm(faults.decode(fault))
        await send(one.node, body("mail", "ada", refused))
        await one.settled()
        await send(one.node, body("mail", "ada", refused))
        await one.settled()
        assert one.taken(first) == {"ada@example.com": 2}
        assert not one.taken(spare)
        accounts = await database.fetch("SELECT DISTINCT account FROM attempts")
        assert [row["account"] for row in accounts] == [first]
        ends = Counter(row["state"] for row in await database.fetch("SELECT state FROM deliveries"))
        suppresses = first in {"postmark", "smtp"}
        assert ends == ({"accepted": 2, "bounced": 1, "suppressed": 1} if suppresses else {"accepted": 2, "dead": 2})


async def test_a_vendor_that_comes_back_is_probed_and_used_again(database: Pool) -> None:
    users = [f"user{number}" for number in range(10)]
    await put_users(database, *users)
    async with house(database, "ses", "sendgrid") as one:
        await one.away("ses")
        await send(one.node, body("mail", *users))
        await one.settled()
        assert one.open("ses")
        await one.sandboxes["ses"].vendors.listening(True)

        async def back() -> bool:
            await send(one.node, body("mail", "user0"))
            await one.settled()
            return not one.open("ses")

        await eventually(back, within=60, every=0.5, what="the breaker to close")
        before = sum(one.taken("ses").values())
        await send(one.node, body("mail", *users))
        await one.settled()
        assert sum(one.taken("ses").values()) == before + 10
        assert all(copies == 1 for copies in Counter(await delivered(one)).values())


async def delivered(one: House) -> list[str]:
    """Our id of the delivery of every message that a vendor took."""
    parcels = [p for box in one.sandboxes.values() for _, p in box.vendors.callbacks.accepted.values()]
    return [parcel.tags["ulak_delivery"] for parcel in parcels]


async def test_accounts_of_a_priority_share_the_work(database: Pool) -> None:
    users = [f"user{number}" for number in range(60)]
    await put_users(database, *users)
    async with house(database, "ses", "sendgrid", same=True) as one:
        await send(one.node, body("mail", *users))
        await one.settled()
        assert sum(one.taken().values()) == 60
        assert min(sum(one.taken(name).values()) for name in one.sandboxes) > 10


RESET = """
[types.reset]
category = "security"
class = "critical"
template = "order"
route = [{ channel = "email" }]
"""
CROWD = int(os.environ.get("ULAK_CROWD", "500"))
"""Users of the next test; 10,000 take minutes."""


@pytest.mark.slow
@pytest.mark.timeout(1_800)
async def test_a_crowd_whose_vendor_dies_keeps_no_reset_waiting(database: Pool) -> None:
    """Everybody gets an offer, a receipt and a password reset at once; the first vendor dies in the middle."""
    users = [f"user{number}" for number in range(CROWD)]
    await put_users(database, *users)
    async with house(database, "ses", "sendgrid", types=RESET, more="") as one:
        for kind in ("offer", "mail", "reset"):
            for at in range(0, CROWD, 500):
                await send(one.node, body(kind, *users[at : at + 500]))

        async def begun() -> bool:
            return one.sandboxes["ses"].record.total > CROWD // 10

        await eventually(begun, within=60)
        await one.away("ses")
        await one.settled(within=1_700)
        assert await database.fetchval("SELECT count(*) FROM deliveries WHERE state = 'accepted'") == 3 * CROWD - len(
            await database.fetch("SELECT 1 FROM deliveries WHERE state = 'unresolved'")
        )
        copies = Counter(await delivered(one))
        unknown = await one.unknown()
        assert sum(copies.values()) - len(copies) <= unknown <= 16, "no more than there were slots"
        waits = {
            row["class"]: float(row["wait"])
            for row in await database.fetch(
                "SELECT class, extract(epoch FROM percentile_cont(0.99) WITHIN GROUP (ORDER BY settled_at"
                " - planned_at)) AS wait FROM deliveries GROUP BY class"
            )
        }
        log.info("wait of the last 1 %% by class, %d users: %s; unknown: %d", CROWD, waits, unknown)
        assert waits["critical"] < max(waits["marketing"], waits["transactional"]), "resets go first"
        held = await database.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        assert held <= 20, "a pool, not a connection for everybody"
