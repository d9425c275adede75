"""What does a test of the stages need: a project in force, a node without doors, quick questions to the record?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from ulak.core import request as requests
from ulak.core.project import load
from ulak.flow.accept import Accepted, AcceptRequest, Result
from ulak.io.postgres.catalogs import apply
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.settings import Settings

PROJECT: Mapping[str, str] = {
    "ulak.toml": """
[email]
from = "Octo <octo@example.com>"

[accounts.mail]
channel = "email"
provider = "noop"
concurrency = 2
timeout = "2s"
reconcile_after = "1s"

[types.order]
category = "orders"
class = "transactional"
route = [{ channel = "in_app" }, { channel = "email" }]

[types.escalated]
category = "orders"
class = "transactional"
template = "order"
route = [{ channel = "in_app" }, { channel = "email", after = "1h", unless = "seen" }]

[types.mail]
category = "orders"
class = "transactional"
template = "order"
route = [{ channel = "email" }]

[types.offer]
category = "offers"
class = "marketing"
template = "order"
route = [{ channel = "email" }]

[types.alarm]
category = "security"
class = "critical"
template = "order"
route = [{ channel = "email" }]

[types.later]
category = "orders"
class = "transactional"
template = "order"
route = [{ channel = "email" }, { channel = "in_app", after = "1s" }]
""",
    "templates/order/in_app.txt": '+++\ntitle = "Order {{ data.number }}"\n+++\nOn its way, {{ user.id }}.',
    "templates/order/email.md": '+++\nsubject = "Order {{ data.number }}"\n+++\n# On its way\n\n{{ data.number }}',
}


async def prepare(pool: Pool, files: Mapping[str, str] = PROJECT) -> None:
    """Put a project into force."""
    await apply(pool, 0, load(files))


async def open_node(pool: Pool, name: str = "test", **settings: Any) -> Node:
    """A node without doors; not started."""
    return await Node.open(replace(Settings(node=name), **settings), pool)


def body(kind: str, *to: Any, **more: Any) -> dict[str, Any]:
    """A request as a caller writes it; a plain string is a stored user."""
    recipients = [{"user": r} if isinstance(r, str) else r for r in to]
    return {"type": kind, "to": recipients, "data": {"number": 7}, **more}


def ask(node: Node, wanted: dict[str, Any], key: str | None = None) -> AcceptRequest:
    """Check a request as the door does."""
    loaded = node.catalogs.current[0]
    request = requests.decode(msgspec.json.encode(wanted), loaded.catalog, datetime.now(UTC), key)
    return AcceptRequest(request, loaded.catalog.version)


async def accept(node: Node, wanted: dict[str, Any], key: str | None = None) -> Result:
    """Accept one request."""
    return await node.acceptor.accept(0, ask(node, wanted, key))


async def send(node: Node, wanted: dict[str, Any], key: str | None = None) -> Accepted:
    """Accept one request that must be accepted."""
    result = await accept(node, wanted, key)
    assert isinstance(result, Accepted), result
    return result


async def plan_all(node: Node) -> None:
    """Plan what is due by hand: no loop of the node needs to run."""
    while node.planner.handed or await node.planner.poll():
        await node.planner.run(node.planner._next())


async def put_users(pool: Pool, *ids: str) -> None:
    """Store users with an email address each."""
    await pool.execute(
        "INSERT INTO users (tenant, id, email) SELECT 0, id, id || '@example.com' FROM unnest($1::text[]) AS id",
        list(ids),
    )


async def states(pool: Pool) -> dict[tuple[str, str], str]:
    """(user, channel) to state and reason of every delivery."""
    rows = await pool.fetch("SELECT user_id, channel, state, reason FROM deliveries")
    return {(r["user_id"], r["channel"]): ":".join(filter(None, (r["state"], r["reason"]))) for r in rows}
