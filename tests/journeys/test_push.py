"""Does one notification reach all of a user's devices, in his language, through whatever push services do to us?"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.flow.harness import body, open_node, prepare, send
from tests.journeys import served
from tests.support import eventually
from ulak.core.device import AddressKind, Environment
from ulak.core.registration import ApplicationServer, DeviceBody, Place, read
from ulak.io.postgres.devices import Devices
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.sandbox.push.devices import Change, FakeDevice, State, Wanted
from ulak.sandbox.push.faults import decode
from ulak.sandbox.push.services import PushServices
from ulak.sandbox.push_keys import push_stand_in
from ulak.sandbox.record import Record

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.anyio, pytest.mark.pg, pytest.mark.timeout(180)]

ACCOUNTS = """
[accounts.apns]
channel = "push"
provider = "apns"
team_id = "TEAM000000"
key_id = "KEY0000000"
private_key_env = "NOT_SET"
apps = ["org.example.app"]
environment = "both"
concurrency = 40
timeout = "2s"
reconcile_after = "1s"

[accounts.fcm]
channel = "push"
provider = "fcm"
service_account_env = "NOT_SET"
concurrency = 40
timeout = "2s"
reconcile_after = "1s"

[accounts.web]
channel = "push"
provider = "webpush"
subject = "mailto:push@example.com"
private_key_env = "NOT_SET"
public_key = "BCbvzr0O6eNKZpGH4Ys6kSKy9zOUW2Scyfn5Ien52tgSkCOL3pzHuzMNFQxncE3SWucFUgV0S28xv0BwdFhy0OY"
concurrency = 40
timeout = "2s"
reconcile_after = "1s"
"""
TYPES = """
[types.order]
category = "orders"
class = "transactional"
route = [{ channel = "in_app" }, { channel = "push" }]

[types.alarm]
category = "security"
class = "critical"
template = "order"
route = [{ channel = "push" }]
"""
URL = "https://example.com/o/7"
FILES = {
    "ulak.toml": ACCOUNTS + TYPES,
    "templates/order/in_app.txt": "+++\ntitle = 'Order {{ data.number }}'\n+++\n",
    "templates/order/push.en.txt": f"+++\ntitle = 'Order {{{{ data.number }}}}'\nurl = '{URL}'\n+++\nOn its way",
    "templates/order/push.tr.txt": f"+++\ntitle = 'Sipariş {{{{ data.number }}}}'\nurl = '{URL}'\n+++\nYolda 🚚",
}
KINDS = (AddressKind.APNS, AddressKind.FCM_TOKEN, AddressKind.FCM_FID, AddressKind.WEBPUSH)


def _environment(push: PushServices, database_url: str) -> dict[str, str]:
    return os.environ | {
        "ULAK_DATABASE_URL": database_url,
        "ULAK_SANDBOX_SMTP": "127.0.0.1:9",
        "ULAK_SANDBOX_PUSH": push.setting,
        "PYTHONPATH": str(ROOT / "src"),
    }


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="ulak-test-", dir="/tmp"))
    for name, text in FILES.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    yield made
    shutil.rmtree(made)


@dataclass
class House:
    """A node that pushes to fake services, and the devices of its users."""

    node: Node
    push: PushServices

    async def device(self, user: str, name: str, kind: AddressKind, **more: Any) -> FakeDevice:
        """A new fake device that its app has registered for a user."""
        fake = self.push.devices.make(Wanted(kind=kind, name=name, **more), self.push.now)
        await self.register(user, fake)
        return fake

    async def register(self, user: str, fake: FakeDevice) -> None:
        own = push_stand_in("webpush", self.push.places)
        hosts = own["hosts"]
        assert isinstance(hosts, list)
        servers = [ApplicationServer("web", str(own["public_key"]), tuple(hosts))]
        wanted = read(
            msgspec.convert(fake.registration(), DeviceBody), Place(user, fake.name), servers, datetime.now(UTC)
        )
        await Devices(self.node.pool).register(0, wanted, f"dev_{self.node.new_id().hex}")

    async def settled(self, within: float = 60.0) -> None:
        async def done() -> bool:
            question = (
                "SELECT (SELECT count(*) FROM plan_work) + (SELECT count(*) FROM deliveries WHERE settled_at IS NULL)"
            )
            return bool(await self.node.pool.fetchval(question) == 0)

        await eventually(done, within=within, every=0.05, what="every delivery to end")

    async def ends(self) -> Counter[str]:
        """State and reason of all push deliveries."""
        rows = await self.node.pool.fetch("SELECT state, reason FROM deliveries WHERE channel = 'push'")
        return Counter(":".join(filter(None, row)) for row in rows)

    async def reasons(self) -> Counter[str]:
        """What every call meant."""
        rows = await self.node.pool.fetch("SELECT kind, reason FROM outcomes")
        return Counter(f"{row['kind']} {row['reason']}" for row in rows)

    async def disabled(self) -> dict[str, str]:
        rows = await self.node.pool.fetch("SELECT name, disabled_why FROM devices WHERE disabled_at IS NOT NULL")
        return {row["name"]: row["disabled_why"] for row in rows}

    def fault(self, **fault: Any) -> None:
        self.push.faults.arm(decode(msgspec.json.encode(fault)))


@asynccontextmanager
async def house(pool: Pool) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        push = await stack.enter_async_context(PushServices(Record(None, 10**8)))
        await prepare(pool, FILES)
        node = await open_node(pool, sandbox_smtp="127.0.0.1:9", sandbox_push=push.setting)
        node.start()
        stack.push_async_callback(node.stop)
        yield House(node, push)


async def test_an_iphone_an_android_phone_and_two_browsers_show_it_in_the_users_language(
    folder: Path, database_url: str
) -> None:
    """By the HTTP API alone, as an app and its server do it."""
    async with PushServices(Record(None, 10**8)) as push:
        environment = _environment(push, database_url)
        node = served.Node(folder / "node.log", environment, "--project", str(folder))
        try:
            await asyncio.to_thread(node.ready)
            key = await asyncio.to_thread(served.api_key, environment)
            fakes = {
                name: push.devices.make(Wanted(kind=kind, name=name), push.now)
                for name, kind in {
                    "iphone": AddressKind.APNS,
                    "pixel": AddressKind.FCM_FID,
                    "firefox": AddressKind.WEBPUSH,
                    "chrome": AddressKind.WEBPUSH,
                }.items()
            }
            status, _ = await node.call("PUT", "/v1/users/ayse", key, {"locale": "tr-TR"})
            assert status == 200
            status, token = await node.call("POST", "/v1/users/ayse/tokens", key, {})
            assert status == 201
            for name, fake in fakes.items():
                status, said = await node.call("PUT", f"/v1/me/devices/{name}", token["token"], fake.registration())
                assert status == 200, said
                assert fake.address not in json.dumps(said)
            wanted = {"type": "order", "to": [{"user": "ayse"}], "data": {"number": 7}}
            status, accepted = await node.call("POST", "/v1/notifications", key, wanted)
            assert status == 202
            await eventually(lambda: all(fake.shown for fake in fakes.values()), within=60)
            for fake in fakes.values():
                (shown,) = fake.shown.values()
                assert (shown.title, shown.body) == ("Sipariş 7", "Yolda 🚚")
                assert shown.badge == fake.badge == 1
                assert shown.notification == accepted["id"]
                assert URL in json.dumps(shown.payload)
            assert "ayse" not in json.dumps([msgspec.to_builtins(f.shown) for f in fakes.values()])
            await _receipts_stop_nothing_but_count(node, key, accepted["id"], fakes["chrome"])
        finally:
            node.stop()
    log = (folder / "node.log").read_text()
    assert not any(fake.address in log for fake in fakes.values())


async def _receipts_stop_nothing_but_count(node: served.Node, key: str, notification: str, fake: FakeDevice) -> None:
    """What the app tells afterwards stands in the timeline and in the sums."""
    (shown,) = fake.shown.values()
    told = shown.payload["notification"]["data"]["ulak"]
    status, _ = await node.call("POST", "/v1/receipts/push", "none", {"receipt": told["receipt"], "event": "opened"})
    assert status == 202
    status, timeline = await node.call("GET", f"/v1/notifications/{notification}/timeline", key)
    assert status == 200
    told_later = [receipt["kind"] for each in timeline["deliveries"] for receipt in each["receipts"]]
    assert "opened" in told_later

    async def counted() -> bool:
        _, stats = await node.call("GET", "/v1/push/stats?by=platform", key)
        sums = {group["platform"]: group["sums"] for group in stats["groups"]}
        web = sums.get("web", {"accepted": 0, "opened": 0})
        return (web["accepted"], web["opened"]) == (2, 1)

    await eventually(counted, what="two pushes to browsers, one of them opened")


@pytest.mark.slow
async def test_storms_lose_nothing_and_show_nothing_twice(database: Pool) -> None:
    """GOAWAY, reset streams, connections cut before and behind the point of no return, and 429s, all at once."""
    async with house(database) as one:
        users = [f"user{number}" for number in range(60)]
        fakes = [await one.device(user, f"{user}-{kind}", kind) for user in users for kind in KINDS]
        one.fault(at="request", do="goaway", service="apns", every=31, times=6, code="NO_ERROR")
        one.fault(at="request", do="reset", service="apns", every=17, times=8, code="REFUSED_STREAM")
        one.fault(at="request", do="reset", service="fcm", every=19, times=8, code="INTERNAL_ERROR")
        one.fault(at="taken", do="drop", service="apns", every=47, times=2)
        one.fault(at="taken", do="goaway", service="apns", every=53, times=2)
        one.fault(at="answer", do="drop", service="fcm", every=59, times=2)
        one.fault(at="taken", do="drop", service="webpush", every=23, times=4)
        one.fault(at="request", do="reply", service="webpush", every=29, times=3, status=503)
        waits = {"Retry-After": "1"}
        one.fault(at="request", do="reply", service="fcm", every=71, times=2, status=429, headers=waits)
        notifications = 3
        for _ in range(notifications):
            await send(one.node, body("order", *users))
        await one.settled(within=150)
        assert await one.ends() == {"accepted": len(fakes) * notifications}
        assert {len(fake.shown) for fake in fakes} == {notifications}, "each is shown once, a repeated one in its place"
        unknown = await database.fetchval("SELECT count(*) FROM outcomes WHERE kind = 'unknown'")
        doubles = sum(fake.duplicates for fake in fakes)
        assert 0 < doubles <= unknown
        assert sum(fake.received for fake in fakes) == len(fakes) * notifications + doubles
        assert await one.disabled() == {}
        fired = {(each["service"], each["do"]): each["fired"] for each in one.push.faults.report()}
        assert all(fired.values()), fired


async def test_what_services_say_of_one_device_concerns_it_alone(database: Pool) -> None:
    async with house(database) as one:
        phones = {name: await one.device("ada", name, AddressKind.APNS) for name in ("good", "gone", "other")}
        android = {name: await one.device("ada", name, AddressKind.FCM_TOKEN) for name in ("well", "lost", "alien")}
        web = {name: await one.device("ada", name, AddressKind.WEBPUSH) for name in ("open", "shut")}
        now = one.push.now
        for fake in (phones["gone"], android["lost"], web["shut"]):
            one.push.devices.change(fake, Change(state=State.UNINSTALLED), now)
        one.push.devices.change(phones["other"], Change(environment=Environment.SANDBOX), now)
        one.push.devices.change(android["alien"], Change(sender="another-project"), now)
        await send(one.node, body("order", "ada"))
        await one.settled()
        assert await one.ends() == {"accepted": 4, "bounced:address_refused": 4}
        assert set(await one.disabled()) == {"gone", "lost", "alien", "shut"}
        assert len(phones["other"].shown) == 1, "the other environment was tried"
        assert await database.fetchval("SELECT count(*) FROM suppressions") == 0
        await send(one.node, body("order", "ada"))
        await one.settled()
        assert await one.ends() == {"accepted": 8, "bounced:address_refused": 4, "skipped:device_disabled": 4}
        one.push.devices.change(phones["gone"], Change(state=State.ACTIVE), now)
        await one.register("ada", phones["gone"])  # the app was installed again
        await send(one.node, body("alarm", "ada"))
        await one.settled()
        assert [shown.title for shown in phones["gone"].shown.values()] == ["Order 7"]


async def test_wrong_keys_park_everything_and_kill_no_device(database: Pool) -> None:
    """A fleet must outlive a mistake of its operator's."""
    async with house(database) as one:
        users = [f"user{number}" for number in range(40)]
        fakes = [await one.device(user, f"{user}-{kind}", kind) for user in users for kind in KINDS]
        one.push.devices.apps = frozenset()
        for service, reason in (("apns", "TopicDisallowed"), ("webpush", "109"), ("token", "invalid_grant")):
            one.fault(at="request", do="reply", service=service, reason=reason)
        await send(one.node, body("order", *users))

        async def parked() -> bool:
            return set(await one.ends()) == {"retrying:account_unusable"} or (await one.ends())["pending"] > 0

        async def refused() -> bool:
            by = await database.fetch("SELECT DISTINCT account FROM attempts NATURAL JOIN outcomes")
            return {row["account"] for row in by} == {"apns", "fcm", "web"} and await parked()

        await eventually(refused, within=60, every=0.05, what="each account to be refused")
        assert await one.disabled() == {}
        one.push.faults.clear()
        one.push.devices.apps = None
        await one.settled(within=120)
        assert await one.ends() == {"accepted": len(fakes)}


async def test_a_fleet_that_seems_to_die_at_once_is_kept(database: Pool) -> None:
    """A wrong topic or project answers "dead" for everybody: few devices are touched, and those come back."""
    async with house(database) as one:
        users = [f"user{number}" for number in range(80)]
        fakes = [await one.device(user, f"{user}-phone", AddressKind.APNS) for user in users]
        one.fault(at="request", do="reply", service="apns", reason="DeviceTokenNotForTopic")
        await send(one.node, body("order", *users))

        async def doubted() -> bool:
            return bool((await one.reasons())["next_provider tokens_dying"])

        await eventually(doubted, within=60, every=0.05)
        await eventually(lambda: _none_disabled(one), within=60, every=0.05, what="those in quarantine to come back")
        one.push.faults.clear()
        await send(one.node, body("alarm", *users))

        async def shown() -> bool:
            return all(fake.shown for fake in fakes)

        await eventually(shown, within=120, every=0.1, what="every phone to show the next one")
        assert await _none_disabled(one)


async def _none_disabled(one: House) -> bool:
    return not await one.disabled()


async def test_a_logout_is_final_whatever_was_planned(database: Pool) -> None:
    async with house(database) as one:
        fake = await one.device("ada", "phone", AddressKind.APNS)
        one.fault(at="request", do="reply", service="apns", reason="InternalServerError", times=1)
        await send(one.node, body("order", "ada"))
        await eventually(lambda: _calls(one), within=60, what="the first call")
        assert await Devices(one.node.pool).remove(0, "ada", "phone") == 1
        await database.execute("UPDATE timers SET due_at = now()")
        await one.settled()
        assert await one.ends() == {"skipped:device_gone": 1}
        assert fake.received == 0


async def _calls(one: House) -> int:
    return int(await one.node.pool.fetchval("SELECT count(*) FROM outcomes"))


async def test_a_phone_that_changes_hands_shows_the_new_owner_only_what_is_his(database: Pool) -> None:
    async with house(database) as one:
        fake = await one.device("ada", "phone", AddressKind.APNS)
        one.fault(at="request", do="reply", service="apns", reason="InternalServerError", times=1)
        await send(one.node, body("order", "ada"))
        await eventually(lambda: _calls(one), within=60, what="the first call")
        await one.register("bob", fake)
        await database.execute("UPDATE timers SET due_at = now()")
        await one.settled()
        assert await one.ends() == {"skipped:device_gone": 1}
        await send(one.node, body("order", "bob"))
        await one.settled()
        assert fake.received == 1
