"""Is every bad request a problem with its place, never a 500, and nothing stored?"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.edge.api.harness import DLV, KEY, NTF, Accepts, Answer, InboxDouble, api, call, keys, never
from ulak.edge.api.http import MAX_BODY
from ulak.flow.accept import Accepted, Conflict, Rejected
from ulak.io.postgres.errors import Unavailable
from ulak.io.postgres.inbox import Ack

pytestmark = pytest.mark.anyio

GOOD = {"type": "issues", "to": [{"user": "octocat"}], "data": {}}
SEND = ("POST", "/v1/notifications")
PUT = ("PUT", "/v1/users/octocat")
PREFS = ("PUT", "/v1/users/octocat/preferences")
STOP = ("POST", "/v1/suppressions")
USER = "user:0:octocat"
ADDRESS = {"channel": "email", "address": "a@b.co"}


def problem(answer: Answer, status: int, code: str, path: str | None) -> None:
    assert answer.headers["content-type"] == "application/problem+json", answer
    found = answer.json
    assert (answer.status, found["status"], found["code"]) == (status, status, code), found
    assert found.get("path") == path
    assert found["title"]
    assert found["detail"]


BODIES: list[tuple[tuple[str, str], Any, int, str, str | None]] = [
    (SEND, b"", 400, "invalid_json", "$"),
    (SEND, b"{", 400, "invalid_json", "$"),
    (SEND, b"\xff\xfe", 400, "invalid_json", "$"),
    (SEND, b"[" * 100_000 + b"]" * 100_000, 400, "too_deep", "$"),
    (SEND, b'{"data":' * 100_000 + b"{}" + b"}" * 100_000, 400, "too_deep", "$"),
    (SEND, b'{"type":"issues","to":[{"user":"\\u0000"}]}', 400, "nul_character", "$.to[0].user"),
    (SEND, b'{"type":"issues","to":[{"user":"a"}],"data":{"\\u0000":1}}', 400, "nul_character", "$.data['\\x00']"),
    (SEND, b'{"type":"issues","to":[{"user":"\\ud800"}]}', 400, "invalid_json", "$"),
    (SEND, b'{"type":"issues","type":"x","to":[]}', 400, "duplicate_key", "$.type"),
    (SEND, b'{"type":"issues","to":[],"data":{"n":1e999}}', 400, "number_out_of_range", "$[...][...]"),
    (SEND, [], 422, "invalid_field", "$"),
    (SEND, None, 400, "invalid_json", "$"),
    (SEND, {**GOOD, "type": "nope"}, 422, "unknown_type", "$.type"),
    (SEND, {**GOOD, "to": GOOD["to"] * 1001}, 422, "invalid_field", "$.to"),  # type: ignore[operator]
    (SEND, {**GOOD, "to": [{"user": {"id": "a", "locale": "??"}}]}, 422, "invalid_locale", "$.to[0].user.locale"),
    (SEND, {**GOOD, "send_at": "99999-01-01T00:00:00Z"}, 422, "invalid_field", "$.send_at"),
    (SEND, {**GOOD, "send_at": "2000-01-01T00:00:00Z"}, 422, "time_in_the_past", "$.send_at"),
    (("POST", "/v1/notifications/batch"), {"items": []}, 422, "invalid_field", "$"),
    (("POST", "/v1/notifications/batch"), b"[" * 100_000, 400, "too_deep", "$"),
    (PUT, b"null", 422, "invalid_field", "$"),
    (PUT, {"email": "a@b.c,d@e.f"}, 422, "invalid_email", "$.email"),
    (PUT, {"phone": "12"}, 422, "invalid_phone", "$.phone"),
    (PUT, {"locale": "x" * 99}, 422, "invalid_locale", "$.locale"),
    (PUT, {"timezone": "a b"}, 422, "invalid_timezone", "$.timezone"),
    (PUT, {"nickname": "x"}, 422, "unknown_field", "$.nickname"),
    (PUT, {"attributes": {"a": "x" * 17_000}}, 422, "attributes_too_large", "$.attributes"),
    (PUT, b'{"attributes":' + b'{"a":' * 40 + b"1" + b"}" * 41, 400, "too_deep", "$"),
    (PREFS, {"preferences": [{"category": "*", "channel": "fax", "allowed": True}]}, 422, "invalid_channel",
     "$.preferences[0].channel"),
    (PREFS, {"preferences": [{"category": "a\n", "channel": "*", "allowed": True}]}, 422, "invalid_id",
     "$.preferences[0].category"),
    (PREFS, {"preferences": [{"category": "a", "channel": "*", "allowed": 1}]}, 422, "invalid_field",
     "$.preferences[0].allowed"),
    (PREFS, {"preferences": [{"category": "a", "channel": "*", "allowed": True}] * 2}, 422, "repeated_choice",
     "$.preferences[1]"),
    (("POST", "/v1/users/a/tokens"), {"ttl": 86_401}, 422, "invalid_field", "$.ttl"),
    (STOP, {"channel": "email", "address": "nobody"}, 422, "invalid_email", "$.address"),
    (STOP, {**ADDRESS, "scope": "a\tb"}, 422, "invalid_id", "$.scope"),
    (STOP, {**ADDRESS, "reason": "whim"}, 422, "invalid_field", "$.reason"),
    (STOP, {**ADDRESS, "expires_at": "2026-01-01T00:00:00Z"}, 422, "time_in_the_past", "$.expires_at"),
    (("POST", "/v1/templates/preview"), {"type": "x", "channel": "email"}, 422, "unknown_type", "$.type"),
    (("POST", "/v1/templates/preview"), {"type": "issues", "channel": "sms"}, 422, "render_failed", "$.data"),
    (("POST", "/v1/dead/redrive"), {"ids": ["x"]}, 422, "invalid_id", "$.ids[0]"),
    (("POST", "/v1/dead/redrive"), {"limit": 0}, 422, "invalid_field", "$.limit"),
]  # fmt: skip


@pytest.mark.parametrize(("route", "body", "status", "code", "path"), BODIES)
async def test_a_bad_body(route: tuple[str, str], body: Any, status: int, code: str, path: str | None) -> None:
    accepts = Accepts()
    problem(await call(api(accept=accepts), *route, body), status, code, path)
    assert accepts.got == []


PATHS: list[tuple[str, str, int, str, str | None]] = [
    ("GET", "/", 404, "not_found", None),
    ("GET", "/v1", 404, "not_found", None),
    ("GET", "/v1/users/", 404, "not_found", None),
    ("GET", "/v1/users//preferences", 404, "not_found", None),
    ("GET", "/v1/notifications/ntf_1", 404, "not_found", None),
    ("GET", "/v1/notifications/%00", 400, "nul_character", "path"),
    ("GET", "/v1/notifications/" + DLV, 404, "not_found", None),
    ("GET", f"/v1/deliveries/{NTF}/timeline", 404, "not_found", None),
    ("GET", "/v1/users/%ff", 400, "invalid_path", "path"),
    ("GET", "/v1/users/%00", 400, "nul_character", "path"),
    ("GET", "/v1/users/a%0Ab", 422, "invalid_id", "{user}"),
    ("GET", "/v1/users/" + "x" * 129, 422, "invalid_id", "{user}"),
    ("DELETE", "/v1/suppressions/fax/1", 422, "invalid_channel", "{channel}"),
    ("DELETE", "/v1/suppressions/email/1", 422, "invalid_email", "{address}"),
    ("GET", "/v1/deliveries?limit=0", 422, "invalid_parameter", "?limit"),
    ("GET", "/v1/deliveries?limit=201", 422, "invalid_parameter", "?limit"),
    ("GET", "/v1/deliveries?limit=ten", 422, "invalid_parameter", "?limit"),
    ("GET", "/v1/deliveries?limit=1&limit=2", 422, "repeated_parameter", "?limit"),
    ("GET", "/v1/deliveries?sort=up", 422, "unknown_parameter", "?sort"),
    ("GET", "/v1/deliveries?limit=null", 422, "invalid_parameter", "?limit"),
    ("GET", "/v1/deliveries?since=null", 422, "invalid_parameter", "?since"),
    ("GET", "/v1/deliveries?since=0.5", 422, "invalid_parameter", "?since"),
    ("GET", "/v1/deliveries?state=lost", 422, "invalid_parameter", "?state"),
    ("GET", "/v1/deliveries?channel=fax", 422, "invalid_parameter", "?channel"),
    ("GET", "/v1/deliveries?since=2026-01-01T00:00:00", 422, "invalid_parameter", "?since"),
    ("GET", "/v1/deliveries?notification=7", 422, "invalid_id", "?notification"),
    ("GET", "/v1/deliveries?user=%00", 400, "nul_character", "query"),
    ("GET", "/v1/deliveries?user=%ff", 400, "invalid_query", "query"),
    ("GET", "/v1/deliveries?user=%0a", 422, "invalid_id", "?user"),
    ("GET", "/v1/deliveries?cursor=%21", 422, "invalid_cursor", "?cursor"),
    ("GET", "/v1/deliveries?cursor=ImEi", 422, "invalid_cursor", "?cursor"),
    ("GET", "/v1/deliveries?cursor=%C3%A9", 422, "invalid_cursor", "?cursor"),
    ("GET", "/v1/users?cursor=Ilx1MDAwMCI", 422, "invalid_cursor", "?cursor"),
    ("GET", "/v1/suppressions?cursor=WyJhIl0", 422, "invalid_cursor", "?cursor"),
    ("GET", "/v1/types?limit=5", 422, "unknown_parameter", "?limit"),
    ("PATCH", "/v1/notifications", 405, "method_not_allowed", None),
    ("BREW", "/v1/notifications", 405, "method_not_allowed", None),
]


@pytest.mark.parametrize(("method", "path", "status", "code", "place"), PATHS)
async def test_a_bad_path_or_parameter(method: str, path: str, status: int, code: str, place: str | None) -> None:
    answer = await call(api(), method, path)
    problem(answer, status, code, place)
    if status == 405:
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


OWN: list[tuple[str, str, Any, int, str, str]] = [
    ("GET", "/v1/me/inbox?wait=31", None, 422, "invalid_parameter", "?wait"),
    ("GET", "/v1/me/inbox?wait=nan", None, 422, "invalid_parameter", "?wait"),
    ("GET", "/v1/me/inbox?wait=inf", None, 422, "invalid_parameter", "?wait"),
    ("GET", "/v1/me/inbox?since=-1", None, 422, "invalid_parameter", "?since"),
    ("GET", "/v1/me/inbox?since=9223372036854775808", None, 422, "invalid_parameter", "?since"),
    ("PATCH", "/v1/me/inbox", {}, 422, "missing_field", "$"),
    ("PATCH", "/v1/me/inbox", {"delivered": {}}, 422, "missing_field", "$.delivered.up_to"),
    ("PATCH", "/v1/me/inbox", {"delivered": {"up_to": -1}}, 422, "invalid_field", "$.delivered.up_to"),
    ("GET", "/v1/me/inbox/stream?since=-1", None, 422, "invalid_parameter", "?since"),
    ("PATCH", "/v1/me/inbox", {"seen": ["x"]}, 422, "invalid_id", "$.seen[0]"),
    ("PATCH", "/v1/me/inbox", {"seen": []}, 422, "invalid_field", "$.seen"),
    ("PATCH", "/v1/me/inbox", {"read": [DLV], "seen": [NTF]}, 422, "invalid_id", "$.seen[0]"),
    ("PUT", "/v1/me/preferences", {"preferences": 1}, 422, "invalid_field", "$.preferences"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code", "place"), OWN)
async def test_bad_input_of_an_end_user(method: str, path: str, body: Any, status: int, code: str, place: str) -> None:
    inbox = InboxDouble()
    problem(await call(api(inbox=inbox), method, path, body, token=USER), status, code, place)
    assert inbox.done == []


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "cl\xe9", "a\x01"])
async def test_a_bad_idempotency_key(key: str) -> None:
    answer = await call(api(), *SEND, GOOD, headers={"Idempotency-Key": key})
    problem(answer, 422, "invalid_idempotency_key", "Idempotency-Key")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json; charset=utf-16"},
        {"content-encoding": "gzip"},
    ],
)
async def test_a_body_that_is_not_json(headers: dict[str, str]) -> None:
    problem(await call(api(), *SEND, GOOD, headers=headers), 415, *NOT_JSON[next(iter(headers))])


NOT_JSON = {"content-type": ("not_json", "Content-Type"), "content-encoding": ("encoded_body", "Content-Encoding")}


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=UTF-8", 'Application/JSON;charset="utf-8"']
)
async def test_a_body_that_is_json(kind: str) -> None:
    assert (await call(api(), *SEND, GOOD, headers={"content-type": kind})).status == 202


# ------------------------------------------------------------------------------------- size and pace


async def test_a_body_over_the_cap_is_not_even_read() -> None:
    answer = await call(api(), *SEND, b"", headers={"content-length": str(MAX_BODY + 1)}, receive=never)
    problem(answer, 413, "body_too_large", "body")
    assert answer.headers["connection"] == "close"


async def test_a_body_that_grows_over_the_cap() -> None:
    read = 0

    async def endless() -> Any:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b" " * 65_536, "more_body": True}

    problem(await call(api(), *SEND, receive=endless), 413, "body_too_large", "body")
    assert read == 17


async def test_a_body_as_large_as_the_cap() -> None:
    text = json.dumps(GOOD).encode()
    assert (await call(api(), *SEND, text + b" " * (MAX_BODY - len(text)))).status == 202
    problem(await call(api(), *SEND, text + b" " * (MAX_BODY - len(text) + 1)), 413, "body_too_large", "body")


async def test_a_body_that_drips_has_a_deadline() -> None:
    async def drip() -> Any:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    answer = await call(api(), *SEND, receive=drip)
    problem(answer, 408, "body_too_slow", "body")
    assert answer.headers["connection"] == "close"


async def test_a_caller_who_hangs_up_gets_nothing() -> None:
    accepts = Accepts()

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    with pytest.raises(ValueError, match="not enough values"):
        await call(api(accept=accepts), *SEND, receive=gone)
    assert accepts.got == []


# --------------------------------------------------------------------------------- what the flow says


async def test_a_conflict_and_a_repetition() -> None:
    problem(
        await call(api(accept=Accepts(result=Conflict())), *SEND, GOOD), 422, "idempotency_conflict", "Idempotency-Key"
    )
    problem(await call(api(accept=Accepts(result=Rejected("x"))), *SEND, GOOD), 422, "unstorable", None)
    again = Accepts(result=Accepted(UUID(int=1), 2, '[{"path":"$.to[0]","code":"c","detail":"d"}]', replayed=True))
    answer = await call(api(accept=again), *SEND, GOOD)
    assert answer.status == 202
    assert answer.headers["idempotent-replayed"] == "true"
    assert answer.json == {"id": NTF, "accepted": 2, "problems": [{"path": "$.to[0]", "code": "c", "detail": "d"}]}


async def test_a_batch_answers_each() -> None:
    accepts = Accepts()
    items = [{**GOOD, "idempotency_key": "k"}, {"type": "nope", "to": []}, GOOD]
    answer = await call(api(accept=accepts), "POST", "/v1/notifications/batch", {"notifications": items})
    assert answer.status == 200
    assert [item["status"] for item in answer.json["items"]] == [202, 422, 202]
    assert answer.json["items"][1]["path"].startswith("$.notifications[1]")
    assert [asked.request.idempotency_key for asked in accepts.got] == ["k", None]


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("x", 2.2),
        asyncpg.exceptions.DiskFullError("/var/lib/x is full"),
        asyncpg.exceptions.TooManyConnectionsError("too many"),
        asyncpg.exceptions.QueryCanceledError("statement timeout"),
        asyncpg.exceptions.ConnectionDoesNotExistError("gone"),
        asyncpg.exceptions.CannotConnectNowError("starting up"),
        asyncpg.exceptions.ReadOnlySQLTransactionError("read only"),
        asyncpg.exceptions.DeadlockDetectedError("deadlock"),
        asyncpg.InterfaceError("pool is closing"),
        ConnectionRefusedError("no"),
        TimeoutError(),
    ],
)
@pytest.mark.parametrize("where", ["accept", "keys"])
async def test_a_database_that_is_away_is_a_503(error: Exception, where: str) -> None:
    double: Any = Accepts(error=error)
    if where == "keys":
        double = keys()
        double.error = error
    answer = await call(api(**{where: double}), *SEND, GOOD)
    problem(answer, 503, "unavailable", None)
    assert answer.headers["retry-after"] == ("3" if isinstance(error, Unavailable) else "1")
    assert "/var/lib" not in answer.body.decode()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret@example.com"),
        asyncpg.exceptions.UndefinedTableError("secret@example.com"),
        KeyError("secret"),
    ],
)
async def test_a_fault_of_ours_is_a_500_that_tells_nothing(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    body = {**GOOD, "data": {"card": "secret"}}
    answer = await call(api(accept=Accepts(error=error)), *SEND, body)
    problem(answer, 500, "internal", None)
    assert answer.json["incident"] in caplog.text
    assert type(error).__name__ in caplog.text
    assert "harness.py" in caplog.text
    for shown in (caplog.text, answer.body.decode()):
        assert "secret" not in shown
        assert KEY not in shown


async def test_the_access_log_names_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ulak.access")
    await call(api(), "DELETE", "/v1/suppressions/email/canary@example.com?scope=%00canary")
    await call(api(), "GET", "/v1/users/canary", token="canary")
    await call(api(), "GET", "/canary")
    lines = [record.getMessage() for record in caplog.records if record.name == "ulak.access"]
    assert len(lines) == 3
    assert lines[0].startswith("DELETE /v1/suppressions/{channel}/{address} 400")
    assert "canary" not in caplog.text


# ------------------------------------------------------------------------------------ HEAD and OPTIONS


async def test_head_and_options() -> None:
    whole = await call(api(), "GET", "/v1/types")
    head = await call(api(), "HEAD", "/v1/types")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.body))
    options = await call(api(), "OPTIONS", "/v1/types", token=None)
    assert (options.status, options.body, options.headers["allow"]) == (204, b"", "GET, HEAD, OPTIONS")
    assert "content-type" not in options.headers
    problem(await call(api(), "OPTIONS", "/nowhere"), 404, "not_found", None)


async def test_a_page_of_a_listed_origin_may_read_the_own_inbox() -> None:
    app = api(origins=frozenset({"https://app.example"}))

    async def allowed(origin: str, path: str = "/v1/me/inbox", method: str = "GET") -> str | None:
        answer = await call(app, method, path, token=USER, headers={"origin": origin})
        return answer.headers.get("access-control-allow-origin")

    assert await allowed("https://app.example") == "https://app.example"
    assert await allowed("https://app.example", method="OPTIONS") == "https://app.example"
    for other in ("https://app.example.evil", "null", "http://app.example", "https://APP.example", "*"):
        assert await allowed(other) is None
        assert await allowed(other, method="OPTIONS") is None
    assert await allowed("https://app.example", "/v1/types") is None


async def test_a_page_may_go_on_with_a_stream_by_the_id_of_its_last_event() -> None:
    app = api(origins=frozenset({"https://app.example"}))
    asked = {"origin": "https://app.example", "access-control-request-headers": "authorization, last-event-id"}
    answer = await call(app, "OPTIONS", "/v1/me/inbox/stream", token=None, headers=asked)
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "last-event-id"} <= set(allowed)


@pytest.mark.parametrize("path", ["/v1/types", "/nowhere", "/healthz", "/docs", "/openapi.json"])
async def test_every_answer_is_guarded(path: str) -> None:
    headers = (await call(api(), "GET", path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    if path.startswith("/v1"):
        assert headers["cache-control"] == "no-store"


# ------------------------------------------------------------------------------------------- the rest


async def test_health_metrics_and_the_manual() -> None:
    async def not_ready() -> str | None:
        return "no database"

    assert (await call(api(), "GET", "/healthz", token=None)).json == {"status": "ok", "detail": None}
    assert (await call(api(), "GET", "/readyz", token=None)).status == 200
    away = await call(api(ready=not_ready), "GET", "/readyz", token=None)
    problem(away, 503, "unavailable", None)
    assert (await call(api(), "GET", "/metrics", token=None)).body == b"ulak_up 1\n"
    manual = (await call(api(), "GET", "/docs", token=None)).body.decode()
    assert "<script" not in manual
    assert "http://" not in manual.replace("http://www.w3.org", "")
    assert (await call(api(), "GET", "/openapi.json", token=None)).json["openapi"] == "3.1.0"


async def test_catalog_and_preview() -> None:
    types = (await call(api(), "GET", "/v1/types")).json
    assert types["version"] == 1
    assert types["items"][0] == {
        "name": "issues",
        "category": "issues",
        "class": "transactional",
        "template": "issues",
        "expires": 86400.0,
        "route": [
            {"channel": "in_app", "after": 0.0, "unless": None},
            {"channel": "email", "after": 600.0, "unless": "read"},
        ],
    }
    templates = (await call(api(), "GET", "/v1/templates")).json["items"]
    assert {"name": "issues", "channel": "email", "locale": "tr"} in templates
    asked = {"type": "issues", "channel": "email", "locale": "tr-TR", "data": {}}
    seen = (await call(api(), "POST", "/v1/templates/preview", asked)).json
    assert seen["missing"] == ["data.title"]
    assert "Merhaba" in seen["content"]["text"]


async def test_the_own_inbox() -> None:
    inbox = InboxDouble()
    app = api(inbox=inbox)
    page = (await call(app, "GET", "/v1/me/inbox?since=7&epoch=e1&wait=5", token=USER)).json
    assert page == {"items": [], "revision": 7, "epoch": "e1", "unread": 0, "unseen": 0, "more": False, "reset": False}
    assert inbox.waited == [5.0]
    assert (await call(app, "GET", "/v1/me/inbox?since=2", token=USER)).json["reset"]
    assert (await call(app, "GET", "/v1/me/inbox?since=7&epoch=e0", token=USER)).json["reset"]
    assert (await call(app, "GET", "/v1/me/inbox?since=8", token=USER)).json["reset"]
    assert not (await call(app, "GET", "/v1/me/inbox", token=USER)).json["reset"]
    answer = await call(app, "PATCH", "/v1/me/inbox", {"seen": {"up_to": 6}, "archive": [DLV]}, token=USER)
    assert answer.status == 200
    assert [(op.value, len(ids), up_to) for op, ids, up_to in inbox.done] == [("seen", 0, 6), ("archive", 1, None)]
    arrived = {"delivered": {"after": 3, "up_to": 6, "active": True}}
    assert (await call(app, "PATCH", "/v1/me/inbox", arrived, token=USER)).status == 200
    assert inbox.held == [Ack(0, "octocat", 3, 6, active=True)]


async def test_the_doubles_notice_a_touch() -> None:
    """Without this the claim "nothing stored" would prove nothing."""
    answer = await call(api(), "PUT", "/v1/users/octocat", {"email": "a@b.co"})
    assert (answer.status, answer.json["code"]) == (500, "internal")
