"""Does a node let a bounced address go at its vendor, by its own accounts and through its own guard?"""

from __future__ import annotations

import pytest

from tests.flow.harness import body, put_users, send
from tests.journeys.test_vendors import DECLARED, started
from tests.support import eventually
from ulak.core.model import Channel
from ulak.flow.reactivate import Reactivated, Result
from ulak.io.postgres.pool import Pool
from ulak.sandbox.server import Options, Sandbox

pytestmark = [pytest.mark.anyio, pytest.mark.pg]


@pytest.mark.parametrize("vendor", sorted(DECLARED))
async def test_a_node_asks_its_vendor(vendor: str, database: Pool) -> None:
    await put_users(database, "hard-bounce")
    async with Sandbox(Options(http_port=None)) as sandbox:
        node = await started(database, vendor, sandbox)
        held = sandbox.vendors.suppressed.held
        await send(node, body("mail", "hard-bounce"))
        await eventually(lambda: bool(held), what="the vendor to hold the address")
        (said,) = await node.reactivator.reactivate(0, Channel.EMAIL, "hard-bounce@example.com")
        assert (said.result, said.reason, held) == (Result.REMOVED, None, {})
        assert await node.reactivator.reactivate(1, Channel.EMAIL, "hard-bounce@example.com") == []
        assert await node.reactivator.reactivate(0, Channel.SMS, "hard-bounce@example.com") == []
        await node.stop()


async def test_an_account_without_its_secret_is_told(database: Pool) -> None:
    async with Sandbox(Options(http_port=None)) as sandbox:
        node = await started(database, "sendgrid", sandbox)
        node.settings = node.settings.__class__(node=node.settings.node)
        (said,) = await node.reactivator.reactivate(0, Channel.EMAIL, "ada@example.com")
        assert said == Reactivated(said.account, Result.UNREACHABLE, "account_not_usable")
        await node.stop()
