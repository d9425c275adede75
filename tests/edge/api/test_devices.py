"""Can an app register its own device and no other, is each mistake told, and is no address ever given back?"""

from __future__ import annotations

import base64
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.edge.api.harness import KEY, PUBLIC, WEAK, Answer, api, call
from ulak.core.device import MAX_DEVICES
from ulak.edge.api import Api
from ulak.io.postgres.pool import Pool

pytestmark = pytest.mark.anyio

SECRET = "ca9a49" * 11
"""A token of Apple's, to be looked for where it must not be."""
ENDPOINT = f"https://web.push.apple.com/{SECRET}"
AUTH = base64.urlsafe_b64encode(b"canary0123456789").rstrip(b"=").decode()
APNS = {"kind": "apns", "token": SECRET}
WEB = {"kind": "webpush", "subscription": {"endpoint": ENDPOINT, "keys": {"p256dh": PUBLIC, "auth": AUTH}}}
ALL = [
    APNS,
    {"kind": "fcm_token", "token": f"fcm:{SECRET}"},
    {"kind": "fcm_fid", "token": f"c{SECRET[:21]}"},
    WEB,
]
ADA, EVE = "user:0:ada", "user:0:eve"
OWN, PHONE = "/v1/me/devices", "/v1/me/devices/phone"
HERS = "/v1/users/ada/devices"


@pytest.fixture
async def tokens(served: Api) -> dict[str, str]:
    """Tokens of two users."""
    made = {}
    for user in ("ada", "eve"):
        made[user] = (await call(served, "POST", f"/v1/users/{user}/tokens", {})).json["token"]
    return made


def problem(answer: Answer, code: str, path: str | None) -> None:
    assert (answer.status, answer.json["code"], answer.json.get("path")) == (422, code, path), answer.json
    assert answer.json["detail"]


# ---------------------------------------------------------------------------------------- refusals

_sub = WEB["subscription"]
BODIES: list[tuple[Any, str, str]] = [
    ({}, "missing_field", "$.kind"),
    ({"kind": "sms", "token": "x"}, "invalid_field", "$.kind"),
    ({**APNS, "platform": "amiga"}, "invalid_field", "$.platform"),
    ({**APNS, "environment": "staging"}, "invalid_field", "$.environment"),
    ({**APNS, "address": "x"}, "unknown_field", "$.address"),
    ({**APNS, "app": "x" * 129}, "invalid_field", "$.app"),
    ({**APNS, "token": 7}, "invalid_field", "$.token"),
    ({**APNS, "token": "xyz"}, "invalid_token", "$.token"),
    ({"kind": "apns"}, "missing_field", "$.token"),
    ({"kind": "webpush", "subscription": {}}, "missing_field", "$.subscription.endpoint"),
    ({"kind": "webpush", "subscription": {"endpoint": ENDPOINT, "keys": {}}}, "missing_field",
     "$.subscription.keys.p256dh"),
    ({"kind": "webpush", "subscription": {**_sub, "endpoint": "https://10.0.0.1/"}}, "invalid_endpoint",  # type: ignore[dict-item]
     "$.subscription.endpoint"),
    ({"kind": "webpush", "subscription": {**_sub, "keys": {"p256dh": "AAAA", "auth": AUTH}}}, "invalid_key",  # type: ignore[dict-item]
     "$.subscription.keys.p256dh"),
    ({"kind": "webpush", "subscription": {**_sub, "expirationTime": "soon"}}, "invalid_field",  # type: ignore[dict-item]
     "$.subscription.expirationTime"),
    ({"kind": "webpush", "subscription": {**_sub, "expirationTime": 1}}, "subscription_expired",  # type: ignore[dict-item]
     "$.subscription.expirationTime"),
    ({**WEB, "application_server_key": PUBLIC[:-1]}, "invalid_key", "$.application_server_key"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "path"), BODIES)
async def test_a_mistake_is_a_problem_with_its_place_and_nothing_is_stored(body: Any, code: str, path: str) -> None:
    for token, at in ((KEY, f"{HERS}/phone"), (ADA, PHONE)):
        answer = await call(api(), "PUT", at, body, token=token)
        problem(answer, code, path)
        assert SECRET not in answer.body.decode()


async def test_a_key_that_no_account_has_is_refused() -> None:
    other = api(application_servers=lambda tenant: [])
    problem(await call(other, "PUT", PHONE, WEB, token=ADA), "no_account", "$.kind")
    known = {**WEB, "application_server_key": PUBLIC}
    point = base64.urlsafe_b64decode(PUBLIC + "=")
    negative = (
        0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF - int.from_bytes(point[33:], "big")
    ).to_bytes(32, "big")
    unknown = {**known, "application_server_key": base64.urlsafe_b64encode(point[:33] + negative).decode()}
    problem(await call(api(), "PUT", PHONE, unknown, token=ADA), "unknown_server_key", "$.application_server_key")


@pytest.mark.parametrize("path", [f"{OWN}/a%00b", f"{OWN}/{'x' * 129}", f"{OWN}/a%0Ab"])
async def test_an_id_that_can_not_be_kept_is_refused(path: str) -> None:
    for method in ("PUT", "DELETE"):
        answer = await call(api(), method, path, APNS if method == "PUT" else None, token=ADA)
        assert answer.status in (400, 422), answer


async def test_a_parameter_that_can_not_be_meant_is_refused() -> None:
    problem(await call(api(), "DELETE", f"{PHONE}?app=", token=ADA), "invalid_id", "?app")
    problem(await call(api(), "DELETE", f"{PHONE}?name=x", token=ADA), "unknown_parameter", "?name")


class Breaks:
    """A store that fails with an address in its words, as PostgreSQL's do."""

    async def register(self, tenant: int, wanted: Any, fresh: str) -> Any:
        raise RuntimeError(f"Key (address)=({wanted.address}) {wanted.p256dh} {wanted.auth}")


@pytest.mark.parametrize("body", ALL)
async def test_no_address_gets_into_the_log(caplog: pytest.LogCaptureFixture, body: Any) -> None:
    caplog.set_level(logging.DEBUG)
    answer = await call(api(devices=Breaks()), "PUT", PHONE, body, token=ADA)
    assert answer.status == 500
    await call(api(), "PUT", PHONE, {**body, "kind": "nothing"}, token=ADA)
    assert "incident" in caplog.text
    for secret in (SECRET[:21], AUTH, PUBLIC):
        assert secret not in caplog.text
        assert secret not in answer.body.decode()


# ------------------------------------------------------------------------------------- over a database


@pytest.mark.pg
async def test_an_app_registers_refreshes_and_logs_out(served: Api, tokens: dict[str, str]) -> None:
    ada = tokens["ada"]
    body = {**APNS, "app": "org.example.app", "app_version": "2.1", "model": "iPhone17,1", "environment": "sandbox"}
    made = await call(served, "PUT", PHONE, body, token=ada)
    assert made.status == 200
    shown = made.json
    assert {name: shown[name] for name in ("device", "kind", "app", "platform", "environment", "state")} == {
        "device": "phone",
        "kind": "apns",
        "app": "org.example.app",
        "platform": "ios",
        "environment": "sandbox",
        "state": "active",
    }
    assert shown["id"].startswith("dev_")
    again = (await call(served, "PUT", PHONE, body, token=ada)).json
    assert again["id"] == shown["id"]
    assert again["registered_at"] > shown["registered_at"]
    assert (await call(served, "GET", OWN, token=ada)).json["items"] == [again]
    assert (await call(served, "GET", HERS)).json["items"] == [again]
    assert (await call(served, "GET", f"{HERS}/phone?app=org.example.app")).json == again
    assert (await call(served, "GET", f"{HERS}/phone?app=other")).status == 404
    assert (await call(served, "DELETE", f"{PHONE}?app=other", token=ada)).status == 404
    assert (await call(served, "DELETE", PHONE, token=ada)).status == 204
    assert (await call(served, "DELETE", PHONE, token=ada)).status == 404
    assert (await call(served, "GET", OWN, token=ada)).json["items"] == []


@pytest.mark.pg
async def test_a_browser_is_told_the_key_to_subscribe_with(served: Api, tokens: dict[str, str]) -> None:
    told = (await call(served, "GET", OWN, token=tokens["ada"])).json
    assert told == {"items": [], "application_servers": [{"account": "web", "key": PUBLIC, "apps": []}]}
    ends = datetime.now(UTC) + timedelta(days=90)
    subscription = {**WEB["subscription"], "expirationTime": ends.timestamp() * 1000}  # type: ignore[dict-item]
    body = {**WEB, "subscription": subscription, "application_server_key": told["application_servers"][0]["key"]}
    made = (await call(served, "PUT", f"{OWN}/firefox", body, token=tokens["ada"])).json
    assert (made["platform"], made["state"], made["environment"]) == ("web", "active", None)
    assert datetime.fromisoformat(made["expires_at"]) - ends < timedelta(seconds=1)


@pytest.mark.pg
@pytest.mark.parametrize("body", ALL, ids=lambda body: body["kind"])
async def test_no_answer_holds_an_address_or_a_key(served: Api, tokens: dict[str, str], body: Any) -> None:
    answers = [
        await call(served, "PUT", PHONE, body, token=tokens["ada"]),
        await call(served, "PUT", f"{HERS}/phone", body),
        await call(served, "GET", OWN, token=tokens["ada"]),
        await call(served, "GET", HERS),
        await call(served, "GET", f"{HERS}/phone"),
    ]
    for answer in answers:
        assert answer.status == 200
        items = json.dumps(answer.json.get("items", answer.json))
        for secret in (SECRET[:21], AUTH, PUBLIC, "apple.com"):
            assert secret not in items


@pytest.mark.pg
async def test_nobody_reaches_another_users_devices(served: Api, tokens: dict[str, str]) -> None:
    await call(served, "PUT", PHONE, APNS, token=tokens["ada"])
    eve = tokens["eve"]
    assert (await call(served, "GET", OWN, token=eve)).json["items"] == []
    assert (await call(served, "DELETE", PHONE, token=eve)).status == 404
    assert (await call(served, "PUT", PHONE, {**APNS, "token": "0b" * 32}, token=eve)).status == 200
    assert len((await call(served, "GET", OWN, token=tokens["ada"])).json["items"]) == 1
    for method, path in (
        ("GET", HERS),
        ("GET", f"{HERS}/phone"),
        ("PUT", f"{HERS}/phone"),
        ("DELETE", f"{HERS}/phone"),
    ):
        assert (await call(served, method, path, APNS if method == "PUT" else None, token=eve)).status == 401
    assert (await call(served, "GET", HERS, token=WEAK)).json["items"] == []
    assert (await call(served, "GET", f"{HERS}/phone", token=WEAK)).status == 404
    assert (await call(served, "DELETE", f"{HERS}/phone", token=WEAK)).status == 404


@pytest.mark.pg
async def test_who_logs_in_on_the_same_phone_takes_it_over(served: Api, tokens: dict[str, str]) -> None:
    first = (await call(served, "PUT", PHONE, APNS, token=tokens["ada"])).json
    upper = {**APNS, "token": SECRET.upper()}
    second = (await call(served, "PUT", PHONE, upper, token=tokens["eve"])).json
    assert first["id"] != second["id"]
    assert first["address_hash"] == second["address_hash"]
    assert (await call(served, "GET", OWN, token=tokens["ada"])).json["items"] == []


@pytest.mark.pg
async def test_a_device_tells_how_it_is(served: Api, tokens: dict[str, str], database: Pool) -> None:
    async def state() -> tuple[str, Any]:
        item = (await call(served, "GET", HERS)).json["items"][0]
        return item["state"], item["disabled"]

    body = {**APNS, "token": SECRET}
    await call(served, "PUT", PHONE, body, token=tokens["ada"])
    now = (await call(served, "GET", HERS)).json["items"][0]["seen_at"]
    assert await state() == ("active", None)
    # The door's clock stands still in these tests, so the ages are told from it.
    await database.execute("UPDATE devices SET seen_at = $1", datetime(2025, 12, 30, tzinfo=UTC))
    assert await state() == ("stale", None)
    await database.execute("UPDATE devices SET expires_at = $1", datetime(2026, 2, 1, tzinfo=UTC))
    assert (await state())[1]["reason"] == "subscription_expired"
    await database.execute(
        "UPDATE devices SET disabled_at = now(), disabled_why = 'apns_unregistered', disabled_by = 'apple',"
        " evidence = 'Unregistered'"
    )
    shown, disabled = await state()
    assert (shown, disabled["reason"], disabled["account"], disabled["evidence"]) == (
        "disabled",
        "apns_unregistered",
        "apple",
        "Unregistered",
    )
    own = (await call(served, "GET", OWN, token=tokens["ada"])).json["items"][0]["disabled"]
    assert (own["reason"], own["account"], own["evidence"]) == ("apns_unregistered", None, None)
    back = (await call(served, "PUT", PHONE, body, token=tokens["ada"])).json
    assert (back["state"], back["disabled"], back["seen_at"] > now) == ("active", None, True)


@pytest.mark.pg
async def test_a_user_can_not_fill_the_database_with_devices(served: Api, tokens: dict[str, str]) -> None:
    for n in range(MAX_DEVICES + 3):
        body = {**APNS, "token": f"{n:064x}"}
        assert (await call(served, "PUT", f"{OWN}/d{n}", body, token=tokens["ada"])).status == 200
    items = (await call(served, "GET", OWN, token=tokens["ada"])).json["items"]
    assert [item["device"] for item in items] == [f"d{n}" for n in range(MAX_DEVICES + 2, 2, -1)]
