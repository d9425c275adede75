"""What is a push made of: content in the user's language, and what its service and app need to know?"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.flow.devices import FILES, IOS, identity, put_device
from tests.flow.harness import body, open_node, plan_all, prepare, send
from tests.flow.station import Scripted
from ulak.core.device import AddressKind
from ulak.core.model import Channel
from ulak.core.outcome import Kind, Outcome
from ulak.flow.attempt.messages import Made, Maker, NoFiles
from ulak.io.postgres.attempting import Line, Started, begin, claim
from ulak.io.postgres.gate import SENDING
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.providers.contract import Capabilities, Message, PushContent

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

TEMPLATES = {
    "templates/order/push.txt": (
        '+++\ntitle = "Order {{ data.number }}"\nurl = "https://shop.example/{{ data.number }}"\n+++\nOn its way.'
    ),
    "templates/order/push.tr.txt": '+++\ntitle = "Sipariş {{ data.number }}"\n+++\nGeliyor, {{ user.id }}.',
}


@pytest.fixture
async def node(store: Pool) -> AsyncIterator[Node]:
    """A node of which only the acceptor runs."""
    await prepare(store, FILES | TEMPLATES)
    await store.execute("INSERT INTO users (tenant, id, locale) VALUES (0, 'ada', 'tr'), (0, 'bob', 'en')")
    node = await open_node(store)
    node.acceptor.start()
    yield node
    await node.acceptor.stop()


async def begun(node: Node, **request: Any) -> list[Started]:
    """The rows of one push to ada and bob, begun."""
    await send(node, body("both", "ada", "bob", **request))
    await plan_all(node)
    async with node.pool.transaction(SENDING) as connection:
        rows = await claim(connection, Line(1, IOS.bulkhead), 64, node.boot, 60.0, 1.0)
        return (await begin(connection, rows, IOS.name, 30.0))[0]


def provider(*, content: bool = True, entropy: bool = False) -> Scripted:
    made = Scripted()
    made.CAPABILITIES = Capabilities(Channel.PUSH, content=content, entropy=entropy)
    return made


def maker(node: Node, entropy: Callable[[int], bytes] = lambda n: b"e" * n) -> Maker:
    return Maker(node.pool, node.catalogs, time.monotonic, NoFiles(), node.linker, entropy)


def by_user(made: Made) -> dict[str, Message]:
    assert made.failed == []
    return {message.user: message for message in made.messages.values()}


async def test_each_user_reads_it_in_his_language_and_sees_his_own_count(node: Node) -> None:
    await put_device(node.pool, 1, "ada")
    await put_device(node.pool, 2, "bob")
    await send(node, body("order", "bob"))
    await plan_all(node)
    made = by_user(await maker(node).make(await begun(node, collapse_key="k"), IOS, provider()))
    ada, bob = made["ada"].content, made["bob"].content
    assert isinstance(ada, PushContent)
    assert isinstance(bob, PushContent)
    assert (ada.title, ada.body) == ("Sipariş 7", "Geliyor, ada.")
    assert (bob.title, bob.body, bob.url) == ("Order 7", "On its way.", "https://shop.example/7")
    assert (made["ada"].badge, made["bob"].badge) == (1, 2)
    assert made["ada"].collapse == "k"
    assert made["ada"].device is not None
    assert made["ada"].device.id == made["ada"].target == identity(1)


async def test_its_app_gets_a_token_of_its_own_to_tell_what_became_of_it(node: Node) -> None:
    await put_device(node.pool, 1, "ada")
    await put_device(node.pool, 2, "bob")
    rows = await begun(node)
    made = by_user(await maker(node).make(rows, IOS, provider()))
    tokens = {row.user: node.linker.receipt(row.tenant, row.delivery) for row in rows}
    assert {user: message.receipt for user, message in made.items()} == tokens
    assert tokens["ada"] != tokens["bob"]


async def test_only_who_needs_random_bytes_gets_them_fresh_for_each_message(node: Node) -> None:
    await put_device(node.pool, 1, "ada")
    await put_device(node.pool, 2, "bob")
    drawn: list[int] = []

    def draw(n: int) -> bytes:
        drawn.append(n)
        return bytes([len(drawn)]) * n

    rows = await begun(node)
    made = by_user(await maker(node, draw).make(rows, IOS, provider(entropy=True)))
    assert drawn == [48, 48]
    assert made["ada"].entropy != made["bob"].entropy
    made = by_user(await maker(node, draw).make(rows, IOS, provider()))
    assert drawn == [48, 48]
    assert made["ada"].entropy == b""


async def test_a_provider_that_discards_needs_no_content_and_no_token(node: Node) -> None:
    await put_device(node.pool, 1, "ada")
    (message,) = by_user(await maker(node).make(await begun(node), IOS, provider(content=False))).values()
    assert message.receipt is None
    assert message.device is not None


@pytest.mark.parametrize("unread", ["kind", "environment"])
async def test_a_device_of_a_later_release_is_tried_again_by_a_node_that_knows_it(node: Node, unread: str) -> None:
    """While two releases run side by side, the elder must not stumble over it."""
    await put_device(node.pool, 1, "ada")
    await send(node, body("push", "ada"))
    await plan_all(node)
    await node.pool.execute(f"UPDATE devices SET {unread} = 'new'")
    async with node.pool.transaction(SENDING) as connection:
        rows = await claim(connection, Line(1, IOS.bulkhead), 64, node.boot, 60.0, 1.0)
        started, stopped = await begin(connection, rows, IOS.name, 30.0)
    assert not stopped
    made = await maker(node).make(started, IOS, provider())
    assert [(outcome.kind, outcome.reason) for _, outcome in made.failed] == [
        (Kind.RETRY, "internal_error_before_send")
    ]


async def test_a_device_that_its_account_does_not_reach_is_not_rendered_for(node: Node) -> None:
    await put_device(node.pool, 1, "ada")
    rows = await begun(node)
    await node.pool.execute("DELETE FROM leases; DELETE FROM attempts")
    assert rows[0].device is not None
    assert rows[0].device.kind is AddressKind.APNS
    droid = IOS.__class__("droid", "fcm", Channel.PUSH)
    made = await maker(node).make(rows, droid, provider())
    ((_, verdict),) = made.failed
    assert isinstance(verdict, Outcome)
    assert (verdict.kind, verdict.reason) == (Kind.NEXT_PROVIDER, "device_elsewhere")
