"""Does a timeline say which device a push went to, and no address?"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.edge.api.harness import call
from tests.edge.api.pushed import NTF, World, opened
from ulak.cli.explain import told
from ulak.core.ids import external
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.users import Users

pytestmark = [pytest.mark.anyio, pytest.mark.pg]


@pytest.fixture
async def world(store: Pool) -> AsyncIterator[World]:
    async with opened(store) as made:
        yield made


@pytest.mark.parametrize(("channel", "named"), [("push", True), ("email", False)])
async def test_a_timeline_names_the_device_of_a_push_and_no_other_target(
    world: World, channel: str, named: bool
) -> None:
    delivery = await world.push(channel=channel, state="skipped", reason="device_gone")
    await world.pool.execute(
        "INSERT INTO notifications (tenant, id, type, catalog, lane, recipients, expires_at, data)"
        " VALUES (0, $1, 'order', 1, 1, 1, now(), '{}')",
        NTF,
    )
    device = f"dev_{delivery.hex}"
    path = f"/v1/deliveries/{external('dlv', delivery)}"
    (plain,) = (await call(world.app, "GET", "/v1/deliveries")).json["items"]
    timeline = (await call(world.app, "GET", f"{path}/timeline")).json
    assert plain["device"] == timeline["deliveries"][0]["device"] == (device if named else None)
    said = "\n".join(told(timeline))
    assert (f"{channel} to ada on {device}: skipped (device_gone)" in said) == named
    await world.pool.execute("INSERT INTO users (tenant, id) VALUES (0, 'ada')")
    await Users(world.pool).erase(0, "ada")
    assert (await call(world.app, "GET", f"{path}/timeline")).json["deliveries"][0]["device"] is None
