"""Is a vendor asked before an unanswered call is made again, and does a failed look-up change nothing?"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests.flow.harness import body, open_node, plan_all, prepare, put_users, send, states
from tests.flow.station import MAIL, Options, Station, attempts, make_due, station
from ulak.core.model import Account
from ulak.flow.attempt import Route, Settings, Worker
from ulak.io.outbound.vendor import VendorSender
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.providers.email import postmark
from ulak.sandbox.credentials import CREDENTIALS
from ulak.sandbox.server import Options as SandboxOptions
from ulak.sandbox.server import Sandbox
from ulak.sandbox.vendor_faults import decode

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

USERS = ("ada", "bob", "eve")
LOST = {"at": "taken", "do": "drop", "times": 1}


@pytest.fixture
async def node(store: Pool) -> AsyncIterator[Node]:
    """A node of which only the acceptor runs."""
    await prepare(store)
    await put_users(store, *USERS)
    node = await open_node(store)
    node.acceptor.start()
    yield node
    await node.acceptor.stop()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """The vendors."""
    async with Sandbox(SandboxOptions(http_port=None)) as running:
        yield running


def arm(sandbox: Sandbox, fault: Mapping[str, Any]) -> None:
    sandbox.vendors.faults.arm(decode(msgspec.json.encode({"vendor": "postmark", **fault})))


def taken(sandbox: Sandbox) -> Counter[str]:
    return Counter(received.recipients[0].partition("@")[0] for received in sandbox.record.after(0, 100))


def account_of(sandbox: Sandbox, **more: Any) -> Account:
    settings = {**CREDENTIALS["postmark"], "endpoint": sandbox.vendors_url}
    return replace(MAIL, provider="postmark", settings=settings, **more)


@asynccontextmanager
async def posting(
    node: Node, account: Account, provider: Any = postmark, settings: Settings | None = None
) -> AsyncIterator[Station]:
    """A station whose vendor is the sandbox's Postmark."""
    options = Options(account=account, batch=postmark.BATCH, settings=settings or Settings())
    async with station(node, options=options) as one:
        sender = VendorSender(account, [ip_network("127.0.0.1/32")])
        one.worker = Worker(Route(account, provider, sender), one.worker._tools)
        yield one
        await sender.close()


async def lose(node: Node, sandbox: Sandbox, account: Account, *users: str) -> None:
    """Messages that the vendor takes without an answer, whose time to be sent again has come."""
    await send(node, body("mail", *(users or ("ada",))))
    await plan_all(node)
    arm(sandbox, LOST)
    async with posting(node, account) as one:
        await one.work()
    assert {kind for _, kind, _ in await attempts(node)} == {"unknown"}
    await make_due(node)


def without_lookup() -> Any:
    """The same provider, which nobody asks."""
    names = {name: getattr(postmark, name) for name in ("OUTCOMES", "build", "check", "read")}
    return SimpleNamespace(**names, CAPABILITIES=replace(postmark.CAPABILITIES, lookup=False))


async def test_what_the_vendor_has_is_accepted_and_not_sent_again(node: Node, sandbox: Sandbox) -> None:
    account = account_of(sandbox)
    await lose(node, sandbox, account)
    async with posting(node, account) as one:
        await one.work()
    assert taken(sandbox) == {"ada": 1}
    assert (await attempts(node))[1:] == [(2, "accepted", "found_by_lookup")]
    assert await states(node.pool) == {("ada", "email"): "accepted"}
    (vendor_id,) = sandbox.vendors.callbacks.accepted
    assert await node.pool.fetchval("SELECT vendor_id FROM outcomes WHERE n = 2") == vendor_id


async def test_without_asking_it_comes_twice(node: Node, sandbox: Sandbox) -> None:
    """What the look-up defends against."""
    account = account_of(sandbox)
    await lose(node, sandbox, account)
    async with posting(node, account, without_lookup()) as one:
        await one.work()
    assert taken(sandbox) == {"ada": 2}
    assert (await attempts(node))[1:] == [(2, "accepted", "accepted")]


async def test_of_a_batch_only_what_is_missing_is_sent(node: Node, sandbox: Sandbox) -> None:
    account = account_of(sandbox)
    await lose(node, sandbox, account, *USERS)
    held = sandbox.vendors.callbacks.accepted
    held.pop(next(key for key, (_, parcel) in held.items() if parcel.recipient.startswith("bob")))
    async with posting(node, account) as one:
        await one.work()
    assert taken(sandbox) == {"ada": 1, "bob": 2, "eve": 1}
    reasons = Counter(reason for n, _, reason in await attempts(node) if n == 2)
    assert reasons == {"found_by_lookup": 2, "accepted": 1}
    assert set((await states(node.pool)).values()) == {"accepted"}


@pytest.mark.parametrize(
    "fault",
    [
        {"at": "request", "do": "reply", "status": 500},
        {"at": "request", "do": "reply", "status": 200, "body": "<html>"},
        {"at": "request", "do": "reply", "status": 200, "body": '{"TotalCount":1,"Messages":[{"MessageID":"x"}]}'},
        {"at": "request", "do": "drop"},
        {"at": "request", "do": "stall"},
        {"at": "answer", "do": "drop"},
    ],
)
async def test_a_look_up_that_fails_changes_nothing(node: Node, sandbox: Sandbox, fault: dict[str, Any]) -> None:
    account = account_of(sandbox, timeout=2.0 if fault["do"] == "stall" else 30.0)
    await lose(node, sandbox, account)
    arm(sandbox, {**fault, "times": 1})
    async with posting(node, account) as one:
        await one.work()
    assert taken(sandbox) == {"ada": 2}
    assert (await attempts(node))[1:] == [(2, "accepted", "accepted")]


async def test_a_fault_of_ours_in_a_look_up_changes_nothing(
    node: Node, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    account = account_of(sandbox)
    await lose(node, sandbox, account)
    monkeypatch.setattr(postmark, "found", None)
    with caplog.at_level(logging.ERROR):
        async with posting(node, account) as one:
            await one.work()
    assert "a look-up by mail failed in our own code" in caplog.text
    assert taken(sandbox) == {"ada": 2}


async def test_nothing_is_asked_about_what_is_sent_for_the_first_time(
    node: Node, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmark, "lookup", None)
    await send(node, body("mail", "ada"))
    await plan_all(node)
    async with posting(node, account_of(sandbox)) as one:
        await one.work()
    assert await attempts(node) == [(1, "accepted", "accepted")]


async def test_a_lease_that_is_hardly_longer_than_a_call_is_long_enough_to_ask(node: Node, sandbox: Sandbox) -> None:
    """Were the time-out asked for twice, the row would be released for ever."""
    account = account_of(sandbox, timeout=40.0)
    await lose(node, sandbox, account)
    async with posting(node, account, settings=Settings(lease=70.0, margin=12.0)) as one:
        await one.claim()
        await one.written()
    assert (await attempts(node))[1:] == [(2, "accepted", "found_by_lookup")]


async def test_a_lease_too_short_for_both_is_given_back_and_stays_unknown(node: Node, sandbox: Sandbox) -> None:
    account = account_of(sandbox, timeout=6.0)
    await lose(node, sandbox, account)
    async with posting(node, account, settings=Settings(lease=10.0, margin=2.0)) as one:
        times = iter([100.0, 100.0, 100.0])
        clock = lambda: next(times, 101.5)  # noqa: E731 - 8.5 s are left: enough for the call, not for asking before it
        one.worker = Worker(one.worker.route, replace(one.worker._tools, clock=clock))
        await one.claim()
        await one.written()
    assert (await attempts(node))[1:] == [(2, "released", "lease_too_short")]
    assert await states(node.pool) == {("ada", "email"): "unknown"}
    assert taken(sandbox) == {"ada": 1}
