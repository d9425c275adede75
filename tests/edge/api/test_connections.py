"""What do callers learn of connections, and what can they say to those who are connected?"""

from __future__ import annotations

from typing import Any

import pytest

from tests.edge.api.harness import BusDouble, KeyDouble, api, call
from ulak.core.apikey import ENTROPY, make_key
from ulak.core.connections import Answers, Described, Question
from ulak.core.topic import MAX_DATA
from ulak.edge.api import Api

pytestmark = pytest.mark.anyio

CON = "con_" + "0" * 23 + "7"
PHONE = Described(
    CON,
    "ann",
    "socket",
    1_772_366_400.0,
    1_772_366_425.5,
    active=True,
    device="phone",
    user_agent="Mozilla/5.0",
    address="203.0.113.7",
    topics=("goals",),
    meta='{"app":"2.1"}',
    expires_at=1_772_370_000.0,
)
TAB = Described("con_" + "0" * 23 + "8", "ann", "sse", 1_772_366_000.0, 1_772_366_001.0)


def door(answers: Answers | None = None, **changes: Any) -> tuple[Api, BusDouble]:
    bus = BusDouble()
    if answers is not None:
        bus.answers = answers
    return api(bus=bus, **changes), bus


async def test_connections_are_listed_as_they_are() -> None:
    app, bus = door(Answers(5, (PHONE, TAB), complete=False))
    answer = await call(app, "GET", "/v1/connections?user=ann&limit=2")
    assert answer.status == 200
    assert answer.json == {
        "items": [
            {
                "id": CON,
                "user": "ann",
                "transport": "socket",
                "connected_at": "2026-03-01T12:00:00Z",
                "last_seen": "2026-03-01T12:00:25.500000Z",
                "active": True,
                "device": "phone",
                "user_agent": "Mozilla/5.0",
                "address": "203.0.113.7",
                "topics": ["goals"],
                "meta": {"app": "2.1"},
                "expires_at": "2026-03-01T13:00:00Z",
            },
            {
                "id": TAB.id,
                "user": "ann",
                "transport": "sse",
                "connected_at": "2026-03-01T11:53:20Z",
                "last_seen": "2026-03-01T11:53:21Z",
                "active": False,
                "device": None,
                "user_agent": None,
                "address": None,
                "topics": [],
                "meta": {},
                "expires_at": None,
            },
        ],
        "total": 5,
        "complete": False,
    }
    assert bus.asked == [Question(0, "ann", limit=2)]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "user=", "user=a%01b", "cursor=x", f"user={'x' * 129}"]
)
async def test_a_bad_query_is_refused(query: str) -> None:
    app, bus = door()
    assert (await call(app, "GET", f"/v1/connections?{query}")).status == 422
    assert bus.asked == []


async def test_presence_tells_what_the_connections_tell() -> None:
    app, bus = door(Answers(2, (PHONE, TAB), complete=True))
    assert (await call(app, "GET", "/v1/users/ann/presence")).json == {
        "present": True,
        "active": True,
        "connections": 2,
        "devices": ["phone"],
        "last_seen": "2026-03-01T12:00:25.500000Z",
        "complete": True,
    }
    assert bus.asked[0].user == "ann"
    bus.answers = Answers(0, (), complete=False)
    nobody = (await call(app, "GET", "/v1/users/bob/presence")).json
    assert (nobody["present"], nobody["last_seen"], nobody["complete"]) == (False, None, False)


async def test_one_connection_is_closed_or_was_never_there() -> None:
    app, bus = door(Answers(1, (), complete=True))
    answer = await call(app, "DELETE", f"/v1/connections/{CON}")
    assert (answer.status, answer.json) == (200, {"closed": 1, "complete": True})
    assert bus.asked == [Question(0, connection=CON, close=True)]
    bus.answers = Answers(0, (), complete=True)
    assert (await call(app, "DELETE", f"/v1/connections/{CON}")).status == 404
    bus.answers = Answers(0, (), complete=False)  # unknown is no "there is no such connection"
    unknown = await call(app, "DELETE", f"/v1/connections/{CON}")
    assert (unknown.status, unknown.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("name", ["con_", "con_xyz", "dlv_" + "0" * 24, "con_" + "0" * 25, "*"])
async def test_what_is_no_id_of_a_connection_is_a_404(name: str) -> None:
    app, bus = door()
    assert (await call(app, "DELETE", f"/v1/connections/{name}")).status == 404
    assert bus.asked == []


async def test_all_connections_of_a_user_are_closed() -> None:
    app, bus = door(Answers(3, (), complete=False))
    answer = await call(app, "DELETE", "/v1/users/ann/connections")
    assert (answer.status, answer.json) == (200, {"closed": 3, "complete": False})
    assert bus.asked == [Question(0, "ann", close=True)]


async def test_a_message_reaches_the_bus_as_listeners_will_see_it() -> None:
    app, bus = door()
    answer = await call(app, "POST", "/v1/topics/go%2Fals/publish", {"data": {"home": 1, "by": "Ann \u2028"}})
    assert (answer.status, answer.json) == (202, {"at": "2026-03-01T12:00:00Z", "complete": True})
    at = "2026-03-01T12:00:00.000Z"
    assert bus.said == [
        (0, "go/als", {"op": "message", "topic": "go/als", "data": {"home": 1, "by": "Ann \u2028"}, "at": at})
    ]
    bus.everywhere = False
    assert not (await call(app, "POST", "/v1/sockets/broadcast", {"data": {}})).json["complete"]
    assert bus.said[1] == (0, None, {"op": "notice", "data": {}, "at": at})


@pytest.mark.parametrize("path", ["/v1/topics/goals/publish", "/v1/sockets/broadcast"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, None),
        ({"data": []}, 422, None),
        ({"data": "x"}, 422, None),
        ({"data": None}, 422, None),
        ({"data": {}, "topic": "x"}, 422, None),
        ({"data": {"x": "y" * MAX_DATA}}, 413, "data_too_large"),
        (b'{"data":{"x":"\\ud800"}}', 400, "invalid_json"),
        (b'{"data":{"x":1,"x":2}}', 400, "duplicate_key"),
        (b'{"data":{"x":"\\u0000"}}', 400, None),
        (b"", 400, None),
    ],
)
async def test_what_can_not_be_said_is_refused(path: str, body: Any, status: int, code: str | None) -> None:
    app, bus = door()
    answer = await call(app, "POST", path, body)
    assert answer.status == status
    assert code in (None, answer.json["code"])
    assert bus.said == []


async def test_the_largest_message_is_taken() -> None:
    app, bus = door()
    body = {"data": {"x": "y" * (MAX_DATA - len('{"x":""}'))}}
    assert (await call(app, "POST", "/v1/sockets/broadcast", body)).status == 202
    assert len(bus.said) == 1


@pytest.mark.parametrize("name", ["%00", "%0A", "x" * 129, "%FF"])
async def test_a_topic_that_can_not_be_is_refused(name: str) -> None:
    app, bus = door()
    assert (await call(app, "POST", f"/v1/topics/{name}/publish", {"data": {}})).status in (400, 422)
    assert bus.said == []


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/connections", "connections:read"),
        ("GET", "/v1/users/ann/presence", "connections:read"),
        ("DELETE", f"/v1/connections/{CON}", "connections:write"),
        ("DELETE", "/v1/users/ann/connections", "connections:write"),
        ("POST", "/v1/topics/goals/publish", "sockets:write"),
        ("POST", "/v1/sockets/broadcast", "sockets:write"),
    ],
)
async def test_each_call_needs_its_scope_and_no_other(method: str, path: str, scope: str) -> None:
    known = KeyDouble()
    texts = {}
    for number, held in enumerate(("connections:read", "connections:write", "sockets:write", "topics:write")):
        texts[held] = make_key(bytes([number + 5]) * ENTROPY)[0]
        known.add(texts[held], 3, held)
    app, bus = door(Answers(1, (), complete=True), keys=known)
    body: Any = {"data": {}} if method == "POST" else None
    for held, text in texts.items():
        answer = await call(app, method, path, body, token=text)
        assert (answer.status == 403) is (held != scope)
    assert {question.tenant for question in bus.asked} | {tenant for tenant, *_ in bus.said} == {3}
