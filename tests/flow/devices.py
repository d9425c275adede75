"""What does a test of pushes need: a project that pushes, devices of every kind, and what became of them?"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from tests.flow.harness import PROJECT
from ulak.core.device import AddressKind, Fate
from ulak.core.model import Account, Channel
from ulak.core.outcome import Kind, Outcome
from ulak.core.registration import Registration
from ulak.io.postgres.devices import Devices
from ulak.io.postgres.pool import Pool, Row

IOS, DROID, WEB = (
    Account(name, provider, Channel.PUSH, 8, 2.0, 30.0)
    for name, provider in (("ios", "apns"), ("droid", "fcm"), ("web", "webpush"))
)
TABLES = "".join(
    f'\n[accounts.{each.name}]\nchannel = "push"\nprovider = "{each.provider}"\ntimeout = "2s"\n'
    for each in (IOS, DROID, WEB)
)
KINDS = "".join(
    f"""
[types.{name}]
category = "{category}"
class = "{klass}"
template = "order"
route = [{route}]
"""
    for name, category, klass, route in (
        ("push", "orders", "transactional", '{ channel = "push" }'),
        ("push_offer", "offers", "marketing", '{ channel = "push" }'),
        ("push_alarm", "security", "critical", '{ channel = "push" }'),
        ("both", "orders", "transactional", '{ channel = "in_app" }, { channel = "push" }'),
        (
            "push_later",
            "orders",
            "transactional",
            '{ channel = "in_app" }, { channel = "push", after = "1h", unless = "seen" }',
        ),
    )
)
FILES = {**PROJECT, "ulak.toml": PROJECT["ulak.toml"] + TABLES + KINDS}
ADDRESSES = {
    AddressKind.APNS: "{:064x}",
    AddressKind.FCM_TOKEN: "token:{:020d}",
    AddressKind.FCM_FID: "fid{:019d}",
    AddressKind.WEBPUSH: "https://push.example.org/{}",
}
PLATFORMS = {AddressKind.APNS: "ios", AddressKind.WEBPUSH: "web"}


def identity(n: int) -> str:
    """The id of the device with this number."""
    return f"dev_{n:032x}"


async def put_device(
    pool: Pool, n: int, user: str = "ada", kind: AddressKind = AddressKind.APNS, name: str | None = None, **more: Any
) -> str:
    """Register a device by a number, from which its address and id follow; returns the id that it has."""
    values = {"app": "com.app", "platform": PLATFORMS.get(kind, "android"), "address": ADDRESSES[kind].format(n)}
    if kind is AddressKind.WEBPUSH:
        values |= {"app": "", "account": "web"}
    row = await Devices(pool).register(
        0, Registration(user=user, name=name or f"n{n}", kind=kind, **(values | more)), identity(n)
    )
    return str(row["id"])


async def device(pool: Pool, identity: str) -> Row:
    """The row of a device."""
    row = await pool.fetchrow("SELECT * FROM devices WHERE id = $1", identity)
    assert row is not None
    return row


async def told(pool: Pool) -> dict[str, str]:
    """Target to state and reason of every delivery on push."""
    rows = await pool.fetch("SELECT target, state, reason FROM deliveries WHERE channel = 'push'")
    return {r["target"]: ":".join(filter(None, (r["state"], r["reason"]))) for r in rows}


async def lines(pool: Pool) -> dict[str, tuple[str, Any]]:
    """Target to bulkhead and what the decision says of the device."""
    rows = await pool.fetch("SELECT target, bulkhead, decision FROM deliveries WHERE channel = 'push'")
    return {r["target"]: (r["bulkhead"], json.loads(r["decision"]).get("device")) for r in rows}


DEFAULT = {
    Fate.DEAD: Kind.RECIPIENT_PERMANENT,
    Fate.DOUBTED: Kind.RECIPIENT_PERMANENT,
    Fate.STRIKE: Kind.RECIPIENT_TEMPORARY,
    Fate.OTHER_ENVIRONMENT: Kind.RECIPIENT_TEMPORARY,
    Fate.BUSY: Kind.RECIPIENT_TEMPORARY,
}


def refused(
    fate: Fate, wait: float | None = None, dead_since: datetime | None = None, detail: str = "Words"
) -> Outcome:
    """An outcome that says something of the device, of the kind that goes with it."""
    return Outcome(DEFAULT[fate], f"push_{fate}", None, detail, None, wait, None, fate, dead_since)
