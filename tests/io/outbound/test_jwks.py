"""Are an identity provider's keys read often enough, never too often, and never from anywhere else?

The address is a real server on loopback behind the real guarded client; the operator's allow-list plays the public
network, as in the client's own tests.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.support import eventually
from ulak.core.issuer import Issuer
from ulak.io.outbound import jwks
from ulak.io.outbound.egress import networks
from ulak.io.outbound.http import HttpClient
from ulak.io.outbound.jwks import BODY_CAP, PAUSE, REFRESH, STALE, KeySets

pytestmark = pytest.mark.anyio

FIRST, SECOND = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
ISSUER = "https://id.example.com"
Answer = Callable[[], Awaitable[bytes]]


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def rows(**keys: Any) -> bytes:
    made = [{**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid} for kid, key in keys.items()]
    return json.dumps({"keys": made}).encode()


class Provider:
    """An identity provider that says what it is told to."""

    def __init__(self) -> None:
        self.body = rows(k1=FIRST)
        self.status = "200 OK"
        self.more = ""
        self.asked = 0
        self.hold: asyncio.Event | None = None
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
                if self.hold is not None:
                    await self.hold.wait()
                head = f"HTTP/1.1 {self.status}\r\nContent-Length: {len(self.body)}\r\n{self.more}\r\n"
                writer.write(head.encode() + self.body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    def issuer(self, **changes: Any) -> Issuer:
        url = f"http://127.0.0.1:{self.port}/jwks"
        return Issuer(
            **{"name": "id", "issuer": ISSUER, "audience": "ulak", "algorithm": "ES256", "jwks_url": url} | changes
        )


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        if made.hold is not None:
            made.hold.set()
        server.close()


@asynccontextmanager
async def sets(clock: Clock, changed: list[int] | None = None, allow: str = "127.0.0.1/32") -> AsyncIterator[KeySets]:
    told = [] if changed is None else changed
    async with HttpClient(networks([allow]), body_cap=BODY_CAP) as http:
        made = KeySets(http, clock, lambda: told.append(1))
        try:
            yield made
        finally:
            await made.stop()


def ids(key_sets: KeySets) -> set[tuple[int, str | None]]:
    return {(key.tenant, key.kid) for key in key_sets.usable()}


async def test_keys_are_read_and_read_again_every_ten_minutes() -> None:
    clock, changed = Clock(), list[int]()
    async with provider() as idp, sets(clock, changed) as key_sets:
        key_sets.want({(7, "id"): idp.issuer(audience="app", user_claim="uid")})
        assert key_sets.usable() == []
        await key_sets.refresh()
        (key,) = key_sets.usable()
        assert (key.tenant, key.kid, key.algorithm) == (7, "k1", "ES256")
        assert (key.issuer, key.audience, key.user_claim) == (ISSUER, "app", "uid")
        clock.seconds += REFRESH - 1
        await key_sets.refresh()
        assert idp.asked == 1
        idp.body = rows(k1=FIRST, k2=SECOND)
        clock.seconds += 1
        before = len(changed)
        await key_sets.refresh()
        assert ids(key_sets) == {(7, "k1"), (7, "k2")}
        assert len(changed) == before + 1
        clock.seconds += REFRESH
        await key_sets.refresh()
        assert (idp.asked, len(changed)) == (3, before + 1)


async def test_an_unknown_key_id_makes_one_request_in_thirty_seconds() -> None:
    clock = Clock()
    async with provider() as idp, sets(clock) as key_sets:
        key_sets.want({(7, "id"): idp.issuer()})
        assert not await key_sets.unknown("https://other.example.com")
        assert idp.asked == 0
        assert await key_sets.unknown(ISSUER)
        idp.body = rows(k2=SECOND)
        for _ in range(100):
            assert not await key_sets.unknown(ISSUER)
        clock.seconds += PAUSE
        assert all(await asyncio.gather(*(key_sets.unknown(ISSUER) for _ in range(50))))
        assert idp.asked == 2
        assert ids(key_sets) == {(7, "k2")}


async def test_a_caller_who_goes_away_stops_nobody_elses_read() -> None:
    async with provider() as idp, sets(Clock()) as key_sets:
        idp.hold = asyncio.Event()
        key_sets.want({(7, "id"): idp.issuer()})
        first, second = (asyncio.create_task(key_sets.unknown(ISSUER)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        idp.hold.set()
        assert await second
        assert ids(key_sets) == {(7, "k1")}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "500 Oops"}, "the answer was 500"),
        ({"status": "404 Not Found"}, "the answer was 404"),
        ({"status": "302 Found", "more": "Location: /elsewhere\r\n"}, "the answer was 302"),
        ({"status": "304 Not Modified", "body": b""}, "the answer was 304"),
        ({"body": b"<html>"}, "not JSON"),
        ({"body": b"{}"}, "no list of keys"),
        ({"body": b'{"keys":[' + b" " * 70_000 + b"]}"}, "more than 65536 bytes"),
        ({"body": b'{"keys":[' + b",".join([b"{}"] * 33) + b"]}"}, "more than 32 keys"),
    ],
)
async def test_an_answer_that_is_no_set_changes_nothing(
    changes: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    async with provider() as idp, sets(clock) as key_sets:
        key_sets.want({(7, "id"): idp.issuer()})
        await key_sets.refresh()
        for name, value in changes.items():
            setattr(idp, name, value)
        clock.seconds += REFRESH
        await key_sets.refresh()
        assert idp.asked == 2
        assert words in caplog.text
        assert ids(key_sets) == {(7, "k1")}
        assert not key_sets.away(ISSUER)


async def test_a_slow_provider_costs_only_its_own_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "DEADLINE", 2.0)
    async with provider() as slow, provider() as good, sets(Clock()) as key_sets:
        slow.hold = asyncio.Event()
        key_sets.want(
            {(1, "slow"): slow.issuer(name="slow"), (2, "good"): good.issuer(issuer="https://good.example.com")}
        )
        await key_sets.refresh()
        assert ids(key_sets) == {(2, "k1")}
        assert key_sets.away(ISSUER)
        assert not key_sets.away("https://good.example.com")


async def test_a_failure_is_tried_again_sooner() -> None:
    clock = Clock()
    async with provider() as idp, sets(clock) as key_sets:
        idp.status = "503 Away"
        key_sets.want({(7, "id"): idp.issuer()})
        await key_sets.refresh()
        await key_sets.refresh()
        assert (idp.asked, key_sets.away(ISSUER)) == (1, True)
        idp.status = "200 OK"
        clock.seconds += PAUSE
        await key_sets.refresh()
        assert (ids(key_sets), key_sets.away(ISSUER)) == ({(7, "k1")}, False)


async def test_old_keys_serve_for_a_day_and_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    clock, changed = Clock(), list[int]()
    async with provider() as idp, sets(clock, changed) as key_sets:
        key_sets.want({(7, "id"): idp.issuer()})
        await key_sets.refresh()
        idp.status = "500 Oops"
        clock.seconds += STALE
        await key_sets.refresh()
        assert ids(key_sets) == {(7, "k1")}
        clock.seconds += 1
        before = len(changed)
        await key_sets.refresh()
        assert ids(key_sets) == set()
        assert key_sets.away(ISSUER)
        assert len(changed) == before + 1
        assert "too old" in caplog.text


async def test_a_key_that_is_gone_from_the_set_is_gone() -> None:
    clock = Clock()
    async with provider() as idp, sets(clock) as key_sets:
        key_sets.want({(7, "id"): idp.issuer()})
        await key_sets.refresh()
        idp.body = b'{"keys":[]}'
        clock.seconds += REFRESH
        await key_sets.refresh()
        assert key_sets.usable() == []
        assert not key_sets.away(ISSUER)


async def test_a_private_address_is_not_asked(caplog: pytest.LogCaptureFixture) -> None:
    async with provider() as idp, sets(Clock(), allow="192.0.2.0/24") as key_sets:
        key_sets.want({(7, "id"): idp.issuer()})
        await key_sets.refresh()
        assert (idp.asked, key_sets.usable(), key_sets.away(ISSUER)) == (0, [], True)
        assert "not asked (address: loopback)" in caplog.text


async def test_a_weak_key_is_named_in_the_log_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    private = {**ECAlgorithm.to_jwk(SECOND, as_dict=True), "kid": "k2"}
    private.pop("key_ops", None)
    async with provider() as idp, sets(Clock()) as key_sets:
        idp.body = json.dumps({"keys": [*json.loads(rows(k1=FIRST))["keys"], private]}).encode()
        key_sets.want({(7, "id"): idp.issuer()})
        await key_sets.refresh()
        assert ids(key_sets) == {(7, "k1")}
        assert "key 2 shows its private half" in caplog.text
        assert private["d"] not in caplog.text


async def test_two_tenants_keys_stay_apart_though_issuer_and_key_id_are_one() -> None:
    async with provider() as one, provider() as other, sets(Clock()) as key_sets:
        other.body = rows(k1=SECOND)
        key_sets.want({(1, "id"): one.issuer(), (2, "id"): other.issuer()})
        await key_sets.refresh()
        found = {key.tenant: key.material for key in key_sets.usable()}
        assert found == {1: FIRST.public_key(), 2: SECOND.public_key()}


async def test_issuers_come_and_go_and_one_that_is_as_before_keeps_its_keys() -> None:
    changed = list[int]()
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    fixed = Issuer("own", "own", "ulak", "ES256", None, SECOND.public_key().public_bytes(*pem).decode())
    async with provider() as idp, sets(Clock(), changed) as key_sets:
        wanted = {(7, "id"): idp.issuer()}
        key_sets.want(wanted)
        await key_sets.refresh()
        key_sets.want({**wanted, (7, "own"): fixed})
        assert ids(key_sets) == {(7, "k1"), (7, None)}
        assert not await key_sets.unknown("own")
        before = len(changed)
        key_sets.want({**wanted, (7, "own"): fixed})
        assert len(changed) == before
        key_sets.want({(7, "own"): fixed})
        assert (ids(key_sets), len(changed)) == ({(7, None)}, before + 1)
        key_sets.want({(7, "id"): idp.issuer(algorithm="EdDSA")})
        assert key_sets.usable() == []
        assert idp.asked == 1


async def test_an_issuer_that_goes_while_it_is_read_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with provider() as idp, sets(Clock()) as key_sets:
        idp.hold = asyncio.Event()
        key_sets.want({(7, "id"): idp.issuer()})
        reading = asyncio.create_task(key_sets.unknown(ISSUER))
        await eventually(lambda: idp.asked == 1)
        key_sets.want({})
        await reading
        assert key_sets.usable() == []
