"""Is a request read as it was meant, and told exactly what is wrong with it?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core import request, values
from ulak.core.invalid import Invalid
from ulak.core.model import Channel, Class, Mark, NotificationType, Step
from ulak.core.request import All, InlineUser, NotificationRequest, Topic, UserRef
from ulak.core.request_body import NotificationBody

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _type(name: str, klass: Class) -> NotificationType:
    route = (Step(Channel.IN_APP), Step(Channel.EMAIL, 600, Mark.READ))
    return NotificationType(name, name, klass, route, name, 3600, "resend")


class Project:
    types: Mapping[str, NotificationType] = {
        "issues": _type("issues", Class.TRANSACTIONAL),
        "news": _type("news", Class.MARKETING),
        "reset": _type("reset", Class.CRITICAL),
    }


def body(**changes: Any) -> bytes:
    fields = {"type": "issues", "to": [{"user": "octocat"}], "data": {"n": 1}, **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def decode(**changes: Any) -> NotificationRequest:
    return request.decode(body(**changes), Project(), NOW)


def refused(**changes: Any) -> tuple[int, str, str]:
    with pytest.raises(Invalid) as caught:
        decode(**changes)
    return caught.value.status, caught.value.code, caught.value.path


def test_a_full_request() -> None:
    found = decode(
        to=[
            {"user": "a"},
            {"user": {"id": "b", "email": "B@Example.COM", "phone": "+14155550123", "locale": "tr_tr"}},
            {"topic": "octo/hello"},
            {"all": True},
        ],
        channels=["email", "email"],
        priority="bulk",
        send_at="2026-03-01T16:00:00+03:00",
        expires_at="2026-03-02T00:00:00Z",
        collapse_key="k",
        actor="hubot",
        context={"ip": "2001:DB8::1", "locale": "en-us"},
    )
    assert found.recipients == (
        UserRef("a"),
        InlineUser("b", "B@example.com", "+14155550123", "tr-TR"),
        Topic("octo/hello"),
        All(),
    )
    assert found.lane == 2
    assert found.channels == (Channel.EMAIL,)
    assert found.send_at == datetime(2026, 3, 1, 13, tzinfo=UTC)
    assert found.expires_at == datetime(2026, 3, 2, tzinfo=UTC)
    assert found.context == '{"ip":"2001:db8::1","locale":"en-US"}'
    assert (found.data, found.actor, found.collapse_key, found.problems) == ('{"n":1}', "hubot", "k", ())


USER = [{"user": "a"}]
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"type": ...}, "missing_field", "$.type"),
    ({"type": 5}, "invalid_field", "$.type"),
    ({"type": ""}, "invalid_field", "$.type"),
    ({"type": "isues"}, "unknown_type", "$.type"),
    ({"to": ...}, "missing_field", "$.to"),
    ({"to": []}, "invalid_field", "$.to"),
    ({"to": {}}, "invalid_field", "$.to"),
    ({"to": USER * 1001}, "invalid_field", "$.to"),
    ({"to": [5]}, "invalid_field", "$.to[0]"),
    ({"to": ["a"]}, "invalid_field", "$.to[0]"),
    ({"to": [{}]}, "invalid_recipient", "$.to[0]"),
    ({"to": [{"user": "a", "topic": "t"}]}, "invalid_recipient", "$.to[0]"),
    ({"to": [{"user": "a"}, {"all": False}]}, "invalid_recipient", "$.to[1].all"),
    ({"to": [{"user": "a", "x": 1}]}, "unknown_field", "$.to[0].x"),
    ({"to": [{"user": {}}]}, "missing_field", "$.to[0].user.id"),
    ({"to": [{"user": {"id": "a", "mail": "x"}}]}, "unknown_field", "$.to[0].user.mail"),
    ({"to": [{"user": ""}]}, "invalid_id", "$.to[0].user"),
    ({"to": [{"user": "x" * 129}]}, "invalid_id", "$.to[0].user"),
    ({"to": [{"user": "a\nb"}]}, "invalid_id", "$.to[0].user"),
    ({"to": [{"topic": "\x7f"}]}, "invalid_id", "$.to[0].topic"),
    ({"to": [{"user": {"id": "a", "email": "a@b.c, d@e.f"}}]}, "invalid_email", "$.to[0].user.email"),
    ({"to": [{"user": {"id": "a", "phone": "5551234"}}]}, "invalid_phone", "$.to[0].user.phone"),
    ({"to": [{"user": {"id": "a", "locale": "turkish please"}}]}, "invalid_locale", "$.to[0].user.locale"),
    ({"to": [{"user": {"id": "a", "timezone": "../../etc/passwd"}}]}, "invalid_timezone", "$.to[0].user.timezone"),
    ({"data": []}, "invalid_field", "$.data"),
    ({"data": None}, "invalid_field", "$.data"),
    ({"extra": 1}, "unknown_field", "$.extra"),
    ({"channels": []}, "invalid_field", "$.channels"),
    ({"channels": ["pigeon"]}, "invalid_field", "$.channels[0]"),
    ({"channels": ["in_app", "sms"]}, "channel_not_in_route", "$.channels[1]"),
    ({"priority": "urgent"}, "invalid_field", "$.priority"),
    ({"priority": "critical"}, "priority_too_high", "$.priority"),
    ({"type": "news", "priority": "transactional"}, "priority_too_high", "$.priority"),
    ({"send_at": "soon"}, "invalid_field", "$.send_at"),
    ({"send_at": 1772366400}, "invalid_field", "$.send_at"),
    ({"send_at": "2026-03-01T12:00:00"}, "invalid_field", "$.send_at"),
    ({"send_at": "2026-02-30T12:00:00Z"}, "invalid_field", "$.send_at"),
    ({"send_at": "2026-03-01T11:50:00Z"}, "time_in_the_past", "$.send_at"),
    ({"send_at": "1970-01-01T00:00:00Z"}, "time_in_the_past", "$.send_at"),
    ({"send_at": "0001-01-01T00:00:00+23:59"}, "invalid_time", "$.send_at"),
    ({"send_at": "2027-03-03T12:00:00Z"}, "time_too_far", "$.send_at"),
    ({"send_at": "9999-12-31T23:59:59-23:59"}, "invalid_time", "$.send_at"),
    ({"expires_at": "2026-03-01T12:00:00Z"}, "expires_too_early", "$.expires_at"),
    ({"send_at": "2026-03-02T00:00:00Z", "expires_at": "2026-03-01T23:00:00Z"}, "expires_too_early", "$.expires_at"),
    ({"expires_at": "2999-01-01T00:00:00Z"}, "time_too_far", "$.expires_at"),
    ({"collapse_key": ""}, "invalid_field", "$.collapse_key"),
    ({"collapse_key": "a\tb"}, "invalid_id", "$.collapse_key"),
    ({"actor": "a\x9bb"}, "invalid_id", "$.actor"),
    ({"context": {"ip": "localhost"}}, "invalid_ip", "$.context.ip"),
    ({"context": {"locale": "!"}}, "invalid_locale", "$.context.locale"),
    ({"context": {"agent": "x"}}, "unknown_field", "$.context.agent"),
]


@pytest.mark.parametrize(("changes", "code", "path"), BAD)
def test_what_is_wrong_is_told_with_its_place(changes: dict[str, Any], code: str, path: str) -> None:
    assert refused(**changes) == (422, code, path)


def test_an_unusable_recipient_leaves_the_others() -> None:
    found = decode(to=[{"user": "a"}, {"user": {"id": "b", "email": "nonsense"}}, {"user": "c\n"}, {"user": "d"}])
    assert found.recipients == (UserRef("a"), UserRef("d"))
    assert [(p.path, p.code) for p in found.problems] == [
        ("$.to[1].user.email", "invalid_email"),
        ("$.to[2].user", "invalid_id"),
    ]


def test_everybody_is_told_once() -> None:
    found = decode(
        to=[{"user": "a"}, {"user": {"id": "a"}}, {"user": "a"}, {"topic": "a"}, {"topic": "a"}, {"all": True}]
    )
    assert found.recipients == (UserRef("a"), Topic("a"), All())


def test_a_moment_just_passed_means_now() -> None:
    assert decode(send_at="2026-03-01T11:56:00Z").send_at is None
    assert decode(send_at="2026-03-01T12:00:01Z").send_at == NOW + timedelta(seconds=1)


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "clé", "a\x7f"])
def test_an_idempotency_key_is_visible_ascii(key: str) -> None:
    with pytest.raises(Invalid) as caught:
        request.decode(body(), Project(), NOW, key)
    assert (caught.value.code, caught.value.path) == ("invalid_idempotency_key", "Idempotency-Key")


def test_the_fingerprint_is_of_the_meaning_not_of_the_spelling() -> None:
    plain = decode().fingerprint
    spelt = b'{ "data" : {"\\u006e": 1}, "to":[{"user":"octocat"}],\n"type":"issues"}'
    assert request.decode(spelt, Project(), NOW).fingerprint == plain
    assert request.decode(body(), Project(), NOW + timedelta(days=9), "key").fingerprint == plain
    assert decode(data={"n": 2}).fingerprint != plain
    assert len(plain) == 16


# ------------------------------------------------------------------------------------------- batches


def batch(*items: Any) -> list[NotificationRequest | Invalid]:
    return request.decode_batch(json.dumps({"notifications": items}).encode(), Project(), NOW)


def test_each_of_a_batch_stands_for_itself() -> None:
    good = json.loads(body())
    found = batch(
        good, {**good, "type": "isues"}, 5, {**good, "idempotency_key": "k"}, {**good, "idempotency_key": " "}
    )
    assert [type(item).__name__ for item in found] == [
        "NotificationRequest",
        "Invalid",
        "Invalid",
        "NotificationRequest",
        "Invalid",
    ]
    wrong = [(item.code, item.path) for item in found if isinstance(item, Invalid)]
    assert wrong == [
        ("unknown_type", "$.notifications[1].type"),
        ("invalid_field", "$.notifications[2]"),
        ("invalid_idempotency_key", "$.notifications[4].idempotency_key"),
    ]
    first, fourth = found[0], found[3]
    assert isinstance(first, NotificationRequest)
    assert isinstance(fourth, NotificationRequest)
    assert (first.idempotency_key, fourth.idempotency_key) == (None, "k")
    assert first.fingerprint == fourth.fingerprint == decode().fingerprint


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[]", "$"),
        ("{}", "$"),
        ('{"notifications":[],"x":1}', "$"),
        ('{"notifications":[]}', "$.notifications"),
        ('{"notifications":[' + ",".join(["1"] * 1001) + "]}", "$.notifications"),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(text: str, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        request.decode_batch(text.encode(), Project(), NOW)
    assert caught.value.path == path


# ---------------------------------------------------------------------------------------- properties

WILD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["issues", "a@b.co"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["user", "id", "topic", "all", "email", "x", "\0"]), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = [
    "type",
    "to",
    "data",
    "channels",
    "priority",
    "send_at",
    "expires_at",
    "collapse_key",
    "actor",
    "context",
    "x",
]


@given(st.dictionaries(st.sampled_from(FIELDS), WILD), st.booleans())
def test_whatever_comes_is_read_or_refused(fields: dict[str, Any], complete: bool) -> None:
    whole = {**json.loads(body()), **fields} if complete else fields
    found = read(json.dumps(whole).encode())
    if isinstance(found, Invalid):
        assert (found.status in (400, 422), found.path[0]) == (True, "$")
    else:
        assert found.recipients
        assert "\0" not in found.data


def read(text: bytes) -> NotificationRequest | Invalid:
    try:
        return request.decode(text, Project(), NOW)
    except Invalid as error:
        return error


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        request.decode(data, Project(), NOW)


@given(st.lists(st.text(max_size=140) | st.just("same"), min_size=1, max_size=20))
def test_usable_and_problems_make_up_all(users: list[str]) -> None:
    try:
        found = decode(to=[{"user": user} for user in users])
    except Invalid:
        return
    ids = {r.id for r in found.recipients if isinstance(r, UserRef)}
    bad = {int(p.path.removeprefix("$.to[").removesuffix("].user")) for p in found.problems}
    assert {user for index, user in enumerate(users) if index not in bad} == ids
    assert all(values.identifier(user) for user in ids)


@pytest.mark.parametrize(
    ("change", "path", "hint"),
    [
        ({"to": ["ada"]}, "$.to[0]", '{"user": "ada"}'),
        ({"channels": ["smoke"]}, "$.channels[0]", "in_app, push, email"),
        ({"priority": "high"}, "$.priority", "critical, transactional, bulk"),
    ],
)
def test_a_wrong_value_is_told_the_right_ones(change: dict[str, Any], path: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode(**change)
    assert caught.value.path == path
    assert hint in (caught.value.hint or "")


class WithoutData(msgspec.Struct, forbid_unknown_fields=True):
    token_id: str | None = None


@pytest.mark.parametrize(
    ("form", "hint"), [(WithoutData, "remove it"), (NotificationBody, "remove it, or move it into data")]
)
def test_data_is_offered_only_where_there_is_such_a_place(form: type, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        request.typed({"type": "x", "to": [{"user": "a"}], "tokn": 1} if hint.endswith("data") else {"tokn": 1}, form)
    assert (caught.value.code, caught.value.hint) == ("unknown_field", hint)
