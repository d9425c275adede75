"""Does each call ask for its scope, and does a key end when it is revoked?"""

from __future__ import annotations

import asyncio
import base64
import re
from datetime import timedelta
from typing import Any, cast

import pytest

from tests.edge.api.harness import DLV, KEY, NOW, NTF, WEAK, Answer, KeyDouble, api, call, keys
from ulak.core.apikey import ENTROPY, Scope, make_key
from ulak.edge.api.auth import KeyRing
from ulak.edge.api.router import Route, Who
from ulak.edge.api.table import ROUTES
from ulak.io.postgres.keys import Key, Keys

pytestmark = pytest.mark.anyio

KEYED = [route for route in ROUTES if route.who is Who.KEY]
OWN = [route for route in ROUTES if route.who is Who.USER]
VALUES = {"notification": NTF, "delivery": DLV, "channel": "email", "address": "a@b.co"}


def path(route: Route) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: VALUES.get(name[1], "x"), route.path)


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.json["code"]) == (status, code)


@pytest.mark.parametrize("route", KEYED, ids=name)
async def test_a_route_opens_to_its_scope_and_to_no_other(route: Route) -> None:
    assert route.scope is not None
    for scope in Scope:
        double = KeyDouble()
        double.add(KEY, 0, scope)
        answer = await call(api(keys=double), route.method, path(route), {} if route.takes_body else None)
        if scope in (Scope.ALL, route.scope):
            assert answer.status not in (401, 403)
        else:
            refused(answer, 403, "scope_missing")
    refused(await call(api(), route.method, path(route), token=WEAK), 403, "scope_missing")


@pytest.mark.parametrize("route", [*KEYED, *OWN], ids=name)
async def test_nobody_comes_in_without_a_token_that_holds(route: Route) -> None:
    foreign = "user:0:octocat" if route.who is Who.KEY else KEY
    for token in (None, "", "x", make_key(b"\7" * ENTROPY)[0], foreign, "\xff"):
        answer = await call(api(), route.method, path(route), token=token)
        refused(answer, 401, "unauthorised")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    basic = {"authorization": "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()}
    refused(await call(api(), route.method, path(route), token=None, headers=basic), 401, "unauthorised")


def test_what_is_open_to_all() -> None:
    """Receipts of pushes carry their own proof (``test_pushes``)."""
    assert {route.path for route in ROUTES if route.who is Who.ANYONE} == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/v1/receipts/push",
    }


# ---------------------------------------------------------------------------------------- the key ring


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def ring(double: Any, clock: Clock) -> KeyRing:
    return KeyRing(cast(Keys, double), lambda: NOW + timedelta(seconds=clock.seconds), clock, 0.5)


async def test_an_invented_key_costs_no_question() -> None:
    double = keys()
    for text in ("", "ulk_live_x", KEY[:-1] + ("a" if KEY[-1] != "a" else "b"), KEY + "a", "ulk_live_" + "a" * 10_000):
        assert await ring(double, Clock()).find(text) is None
    assert double.asked == 0


async def test_a_revoked_key_ends_within_the_age() -> None:
    double, clock = keys(), Clock()
    one = ring(double, clock)
    assert await one.find(KEY) is not None
    double.keys.clear()
    double.number += 1
    assert await one.find(KEY) is not None
    assert double.asked == 1
    clock.seconds = 0.51
    assert await one.find(KEY) is None


async def test_a_new_key_opens_within_the_age() -> None:
    double, clock = KeyDouble(), Clock()
    one = ring(double, clock)
    assert await one.find(KEY) is None
    double.add(KEY, 0, "*")
    double.number += 1
    clock.seconds = 0.51
    assert await one.find(KEY) is not None


async def test_a_key_expires_on_time_though_cached() -> None:
    double, clock = KeyDouble(), Clock()
    double.add(KEY, 0, "*", expires_at=NOW + timedelta(seconds=0.2))
    one = ring(double, clock)
    assert await one.find(KEY) is not None
    clock.seconds = 0.2
    assert await one.find(KEY) is None


async def test_an_answer_older_than_a_change_is_not_kept() -> None:
    """The look-up began before the revocation and ends after the cache was forgotten."""
    double, clock = keys(), Clock()
    held, go = asyncio.Event(), asyncio.Event()
    find = double.find

    async def slow(key_hash: bytes) -> Key | None:
        found = await find(key_hash)
        held.set()
        await go.wait()
        return found

    double.find = slow  # type: ignore[method-assign]
    one = ring(double, clock)
    asking = asyncio.create_task(one.find(KEY))
    await held.wait()
    double.keys.clear()
    double.number += 1
    clock.seconds = 0.51
    double.find = find  # type: ignore[method-assign]
    assert await one.find(WEAK) is None  # forgets the cache
    go.set()
    assert await asking is not None  # it was right when it was asked
    assert await one.find(KEY) is None


async def test_many_callers_share_one_question() -> None:
    double, clock = keys(), Clock()
    asked = 0
    version = double.version

    async def counted() -> int:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return await version()

    double.version = counted  # type: ignore[method-assign]
    one = ring(double, clock)
    await asyncio.gather(*(one.find(KEY) for _ in range(50)))
    assert asked == 1


# ------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("token_expired", 401, "token_expired"),
        ("token_revoked", 401, "token_revoked"),
        ("token_key", 401, "unauthorised"),
        ("token_invalid", 401, "unauthorised"),
        ("token_unavailable", 503, "unavailable"),
    ],
)
async def test_a_user_is_told_what_would_help(code: str, status: int, told: str) -> None:
    answer = await call(api(), "GET", "/v1/me/inbox", token=f"error:{code}")
    refused(answer, status, told)
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert ("retry-after" in answer.headers) == (status == 503)
