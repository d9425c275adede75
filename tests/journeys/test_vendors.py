"""Does a notification reach a vendor and end as its answer says, and is nothing doubled that was not unknown?"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any
from unittest import mock

import msgspec
import pytest
import uvicorn

from tests.flow.harness import PROJECT, body, open_node, prepare, put_users, send, states
from tests.support import eventually
from ulak.core.ids import callback_id
from ulak.doors import _callbacks
from ulak.io.outbound.egress import networks
from ulak.io.outbound.http import HttpClient
from ulak.io.postgres.callbacks import Callbacks
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.sandbox.callbacks import Callback
from ulak.sandbox.credentials import stand_in
from ulak.sandbox.server import Options, Sandbox
from ulak.sandbox.vendor_faults import decode
from ulak.sandbox.vendors import listen

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

        await eventually(ended, within=60, what="every delivery to stand as its answer says")
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

        await eventually(settled, within=60, what="what was unknown to be sent again")
        await node.stop()
        unknown = await database.fetchval("SELECT count(*) FROM outcomes WHERE kind = 'unknown'")
        taken = Counter(received.recipients[0] for received in sandbox.record.after(0, 1_000))
        assert len(taken) == len(users)
        assert unknown > 0
        doubles = sum(taken.values()) - len(users)
        assert doubles == 0 if vendor == "postmark" else 0 < doubles <= unknown, "Postmark is asked first"
        ids = {parcel.tags["ulak_delivery"] for _, parcel in sandbox.vendors.callbacks.accepted.values()}
        assert len(ids) == len(users)


def declared(vendor: str, url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An account as an operator declares it who points it to the sandbox: secrets in variables."""
    lines = [f'provider = "{vendor}"']
    more = {"region": "eu-central-1"} if vendor == "ses" else {}
    for key, value in {**more, **stand_in(vendor, url)}.items():
        if key in {"access_key", "secret_key", "api_key", "server_token", "events_password"}:
            monkeypatch.setenv(f"SANDBOX_{key.upper()}", str(value))
            lines.append(f'{key}_env = "SANDBOX_{key.upper()}"')
        else:
            lines.append(f"{key} = {msgspec.json.encode(value).decode()}")
    return "\n".join(lines)


@vendor
async def test_what_the_vendor_says_later_decides_who_is_written_to(
    vendor: str, database: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vendor's signed events come in by the door for callbacks; the next notification knows of them."""
    await put_users(database, "ada", "hard-bounce", "soft-bounce", "complaint")
    async with Sandbox(Options(http_port=None)) as sandbox, AsyncExitStack() as stack:
        account = declared(vendor, sandbox.vendors_url, monkeypatch)
        await prepare(database, {**PROJECT, "ulak.toml": PROJECT["ulak.toml"].replace('provider = "noop"', account)})
        node = await open_node(database, allow_networks="127.0.0.1/32")
        http = await stack.enter_async_context(HttpClient(networks(["127.0.0.1/32"])))
        base = await stack.enter_async_context(serving(_callbacks(node, http)))
        secret = await Callbacks(database).secret(b"s" * 32)
        url = f"{base}/v1/callbacks/{vendor}/{callback_id(secret, 0, vendor, 'mail')}"
        sandbox.vendors.callbacks.set(Callback(vendor=vendor, url=url, times=3))  # type: ignore[arg-type]
        node.start()
        stack.push_async_callback(node.stop)
        await send(node, body("mail", "ada", "hard-bounce", "soft-bounce", "complaint"))

        async def told() -> bool:
            found = {user: state for (user, _), state in (await states(database)).items()}
            ends = [found.get(user, "") for user in ("ada", "complaint", "hard-bounce")]
            return [end.partition(":")[0] for end in ends] == ["delivered", "delivered", "bounced"]

        await eventually(told, within=60, what="the vendor's events to be applied")
        expected = [("complaint@example.com", "not:critical"), ("hard-bounce@example.com", "all")]

        async def listed() -> bool:
            rows = await database.fetch("SELECT address, scope FROM suppressions ORDER BY address")
            return [(row["address"], row["scope"]) for row in rows] == expected

        await eventually(listed, within=60, what="bounce and complaint to suppress")
        await send(node, body("mail", "hard-bounce", "complaint", "ada"))

        async def skipped() -> bool:
            rows = await database.fetch("SELECT user_id, state FROM deliveries ORDER BY id DESC LIMIT 3")
            return {row["user_id"]: row["state"] for row in rows}.get("hard-bounce") == "suppressed"

        await eventually(skipped, within=60, what="the second notification to be held back")
        taken = Counter(received.recipients[0] for received in sandbox.record.after(0, 1_000))
        assert taken["hard-bounce@example.com"] == taken["complaint@example.com"] == 1


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """An ASGI application on a free port."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none"))
    with mock.patch.object(server, "capture_signals", nullcontext):
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = server.force_exit = True
            await task
