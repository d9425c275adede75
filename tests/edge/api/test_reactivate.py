"""Is an address allowed again at the vendors only when asked for, and is it told what came of it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from tests.edge.api.harness import WEAK, api, call
from ulak.core.model import Channel
from ulak.flow.reactivate import Reactivated, Result

pytestmark = pytest.mark.anyio

ONE = "/v1/suppressions/email/Nobody%40EXAMPLE.com"


class Vendors:
    """Vendors that remember what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, Channel, str]] = []

    async def reactivate(self, tenant: int, channel: Channel, address: str) -> Sequence[Reactivated]:
        self.asked.append((tenant, channel, address))
        return [Reactivated("a", Result.REMOVED), Reactivated("b", Result.REFUSED, "postmark_not_reactivated")]


class Store:
    """A list with so many entries of any address."""

    def __init__(self, entries: int) -> None:
        self.entries = entries
        self.scopes: list[str | None] = []

    async def remove(self, tenant: int, channel: str, address: str, scope: str | None) -> int:
        self.scopes.append(scope)
        return self.entries


def door(entries: int) -> tuple[Any, Store, Vendors]:
    store, vendors = Store(entries), Vendors()
    return api(suppressions=cast(Any, store), vendors=vendors), store, vendors


@pytest.mark.parametrize("entries", [0, 2])
async def test_vendors_are_asked_and_told(entries: int) -> None:
    app, store, vendors = door(entries)
    answer = await call(app, "DELETE", ONE + "?at_vendors=true&scope=issues")
    assert answer.status == 200
    assert answer.json == {
        "removed": entries,
        "vendors": [
            {"account": "a", "result": "removed", "reason": None},
            {"account": "b", "result": "refused", "reason": "postmark_not_reactivated"},
        ],
    }
    assert vendors.asked == [(0, "email", "nobody@example.com")]
    assert store.scopes == ["issues"]


@pytest.mark.parametrize(("query", "entries", "status"), [("", 1, 204), ("?at_vendors=false", 1, 204), ("", 0, 404)])
async def test_vendors_are_left_alone_otherwise(query: str, entries: int, status: int) -> None:
    app, _, vendors = door(entries)
    assert (await call(app, "DELETE", ONE + query)).status == status
    assert vendors.asked == []


async def test_who_may_not_write_asks_no_vendor() -> None:
    app, store, vendors = door(1)
    assert (await call(app, "DELETE", ONE + "?at_vendors=true", token=WEAK)).status == 403
    assert (await call(app, "DELETE", ONE + "?at_vendors=yes")).status == 422
    assert (await call(app, "DELETE", "/v1/suppressions/email/nobody?at_vendors=true")).status == 422
    assert (vendors.asked, store.scopes) == ([], [])
