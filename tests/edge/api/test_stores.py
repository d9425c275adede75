"""Does the door keep what it is told, show it to its owner only, and erase it when asked?"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from tests.edge.api.harness import DLV, KEY, NTF, WEAK, call
from tests.support import eventually
from ulak.core.connections import connection_id
from ulak.core.ids import external, internal
from ulak.edge.api import Api
from ulak.edge.api.router import Who
from ulak.edge.api.table import ROUTES
from ulak.io.postgres.gate import SENDING
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

GOOD = {"type": "issues", "to": [{"user": "octocat"}, {"user": "hubot"}], "data": {"title": "t"}}


async def send(app: Api, token: str = KEY, **changes: Any) -> UUID:
    answer = await call(app, "POST", "/v1/notifications", {**GOOD, **changes}, token=token)
    assert answer.status == 202, answer.json
    found = internal("ntf", answer.json["id"])
    assert found is not None
    return found


async def deliver(pool: Pool, notification: UUID, state: str, n: int, user: str = "octocat", **extra: Any) -> UUID:
    """Put a delivery there as the planner would."""
    delivery = UUID(int=(0x0190_0000_0000_7000_8000 << 48) + (n << 16) + (notification.int & 0xFFFF))
    channel = extra.get("channel", "email")
    tenant = extra.get("tenant", 0)
    await pool.execute(
        """INSERT INTO deliveries (tenant, id, notification, user_id, channel, target, state, reason, category, class,
               lane, bulkhead, expires_at, decision, resend, settled_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'issues', 'transactional', 1, 'email/mail',
                   now() + interval '1 day', '{"why":"test"}', true,
                   CASE WHEN $7 = ANY ('{accepted,delivered,dead}'::text[]) THEN now() END)""",
        tenant, delivery, notification, user, channel, f"{user}@example.com", state, extra.get("reason"),
    )  # fmt: skip
    return delivery


async def count(pool: Pool) -> dict[str, int]:
    names = ["notifications", "idempotency", "plan_work", "users", "preferences", "suppressions", "subscriptions"]
    return {name: await pool.fetchval(f"SELECT count(*) FROM {name}") for name in names}


# ------------------------------------------------------------------------------------------- sending


async def test_a_request_is_stored_once(served: Api, database: Pool) -> None:
    key = {"Idempotency-Key": "once"}
    first = await call(served, "POST", "/v1/notifications", GOOD, headers=key)
    again = await call(served, "POST", "/v1/notifications", GOOD, headers=key)
    other = await call(served, "POST", "/v1/notifications", {**GOOD, "data": {}}, headers=key)
    assert first.json == again.json
    assert (first.headers.get("idempotent-replayed"), again.headers.get("idempotent-replayed")) == (None, "true")
    assert (other.status, other.json["code"]) == (422, "idempotency_conflict")
    foreign = await call(served, "POST", "/v1/notifications", GOOD, headers=key, token=WEAK)
    assert foreign.status == 202
    assert foreign.json["id"] != first.json["id"]
    assert (await count(database))["notifications"] == 2


async def test_bad_requests_leave_nothing(served: Api, database: Pool) -> None:
    before = await count(database)
    bad: list[Any] = [
        {**GOOD, "to": [{"user": "a"}, {"all": False}]},
        {**GOOD, "to": GOOD["to"] * 501},  # type: ignore[operator]
        {**GOOD, "data": {"a": "\0"}},
        b'{"type":"issues","to":[{"user":"a"}],"data":{"a":"\\ud800"}}',
        b'{"type":"issues","to":[{"user":"a"}],"data":' + b"[" * 100_000,
        {**GOOD, "send_at": "9999-12-31T23:59:59Z"},
    ]
    for body in bad:
        assert (await call(served, "POST", "/v1/notifications", body)).status in (400, 422)
    assert await count(database) == before


# --------------------------------------------------------------------------------------- the record


async def test_the_timeline_tells_all(served: Api, database: Pool) -> None:
    notification = await send(served)
    one = await deliver(database, notification, "accepted", 1)
    await deliver(database, notification, "skipped", 2, "hubot", reason="no_address")
    await database.execute(
        "INSERT INTO attempts (tenant, delivery, n, token, account, reconcile_at) VALUES (0, $1, 1, 1, 'mail', now()),"
        " (0, $1, 2, 1, 'mail', now()), (0, $1, 3, 1, 'mail', now())",
        one,
    )
    await database.execute(
        "INSERT INTO outcomes (tenant, delivery, n, kind, blame, reason, detail)"
        " VALUES (0, $1, 1, 'retry', 'vendor', 'smtp_451', 'later'), (0, $1, 2, 'accepted', NULL, 'accepted', NULL)",
        one,
    )
    await database.execute(
        "INSERT INTO receipts (tenant, delivery, n, kind, source) VALUES (0, $1, 2, 'delivered', 'provider')", one
    )
    outer = external("ntf", notification)
    shown = (await call(served, "GET", f"/v1/notifications/{outer}")).json
    assert shown["deliveries"] == {"email": {"accepted": 1, "skipped": 1}}
    assert (shown["class"], shown["category"], shown["planned"]) == ("transactional", "issues", False)
    whole = (await call(served, "GET", f"/v1/notifications/{outer}/timeline")).json
    assert whole["notification"] == shown
    by_user = {delivery["user"]: delivery for delivery in whole["deliveries"]}
    assert by_user["hubot"]["reason"] == "no_address"
    octocat = by_user["octocat"]
    assert octocat["decision"] == {"why": "test"}
    assert [(a["n"], a["outcome"] and a["outcome"]["kind"]) for a in octocat["attempts"]] == [
        (1, "retry"),
        (2, "accepted"),
        (3, None),
    ]
    assert octocat["receipts"][0]["kind"] == "delivered"
    assert "octocat@example.com" not in json.dumps(whole)
    alone = (await call(served, "GET", f"/v1/deliveries/{external('dlv', one)}/timeline")).json
    assert alone["deliveries"] == [octocat]


async def test_a_token_needs_no_body(served: Api) -> None:
    """Everything in the body has a default, so none at all is as good as an empty object."""
    assert (await call(served, "POST", "/v1/users/ada/tokens")).status == 201
    assert (await call(served, "POST", "/v1/users/ada/tokens", {})).status == 201
    assert (await call(served, "POST", "/v1/users/ada/tokens", b" ")).status == 400


async def test_lists_go_page_by_page(served: Api, database: Pool) -> None:
    ids = [await send(served, data={"n": n}) for n in range(5)]
    for index, notification in enumerate(ids):
        await deliver(database, notification, "dead" if index % 2 else "accepted", index)
    foreign = await send(served, WEAK)
    await deliver(database, foreign, "accepted", 9, tenant=1)

    async def walk(path: str) -> list[Any]:
        found: list[Any] = []
        cursor: str | None = ""
        pages = 0
        while cursor is not None:
            answer = (await call(served, "GET", f"{path}limit=2{cursor and '&cursor=' + cursor}")).json
            found += answer["items"]
            cursor, pages = answer["next"], pages + 1
            assert pages < 9
        return found

    shown = [internal("ntf", item["id"]) for item in await walk("/v1/notifications?")]
    assert shown == ids[::-1]
    for path in ("?", "?user=octocat&", "?channel=email&type=issues&"):
        assert [internal("ntf", d["notification"]) for d in await walk("/v1/deliveries" + path)] == ids[::-1]
    dead = await walk("/v1/deliveries?state=dead&")
    assert [internal("ntf", d["notification"]) for d in dead] == [ids[3], ids[1]]
    one = f"/v1/deliveries?notification={external('ntf', ids[2])}&"
    assert len(await walk(one)) == 1
    assert await walk(one + "user=nobody&") == []
    assert await walk("/v1/deliveries?user=null&") == []
    assert len(await walk("/v1/notifications?state=dead&")) == 2
    assert len(await walk("/v1/notifications?user=hubot&")) == 0
    assert await walk("/v1/notifications?until=2026-03-01T12:00:00Z&") == []
    assert len(await walk("/v1/notifications?since=2026-03-01T12:00:00.003Z&")) == 2


async def test_cancel_counts_and_takes_away(served: Api, database: Pool) -> None:
    notification = await send(served)
    for n, state in enumerate(["pending", "held", "retrying", "attempting", "accepted", "unknown"]):
        await deliver(database, notification, state, n, f"u{n}")
    outer = external("ntf", notification)
    path = f"/v1/notifications/{outer}/cancel"
    assert (await call(served, "POST", path, token=WEAK)).status == 404
    assert (await call(served, "POST", path)).json == {"cancelled": 5, "too_late": 3}
    assert (await count(database))["plan_work"] == 0
    first = (await call(served, "GET", f"/v1/notifications/{outer}")).json
    assert first["cancelled_at"] is not None
    assert first["planned"] is True
    assert (await call(served, "POST", path)).json == {"cancelled": 3, "too_late": 3}
    assert (await call(served, "GET", f"/v1/notifications/{outer}")).json == first


async def test_redrive(served: Api, database: Pool) -> None:
    notification = await send(served)
    one = await deliver(database, notification, "dead", 1)
    two = await deliver(database, notification, "dead", 2, "hubot")
    for delivery, reason in ((one, "crashed"), (two, "bad_payload")):
        await database.execute(
            "INSERT INTO dead (tenant, delivery, n, lane, bulkhead, reason) VALUES (0, $1, 4, 1, 'email/mail', $2)",
            delivery, reason,
        )  # fmt: skip
    listed = (await call(served, "GET", "/v1/dead")).json["items"]
    assert [(item["user"], item["reason"], item["n"]) for item in listed] == [
        ("hubot", "bad_payload", 4),
        ("octocat", "crashed", 4),
    ]
    assert (await call(served, "GET", "/v1/dead", token=WEAK)).json["items"] == []
    mine = {"ids": [external("dlv", one), external("dlv", two)], "reason": "crashed"}
    assert (await call(served, "POST", "/v1/dead/redrive", mine, token=WEAK)).json == {"redriven": 0}
    assert (await call(served, "POST", "/v1/dead/redrive", mine)).json == {"redriven": 1}
    assert (await call(served, "POST", "/v1/dead/redrive", {"channel": "sms"})).json == {"redriven": 0}
    assert (await call(served, "POST", "/v1/dead/redrive", {})).json == {"redriven": 1}
    assert await database.fetchval("SELECT min(n) FROM timers") == 5
    states = (await call(served, "GET", "/v1/deliveries?state=retrying&reason=redriven")).json["items"]
    assert len(states) == 2


# --------------------------------------------------------------------------------------------- users


async def test_put_replaces_and_patch_merges(served: Api) -> None:
    path = "/v1/users/octo%2Fcat"
    assert (await call(served, "GET", path)).status == 404
    assert (await call(served, "PATCH", path, {"email": "a@b.co"})).status == 404
    full = {"email": "a@B.co", "phone": "+14155550123", "locale": "tr-tr", "timezone": "Europe/Istanbul"}
    put = (await call(served, "PUT", path, {**full, "attributes": {"a": 1, "b": {"c": [1]}}})).json
    assert put["id"] == "octo/cat"
    assert (put["email"], put["locale"], put["attributes"]) == ("a@b.co", "tr-TR", {"a": 1, "b": {"c": [1]}})
    patch = (await call(served, "PATCH", path, {"phone": None, "attributes": {"a": None, "d": 4}})).json
    assert (patch["phone"], patch["email"], patch["attributes"]) == (None, "a@b.co", {"b": {"c": [1]}, "d": 4})
    assert (await call(served, "PATCH", path, {})).json["attributes"] == {"b": {"c": [1]}, "d": 4}
    assert (await call(served, "PATCH", path, {"attributes": None})).json["attributes"] == {}
    bare = (await call(served, "PUT", path, {"email": "z@b.co"})).json
    assert (bare["phone"], bare["locale"], bare["attributes"]) == (None, None, {})
    assert (await call(served, "GET", path)).json == bare
    assert [user["id"] for user in (await call(served, "GET", "/v1/users")).json["items"]] == ["octo/cat"]


async def test_merges_at_once_lose_nothing(served: Api) -> None:
    await call(served, "PUT", "/v1/users/a", {})
    changes = [call(served, "PATCH", "/v1/users/a", {"attributes": {f"k{n}": n}}) for n in range(12)]
    assert {answer.status for answer in await asyncio.gather(*changes)} == {200}
    found = (await call(served, "GET", "/v1/users/a")).json["attributes"]
    assert found == {f"k{n}": n for n in range(12)}


async def test_preferences(served: Api) -> None:
    path = "/v1/users/a/preferences"
    choice = {"category": "issues", "channel": "email", "allowed": False}
    assert (await call(served, "PUT", path, {"preferences": [choice]})).status == 404
    await call(served, "PUT", "/v1/users/a", {})
    other = {"category": "*", "channel": "sms", "allowed": False}
    put = (await call(served, "PUT", path, {"preferences": [choice, other]})).json["preferences"]
    assert [(p["category"], p["channel"], p["allowed"], p["source"]) for p in put] == [
        ("*", "sms", False, "api"),
        ("issues", "email", False, "api"),
    ]
    patch = (await call(served, "PATCH", path, {"preferences": [{**choice, "allowed": True}]})).json["preferences"]
    assert [p["allowed"] for p in patch] == [False, True]
    token = (await call(served, "POST", "/v1/users/a/tokens", {})).json["token"]
    own = "/v1/me/preferences"
    assert (await call(served, "GET", own, token=token)).json["preferences"] == patch
    mine = (await call(served, "PUT", own, {"preferences": [choice]}, token=token)).json["preferences"]
    assert [(p["category"], p["allowed"], p["source"]) for p in mine] == [("issues", False, "me")]
    assert (await call(served, "GET", path)).json["preferences"] == mine
    assert (await call(served, "PUT", path, {"preferences": []})).json == {"preferences": []}


async def test_who_chose_what_is_on_record(served: Api) -> None:
    path = "/v1/users/a/preferences"
    await call(served, "PUT", "/v1/users/a", {})
    choice = {"category": "issues", "channel": "email", "allowed": False}
    await call(served, "PATCH", path, {"preferences": [choice]}, headers={"user-agent": "shop/2"})
    token = (await call(served, "POST", "/v1/users/a/tokens", {})).json["token"]
    await call(served, "PUT", "/v1/me/preferences", {"preferences": []}, token=token)
    page = (await call(served, "GET", "/v1/users/a/consents?limit=1")).json
    rest = (await call(served, "GET", f"/v1/users/a/consents?cursor={page['next']}")).json
    newest, oldest = page["items"][0], rest["items"][0]
    assert (newest["allowed"], newest["source"], newest["evidence"][:4]) == (None, "me", "tok_")
    assert (oldest["allowed"], oldest["source"], oldest["evidence"], oldest["agent"]) == (False, "api", "k0", "shop/2")
    assert rest["next"] is None
    assert (await call(served, "GET", "/v1/users/a/consents", token=WEAK)).json["items"] == []


NOES: list[tuple[str, str, Any]] = [
    ("PUT", "/v1/users/octocat/preferences", {"preferences": [{"category": "*", "channel": "*", "allowed": False}]}),
    ("POST", "/v1/suppressions", {"channel": "email", "address": "a@b.co"}),
    ("DELETE", "/v1/users/octocat", None),
    ("POST", "cancel", None),
]


@pytest.mark.parametrize(("method", "path", "body"), NOES)
async def test_a_no_waits_for_those_who_send(served: Api, database: Pool, method: str, path: str, body: Any) -> None:
    """Without the gate the answer would come while a batch that it forbids is under way."""
    await call(served, "PUT", "/v1/users/octocat", {})
    notification = await send(served)
    path = f"/v1/notifications/{external('ntf', notification)}/cancel" if path == "cancel" else path
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'gate'::regclass"
    async with database.transaction(SENDING) as connection:
        saying = asyncio.create_task(call(served, method, path, body))
        await eventually(lambda: connection.fetchval(waiting), what="the no waits at the gate")
        assert not saying.done()
    assert (await saying).status in (200, 201, 204)


async def test_erasing_takes_the_person_out_and_leaves_the_record(served: Api, database: Pool) -> None:
    await call(served, "PUT", "/v1/users/octocat", {"email": "canary@example.com", "attributes": {"x": "canary"}})
    await call(served, "PUT", "/v1/users/hubot", {"email": "h@example.com"})
    choice = {"category": "*", "channel": "*", "allowed": False}
    await call(served, "PUT", "/v1/users/octocat/preferences", {"preferences": [choice]})
    await call(served, "PUT", "/v1/topics/t/subscribers/octocat")
    notification = await send(served, to=[{"topic": "t"}])
    done = await deliver(database, notification, "accepted", 1)
    waiting = await deliver(database, notification, "pending", 2, channel="sms")
    other = await deliver(database, notification, "pending", 3, "hubot")
    await database.execute(
        "INSERT INTO inboxes (tenant, user_id, revision, unread, unseen) VALUES (0, 'octocat', 4, 1, 1)"
    )
    await database.execute(
        "INSERT INTO inbox_items (tenant, user_id, id, revision, born, notification, type, content)"
        " VALUES (0, 'octocat', $1, 4, 4, $1, 'issues', '{\"title\":\"canary\"}')",
        notification,
    )
    assert (await call(served, "DELETE", "/v1/users/octocat", token=WEAK)).status == 404
    assert (await call(served, "DELETE", "/v1/users/octocat")).status == 204
    assert (await call(served, "DELETE", "/v1/users/octocat")).status == 404
    assert (await call(served, "GET", "/v1/users/octocat")).status == 404
    names = ["users", "preferences", "subscriptions", "inbox_items", "deliveries", "inboxes"]
    for name in names:
        rows = await database.fetch(f"SELECT t::text AS row FROM {name} t")
        text = " ".join(row["row"] for row in rows)
        assert "canary" not in text
        assert "octocat@" not in text
    left = {row["id"]: row for row in await database.fetch("SELECT *, expires_at <= now() AS over FROM deliveries")}
    assert left[waiting]["over"]
    assert not left[done]["over"]
    assert (left[other]["target"], left[other]["over"]) == ("hubot@example.com", False)
    inbox = await database.fetchrow("SELECT * FROM inboxes")
    assert inbox is not None
    assert (inbox["revision"], inbox["oldest"], inbox["unread"], inbox["unseen"]) == (5, 5, 0, 0)


async def test_topics(served: Api, database: Pool) -> None:
    path = "/v1/topics/octo%2Fhello/subscribers"
    for user in ("c", "a", "b"):
        assert (await call(served, "PUT", f"{path}/{user}")).status == 204
        assert (await call(served, "PUT", f"{path}/{user}")).status == 204
    page = (await call(served, "GET", path + "?limit=2")).json
    assert [item["user"] for item in page["items"]] == ["a", "b"]
    rest = (await call(served, "GET", f"{path}?limit=2&cursor={page['next']}")).json
    assert ([item["user"] for item in rest["items"]], rest["next"]) == (["c"], None)
    assert (await call(served, "DELETE", f"{path}/a", token=WEAK)).status == 404
    assert (await call(served, "DELETE", f"{path}/a")).status == 204
    assert (await call(served, "DELETE", f"{path}/a")).status == 404
    assert await database.fetchval("SELECT count(*) FROM subscriptions") == 3
    since = await database.fetchval("SELECT added_at FROM subscriptions WHERE user_id = 'a'")
    await call(served, "PUT", f"{path}/a")
    assert await database.fetchval("SELECT added_at FROM subscriptions WHERE user_id = 'a'") > since


async def test_suppressions(served: Api) -> None:
    path = "/v1/suppressions"
    for scope in ("all", "issues"):
        body = {"channel": "email", "address": "Nobody@Example.COM", "scope": scope}
        answer = await call(served, "POST", path, body)
        assert (answer.status, answer.json["address"]) == (201, "nobody@example.com")
    await call(served, "POST", path, {"channel": "sms", "address": "+14155550123", "reason": "bounced"})
    first = (await call(served, "GET", path + "?limit=1")).json
    second = (await call(served, "GET", f"{path}?limit=1&cursor={first['next']}")).json
    assert [first["items"][0]["scope"], second["items"][0]["scope"]] == ["all", "issues"]
    assert len((await call(served, "GET", path + "?channel=email")).json["items"]) == 2
    assert len((await call(served, "GET", path + "?reason=bounced")).json["items"]) == 1
    assert (await call(served, "GET", path, token=WEAK)).json == {"items": [], "next": None}
    one = path + "/email/nobody%40example.com"
    assert (await call(served, "DELETE", one, token=WEAK)).status == 404
    assert (await call(served, "DELETE", one + "?scope=issues")).status == 204
    assert (await call(served, "DELETE", one + "?scope=issues")).status == 404
    assert (await call(served, "DELETE", one)).status == 204


CSV = {"content-type": "text/csv"}


async def test_a_file_of_suppressions_comes_in_and_goes_out(served: Api) -> None:
    path = "/v1/suppressions"
    file = (
        b"address,channel,scope,reason,evidence,expires_at\r\n"
        b"Ada@Example.com,email,,,,\r\n"
        b"nobody,email,,,,\r\n"
        b'eve@example.com,email,class:marketing,complained,"=1+1, ""x""",2030-01-01T00:00:00Z\r\n'
        b"+14155550123,sms,,bounced,,\r\n"
        b"too,few\r\n"
        b"mo@example.com,email,,,,2020-01-01T00:00:00Z\r\n"
    )
    answer = await call(served, "POST", f"{path}/import", file, headers=CSV)
    assert answer.status == 200
    assert (answer.json["added"], answer.json["rejected"]) == (3, 3)
    assert [(fault["line"], fault["column"]) for fault in answer.json["faults"]] == [
        (3, "address"),
        (6, ""),
        (7, "expires_at"),
    ]
    assert b"nobody" not in answer.body
    first = await call(served, "GET", f"{path}/export?limit=2")
    assert first.headers["content-type"] == "text/csv; charset=utf-8"
    following = first.headers["link"].partition("<")[2].partition(">")[0]
    rest = await call(served, "GET", following)
    assert "link" not in rest.headers
    assert b'"\'=1+1, ""x"""' in first.body
    for part in (first.body, rest.body):
        assert (await call(served, "POST", f"{path}/import", part, token=WEAK, headers=CSV)).json["rejected"] == 0
    whole = await call(served, "GET", f"{path}/export")
    assert (await call(served, "GET", f"{path}/export", token=WEAK)).body == whole.body
    found = (await call(served, "GET", f"{path}?channel=email&address=EVE@example.com")).json["items"]
    assert [(each["scope"], each["evidence"], each["source"]) for each in found] == [
        ("class:marketing", '=1+1, "x"', None)
    ]
    assert len((await call(served, "GET", f"{path}?scope=all")).json["items"]) == 2


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "text/csv", 422),
        (b"channel\r\nemail\r\n", "text/csv", 422),
        (b"channel,address,name\r\n", "text/csv", 422),
        (b"channel,address\r\nemail,\xff\r\n", "text/csv", 422),
        (b"channel,address\r\nemail,a\x00@b.co\r\n", "text/csv", 422),
        (b'channel,address\r\nemail,"a@b.co\r\n', "text/csv", 422),
        (b"channel,address\r\n", "application/json", 415),
        (b"x" * (1 << 20) + b"x", "text/csv", 413),
    ],
)
async def test_what_is_no_file_of_suppressions_is_refused(served: Api, body: bytes, kind: str, status: int) -> None:
    answer = await call(served, "POST", "/v1/suppressions/import", body, headers={"content-type": kind})
    assert answer.status == status
    assert (await call(served, "GET", "/v1/suppressions")).json["items"] == []


# -------------------------------------------------------------------------------------- revocations


async def test_all_tokens_of_a_user_are_taken_back_and_a_new_one_works(served: Api) -> None:
    path, inbox = "/v1/users/ada", "/v1/me/inbox"
    before = (await call(served, "POST", f"{path}/tokens")).json
    others = (await call(served, "POST", "/v1/users/bob/tokens")).json
    answer = await call(served, "POST", f"{path}/revoke")
    assert (answer.status, answer.json["user"], answer.json["token_id"]) == (200, "ada", None)
    assert answer.json["revoked_at"].endswith("Z")
    after = (await call(served, "POST", f"{path}/tokens")).json
    refused = await call(served, "GET", inbox, token=before["token"])
    assert (refused.status, refused.json["code"]) == (401, "token_revoked")
    for good in (after, others):
        assert (await call(served, "GET", inbox, token=good["token"])).status == 200


async def test_one_token_is_taken_back_by_its_id(served: Api) -> None:
    one = (await call(served, "POST", "/v1/users/ada/tokens")).json
    other = (await call(served, "POST", "/v1/users/ada/tokens")).json
    body = {"token_id": one["token_id"]}
    assert (await call(served, "POST", "/v1/users/bob/revoke", body)).status == 200  # not his: nothing happens
    assert (await call(served, "POST", "/v1/users/ada/revoke", body, token=WEAK)).status == 200  # another tenant's ada
    assert (await call(served, "GET", "/v1/me/inbox", token=one["token"])).status == 200
    assert (await call(served, "POST", "/v1/users/ada/revoke", body)).json["token_id"] == one["token_id"]
    assert (await call(served, "GET", "/v1/me/inbox", token=one["token"])).status == 401
    assert (await call(served, "GET", "/v1/me/inbox", token=other["token"])).status == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "at"),
    [
        ("tokens", {"topics": ["a*b"]}, 422, "$.topics[0]"),
        ("tokens", {"topics": ["ok", ""]}, 422, "$.topics[1]"),
        ("tokens", {"topics": ["x" * 129]}, 422, "$.topics[0]"),
        ("tokens", {"topics": ["t"] * 51}, 422, "$.topics"),
        ("tokens", {"ttl": 86_401}, 422, "$.ttl"),
        ("revoke", {"token_id": ""}, 422, "$.token_id"),
        ("revoke", {"token_id": "x" * 256}, 422, "$.token_id"),
        ("revoke", {"token_id": "a\nb"}, 422, "$.token_id"),
        ("revoke", {"token": "x"}, 422, "$"),
    ],
)
async def test_what_tokens_can_not_carry_is_told(served: Api, path: str, body: Any, status: int, at: str) -> None:
    answer = await call(served, "POST", f"/v1/users/ada/{path}", body)
    assert answer.status == status
    assert answer.json["path"].startswith(at)


# --------------------------------------------------------------------------------------- two tenants

FOREIGN = [r for r in ROUTES if "{" in r.path and r.who is Who.KEY]
APNS = {"kind": "apns", "token": "ab" * 32}
OWN_NAMES = {  # ids that callers choose: writing one makes it in the caller's own tenant
    ("PUT", "/v1/users/{user}"),
    ("POST", "/v1/users/{user}/tokens"),
    ("POST", "/v1/users/{user}/revoke"),
    ("PUT", "/v1/topics/{topic}/subscribers/{user}"),
    ("GET", "/v1/topics/{topic}/subscribers"),
    ("POST", "/v1/topics/{topic}/publish"),
    ("GET", "/v1/users/{user}/presence"),
    ("GET", "/v1/users/{user}/consents"),
    ("DELETE", "/v1/users/{user}/connections"),
    ("GET", "/v1/users/{user}/devices"),
    ("PUT", "/v1/users/{user}/devices/{device}"),
}


async def test_what_belongs_to_another_tenant_is_not_there(served: Api, database: Pool) -> None:
    """Every route with an id, called with an id that another tenant has; nothing of his changes."""
    await call(served, "PUT", "/v1/users/octocat", {"email": "o@example.com"})
    await call(served, "PUT", "/v1/topics/t/subscribers/octocat")
    await call(served, "PUT", "/v1/users/octocat/devices/phone", APNS)
    await call(served, "POST", "/v1/suppressions", {"channel": "email", "address": "a@b.co"})
    notification = await send(served)
    delivery = await deliver(database, notification, "pending", 1)
    values = {
        "{notification}": external("ntf", notification),
        "{delivery}": external("dlv", delivery),
        "{connection}": connection_id(1, bytes(8)),
        "{user}": "octocat",
        "{device}": "phone",
        "{topic}": "t",
        "{channel}": "email",
        "{address}": "a@b.co",
    }
    dump = "SELECT string_agg(t::text, ',' ORDER BY t::text) FROM {} t WHERE tenant = 0"
    tables = [
        "users",
        "preferences",
        "subscriptions",
        "suppressions",
        "notifications",
        "deliveries",
        "plan_work",
        "devices",
    ]
    before = [await database.fetchval(dump.format(table)) for table in tables]
    for route in FOREIGN:
        path = route.path
        for name, value in values.items():
            path = path.replace(name, value)
        body: Any = {} if route.takes_body else None
        for end, needed in (("preferences", {"preferences": []}), ("publish", {"data": {}}), ("/phone", APNS)):
            body = needed if path.endswith(end) and route.takes_body else body
        answer = await call(served, route.method, path, body, token=WEAK)
        if (route.method, route.path) in OWN_NAMES:
            assert answer.status in (200, 201, 202, 204), (route.path, answer)
            assert "o@example.com" not in answer.body.decode()
        else:
            assert (answer.status, answer.json["code"]) == (404, "not_found"), (route.method, route.path)
        for table in ("users", "subscriptions", "devices"):
            await database.execute(f"DELETE FROM {table} WHERE tenant = 1")
    assert [await database.fetchval(dump.format(table)) for table in tables] == before
    for path in ("/v1/users", "/v1/notifications", "/v1/deliveries", "/v1/suppressions", "/v1/dead"):
        assert (await call(served, "GET", path, token=WEAK)).json["items"] == []


async def test_unknown_ids_are_404(served: Api) -> None:
    for path in (f"/v1/notifications/{NTF}", f"/v1/notifications/{NTF}/timeline", f"/v1/deliveries/{DLV}/timeline"):
        assert (await call(served, "GET", path)).status == 404


async def test_a_database_that_goes_away_is_a_503(served: Api, database: Pool) -> None:
    await call(served, "GET", "/v1/users")
    database.terminate()
    for method, path, body in (("POST", "/v1/notifications", GOOD), ("GET", "/v1/users", None)):
        answer = await call(served, method, path, body)
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
