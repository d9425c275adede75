"""Does a suppression hold whatever the spelling of the address?"""

from __future__ import annotations

import pytest

from tests.flow.harness import body, open_node, prepare, send, states
from tests.support import eventually
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

SUPPRESS = "INSERT INTO suppressions (tenant, channel, address, scope, reason) VALUES (0, 'email', $1, 'all', 'manual')"


async def test_a_suppression_holds_for_every_spelling_when_planned(database: Pool) -> None:
    await prepare(database)
    await database.execute(SUPPRESS, "ada@example.com")
    node = await open_node(database)
    node.start()
    await send(node, body("mail", {"user": {"id": "ada", "email": "Ada@example.com"}}))
    await eventually(lambda: states(database))
    assert await states(database) == {("ada", "email"): "suppressed:manual"}
    await node.stop()


async def test_a_suppression_holds_for_every_spelling_at_the_last_check(database: Pool) -> None:
    await prepare(database)
    node = await open_node(database, roles="api")
    node.start()
    await send(node, body("mail", {"user": {"id": "ada", "email": "Ada@example.com"}}))
    await node.stop()
    planner = await open_node(database)
    await planner.planner.poll()
    planner.planner.start()
    await eventually(lambda: states(database))
    await planner.planner.stop()
    await database.execute(SUPPRESS, "ada@example.com")
    worker = await open_node(database)
    worker.start()

    async def settled() -> bool:
        return (await states(database))["ada", "email"] != "pending"

    await eventually(settled)
    assert await states(database) == {("ada", "email"): "suppressed:manual"}
    await worker.stop()
