"""Does a notification reach a vendor and end as its answer says, and is nothing doubled that was not unknown?"""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from tests.flow.harness import PROJECT, body, open_node, prepare, put_users, send, states
from tests.support import eventually
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.sandbox.server import Options, Sandbox
from ulak.sandbox.vendor_faults import decode

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

DECLARED = {
    "ses": 'provider = "ses"\nregion = "eu-central-1"\naccess_key_env = "NOT_SET"\nsecret_key_env = "NOT_SET"',
    "sendgrid": 'provider = "sendgrid"\napi_key_env = "NOT_SET"',
    "postmark": 'provider = "postmark"\nserver_token_env = "NOT_SET"',
}
vendor = pytest.mark.parametrize("vendor", sorted(DECLARED))


async def started(pool: Pool, vendor: str, sandbox: Sandbox) -> Node:
    """A node whose one account is that vendor's, spoken to in the sandbox."""
    files = {**PROJECT, "ulak.toml": PROJECT["ulak.toml"].replace('provider = "noop"', DECLARED[vendor])}
    await prepare(pool, files)
    node = await open_node(pool, sandbox_smtp="127.0.0.1:9", sandbox_vendors=sandbox.vendors_url)
    node.start()
    return node


@vendor
async def test_messages_end_as_the_vendor_answers(vendor: str, database: Pool) -> None:
    plain = [f"user{number}" for number in range(20)]
    ends = {
        "rejected": "dead:bad_payload",
        "inactive": "bounced:address_refused" if vendor == "postmark" else "dead:bad_payload",
        "throttled": "retrying:throttled",
        "quota": "retrying:account_unusable",
        "internal": "retrying:vendor_trouble",
    }
    await put_users(database, *plain, *ends)
    async with Sandbox(Options(http_port=None)) as sandbox:
        node = await started(database, vendor, sandbox)
        await send(node, body("mail", *plain))
        for user in ends:
            await send(node, body("mail", user))

        async def ended() -> bool:
            found = {user: state for (user, _), state in (await states(database)).items()}
            return found == {**dict.fromkeys(plain, "accepted"), **ends}

        await eventually(ended, within=20, what="every delivery to stand as its answer says")
        await node.stop()
        taken = Counter(received.recipients[0] for received in sandbox.record.after(0, 1_000))
        assert taken == dict.fromkeys((f"{user}@example.com" for user in plain), 1)
        accepted = sandbox.vendors.callbacks.accepted
        rows = await database.fetch("SELECT vendor_id FROM outcomes WHERE kind = 'accepted'")
        assert {row["vendor_id"] for row in rows} == set(accepted)
        attempts = {parcel.attempt for _, parcel in accepted.values()}
        rows = await database.fetch("SELECT delivery, n FROM attempts")
        assert attempts <= {f"att_{row['delivery'].hex}_{row['n']}" for row in rows}


@vendor
async def test_an_answer_that_is_lost_is_unknown_and_doubles_are_no_more_than_those(
    vendor: str, database: Pool
) -> None:
    users = [f"user{number}" for number in range(12)]
    await put_users(database, *users)
    async with Sandbox(Options(http_port=None)) as sandbox:
        fault = {"at": "taken", "do": "drop", "vendor": vendor, "times": 1 if vendor == "postmark" else 3}
        sandbox.vendors.faults.arm(decode(msgspec.json.encode(fault)))
        node = await started(database, vendor, sandbox)
        await send(node, body("mail", *users))

        async def settled() -> bool:
            return list((await states(database)).values()) == ["accepted"] * len(users)

        await eventually(settled, within=20, what="what was unknown to be sent again")
        await node.stop()
        unknown = await database.fetchval("SELECT count(*) FROM outcomes WHERE kind = 'unknown'")
        taken = Counter(received.recipients[0] for received in sandbox.record.after(0, 1_000))
        assert len(taken) == len(users)
        assert 0 < sum(taken.values()) - len(users) <= unknown
        ids = {parcel.tags["ulak_delivery"] for _, parcel in sandbox.vendors.callbacks.accepted.values()}
        assert len(ids) == len(users)
