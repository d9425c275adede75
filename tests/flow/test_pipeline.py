"""Does an accepted notification reach its end, through every stage and with every reason?"""

from __future__ import annotations

import pytest

from tests.flow.harness import body, open_node, prepare, put_users, send, states
from tests.support import eventually
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.anyio, pytest.mark.pg]


async def test_accepted_planned_sent_settled(database: Pool) -> None:
    await prepare(database)
    await put_users(database, "ada", "bob")
    node = await open_node(database)
    node.start()
    result = await send(node, body("order", "ada", "bob", "stranger"))
    assert result.recipients == 3

    async def settled() -> bool:
        found = await states(database)
        return len(found) == 6 and found["ada", "email"] == found["bob", "email"] == "accepted"

    await eventually(settled)
    found = await states(database)
    assert found["ada", "in_app"] == "accepted"
    assert found["stranger", "in_app"] == "accepted"
    assert found["stranger", "email"] == "skipped:no_address"
    await node.stop()
    left = await database.fetchrow(
        "SELECT (SELECT count(*) FROM plan_work) + (SELECT count(*) FROM ready) + (SELECT count(*) FROM timers)"
        " + (SELECT count(*) FROM leases) AS n"
    )
    assert left is not None
    assert left["n"] == 0
