"""What goes to Apple, with which token, and which settings make no account?"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt as pyjwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.push.samples import APP, CONTENT, DELIVERY, NOW, account, devices, message, p8, settings
from ulak.core.content.email import ContentError
from ulak.core.content.push import PushContent
from ulak.core.device import AddressKind, Environment
from ulak.core.model import Class
from ulak.core.registration import MAX_APNS, MIN_APNS, apns_token
from ulak.core.sign import jwt
from ulak.providers.contract import HttpReply, HttpRequest, Message, NoContent
from ulak.providers.keys import Variable
from ulak.providers.push import apns

TOKEN = devices()["apns"].address
BARE = PushContent("Hi", "")
MOMENTS = st.integers(1_577_836_800_000, 2_208_988_800_000).map(lambda ms: datetime.fromtimestamp(ms / 1_000, UTC))
"""Milliseconds from 2020 to 2040."""


def build(asked: Message, **more: object) -> HttpRequest:
    return apns.build([asked], account("apns", **more), NOW)


def headers(asked: Message, **more: object) -> dict[str, str]:
    return dict(build(asked, **more).headers)


def payload(asked: Message) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(build(asked).body)
    return said


def of_device(**more: Any) -> Message:
    return message(device=msgspec.structs.replace(devices()["apns"], **more))


def test_all_that_a_notification_can_say() -> None:
    request = build(message(receipt="rcp_1", klass=Class.TRANSACTIONAL))
    assert (request.method, request.url) == ("POST", f"https://api.push.apple.com/3/device/{TOKEN}")
    assert dict(request.headers) == {
        "apns-topic": APP,
        "apns-push-type": "alert",
        "apns-priority": "10",
        "apns-expiration": str(int(NOW.timestamp()) + 3_600),
        "apns-collapse-id": f"dlv_{DELIVERY}",
        "apns-id": "0192f0c1-e1a2-7c3f-8000-000000000001",
        "content-type": "application/json",
    }
    assert json.loads(request.body) == {
        "aps": {
            "alert": {"title": CONTENT.title, "subtitle": CONTENT.subtitle, "body": CONTENT.body},
            "badge": 3,
            "sound": "ding.caf",
            "thread-id": "orders",
            "category": "ORDER",
            "interruption-level": "time-sensitive",
            "mutable-content": 1,
        },
        "ulak": {"notification": f"ntf_{'1' * 32}", "type": "order_shipped", "receipt": "rcp_1"},
        "data": {"order": "42"},
        "url": "https://octo.example.com/o/42",
        "image": "https://octo.example.com/p.png",
        "actions": [
            {"name": "open", "title": "Aç", "url": "https://octo.example.com/o/42"},
            {"name": "mute", "title": "Sustur"},
        ],
    }


def test_what_is_not_said_is_left_out() -> None:
    asked = payload(message(content=PushContent("Hi", "", sound=None, badge=False)))
    assert asked == {
        "aps": {"alert": {"title": "Hi"}},
        "ulak": {"notification": f"ntf_{'1' * 32}", "type": "order_shipped"},
    }


def test_the_badge_is_the_unread_count_and_none_is_told_as_0() -> None:
    assert payload(message(content=BARE, badge=0))["aps"]["badge"] == 0


@pytest.mark.parametrize("more", [{"image": "https://octo.example.com/p.png"}, {"receipt": "rcp_1"}])
def test_the_apps_extension_is_woken_where_it_has_something_to_do(more: dict[str, str]) -> None:
    content = PushContent("Hi", "", image=more.get("image"))
    assert payload(message(content=content, receipt=more.get("receipt")))["aps"]["mutable-content"] == 1
    assert "mutable-content" not in payload(message(content=BARE))["aps"]


def test_a_critical_alert_has_a_critical_sound() -> None:
    content = PushContent("Fire", "", interruption="critical")
    sound = {"name": "default", "critical": 1, "volume": 1.0}
    assert payload(message(content=content))["aps"]["sound"] == sound


@pytest.mark.parametrize("priority", ["high", "normal", "low", None])
def test_a_silent_one_shows_nothing_and_is_sent_as_apple_wants_it(priority: str | None) -> None:
    content = PushContent(
        "Secret", "Secret", silent=True, priority=priority, data={"sync": "1"}, image="https://x.example/i"
    )
    asked = message(content=content, klass=Class.CRITICAL, receipt="rcp_1")
    assert payload(asked)["aps"] == {"content-available": 1}
    assert payload(asked)["data"] == {"sync": "1"}
    said = headers(asked)
    assert (said["apns-push-type"], said["apns-priority"]) == ("background", "5")


@pytest.mark.parametrize(
    ("klass", "priority", "sent"),
    [
        (Class.CRITICAL, None, "10"),
        (Class.TRANSACTIONAL, None, "10"),
        (Class.MARKETING, None, "5"),
        (Class.MARKETING, "high", "10"),
        (Class.CRITICAL, "normal", "5"),
        (Class.CRITICAL, "low", "1"),
    ],
)
def test_priority_is_that_of_the_class_unless_the_template_says_otherwise(
    klass: Class, priority: str | None, sent: str
) -> None:
    asked = message(content=PushContent("Hi", "", priority=priority), klass=klass)
    assert headers(asked)["apns-priority"] == sent


@pytest.mark.parametrize(
    ("left", "sent"),
    [(-5.0, 0), (0.0, 0), (0.9, 0), (1.0, 1), (61.5, 61), (30 * 86_400.0, 30 * 86_400), (90 * 86_400.0, 30 * 86_400)],
)
def test_apple_keeps_it_until_its_end_but_no_longer_than_it_can(left: float, sent: int) -> None:
    asked = message(expires_at=NOW + timedelta(seconds=left))
    assert headers(asked)["apns-expiration"] == (str(int(NOW.timestamp()) + sent) if sent else "0")


@given(key=st.text(min_size=1, max_size=128))
def test_a_collapse_id_is_short_ascii_and_the_same_for_the_same_key(key: str) -> None:
    sent = headers(message(collapse=key))["apns-collapse-id"]
    assert re.fullmatch(r"[!-~]{1,64}", sent)
    assert sent == headers(message(collapse=key))["apns-collapse-id"]
    assert sent == key or not re.fullmatch(r"[!-~]{1,64}", key)
    assert sent != headers(message(collapse=key + "x"))["apns-collapse-id"]


def test_all_attempts_of_a_delivery_have_the_same_ids() -> None:
    first, third = (headers(message(attempt=f"att_{DELIVERY}_{n}")) for n in (1, 3))
    assert first == third


@pytest.mark.parametrize(
    ("environment", "of_device_", "host"),
    [
        (None, "production", "api.push.apple.com"),
        (None, "sandbox", "api.push.apple.com"),
        ("production", "sandbox", "api.push.apple.com"),
        ("sandbox", "production", "api.sandbox.push.apple.com"),
        ("both", "production", "api.push.apple.com"),
        ("both", "sandbox", "api.sandbox.push.apple.com"),
    ],
)
def test_the_environment_is_the_accounts_and_the_devices_where_it_has_both(
    environment: str | None, of_device_: str, host: str
) -> None:
    more = {} if environment is None else {"environment": environment}
    request = build(of_device(environment=Environment(of_device_)), **more)
    assert request.url.startswith(f"https://{host}/3/device/")


def test_other_addresses_take_the_place_of_apples() -> None:
    places = {"endpoint": "https://127.0.0.1:1/", "endpoint_sandbox": "https://127.0.0.1:2", "environment": "both"}
    assert build(of_device(), **places).url.startswith("https://127.0.0.1:1/3/device/")
    sandbox = of_device(environment=Environment.SANDBOX)
    assert build(sandbox, **places).url.startswith("https://127.0.0.1:2/3/device/")


def test_a_device_that_names_no_app_has_the_first_of_the_account() -> None:
    assert headers(of_device(app=""), apps=["com.example.first", APP])["apns-topic"] == "com.example.first"
    assert headers(of_device(app=APP), apps=["com.example.first", APP])["apns-topic"] == APP


@given(
    body=st.text(st.sampled_from('aö字👩🏽‍🚀🇹🇷"\\\n'), min_size=800, max_size=2_500),
    title=st.text(st.sampled_from("aö字👩🏽‍🚀"), min_size=1, max_size=300),
)
def test_a_long_text_is_cut_to_4096_bytes_and_the_rest_stays(body: str, title: str) -> None:
    request = build(message(content=PushContent(title, body, data={"order": "42"}), receipt="rcp_1"))
    assert len(request.body) <= 4_096
    said = json.loads(request.body)
    alert = said["aps"]["alert"]
    assert said["data"] == {"order": "42"}
    if alert["body"] != body:
        assert len(request.body) > 4_096 - 60
        assert alert["title"] == title
        assert body.startswith(alert["body"].removesuffix("…").rstrip())


def test_title_and_subtitle_are_cut_only_when_the_body_is_gone() -> None:
    def alert(title: int) -> dict[str, str]:
        room = {f"k{n}": "v" * 900 for n in range(4)}
        content = PushContent("T" * title, "B" * 500, subtitle="S" * 300, data=room)
        said: dict[str, str] = payload(message(content=content))["aps"]["alert"]
        return said

    small, large = alert(50), alert(300)
    assert small["body"] == large["body"] == "B…"
    assert small["title"] == "T" * 50
    assert re.fullmatch("S{100,299}…", small["subtitle"])
    assert large["subtitle"] == "S…"
    assert re.fullmatch("T{100,299}…", large["title"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (PushContent("Hi", "There", data={f"k{n}": "v" * 1_000 for n in range(5)}), "payload_too_large"),
        (PushContent("", "", silent=True, data={f"k{n}": "v" * 1_000 for n in range(5)}), "payload_too_large"),
        (PushContent("", ""), "empty_content"),
        (PushContent("half \ud83d", ""), "bad_text"),
        (NoContent(), "not_push"),
    ],
)
def test_what_can_never_be_sent_is_said_before_any_call(content: object, reason: str) -> None:
    with pytest.raises(ContentError) as caught:
        build(message(content=content))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "more", [{"kind": AddressKind.FCM_TOKEN}, {"address": "no hex"}, {"address": "ab" * 8}, {"address": "../" * 20}]
)
def test_a_device_of_another_kind_is_none_for_apple(more: dict[str, Any]) -> None:
    with pytest.raises(ContentError) as caught:
        build(of_device(**more))
    assert str(more.get("address", "-")) not in str(caught.value)
    with pytest.raises(ContentError):
        build(msgspec.structs.replace(message(), device=None))


@given(at=MOMENTS, seconds=st.integers(0, 3_600))
def test_provider_tokens_are_20_to_60_minutes_apart_and_alike_on_all_nodes(at: datetime, seconds: int) -> None:
    there, here = account("apns"), account("apns", apps=["com.example.other"], environment="both")
    one, other = apns.credential("", there, at), apns.credential("", here, at + timedelta(seconds=seconds))
    iat, later = (int(pyjwt.decode(c.value[7:], options={"verify_signature": False})["iat"]) for c in (one, other))
    assert later == iat or timedelta(minutes=20) <= timedelta(seconds=later - iat) <= timedelta(hours=1)
    assert (one == other) == (iat == later)
    issued = datetime.fromtimestamp(iat, UTC)
    assert issued + timedelta(seconds=60) <= at < one.renew_at
    assert one.renew_at < one.ends_at < issued + timedelta(hours=1)
    assert apns.credential("", there, one.renew_at) != one


def test_a_provider_token_is_what_apple_asks_for() -> None:
    credential = apns.credential("", account("apns"), NOW)
    assert credential.value.startswith("bearer ")
    public = jwt.p256(p8()).public_key()
    read = pyjwt.decode_complete(
        credential.value[7:], public, algorithms=["ES256"], options={"verify_exp": False, "verify_iat": False}
    )
    assert read["header"] == {"alg": "ES256", "kid": "KEY0000001", "typ": "JWT"}
    assert read["payload"] == {"iss": "TEAM000001", "iat": int(NOW.timestamp()) - 1_800}
    assert credential.value not in repr(credential)


def test_one_credential_serves_an_account_and_only_its_own_refusal_makes_it_stale() -> None:
    there = account("apns", environment="both")
    scopes = {apns.scope(apns.build([of_device(environment=each)], there, NOW), there) for each in Environment}
    assert scopes == {""}
    assert apns.stale(HttpReply(403, {}, b'{"reason":"ExpiredProviderToken"}'))
    others = [(403, b'{"reason":"InvalidProviderToken"}'), (400, b'{"reason":"ExpiredProviderToken"}'), (403, b"[")]
    assert not any(apns.stale(HttpReply(status, {}, body)) for status, body in others)
    assert apns.granted(HttpReply(200, {}, b'{"access_token":"x"}'), there, NOW) is None


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "environment": "both",
            "endpoint": "https://127.0.0.1:1",
            "endpoint_sandbox": "https://127.0.0.1:2",
            "ca_file": "/c",
        },
        {"private_key": Variable("OCTO_APNS_KEY")},
        {"private_key": p8().replace("\n", "\\n")},
    ],
)
def test_settings_that_make_an_account(more: dict[str, object]) -> None:
    apns.check({**settings("apns"), **more})


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"team_id": "short"}, "team_id"),
        ({"team_id": None}, "team_id"),
        ({"key_id": "lower00001"}, "key_id"),
        ({"private_key": ""}, "private_key_env"),
        ({"private_key_env": "X"}, "private_key_env"),
        ({"private_key": "OCTO_APNS_KEY"}, "private_key"),  # a name where a node has read the variable
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"}, "private_key"),
        ({"apps": []}, "apps"),
        ({"apps": ["com.example app"]}, "apps"),
        ({"apps": "com.example.app"}, "apps"),
        ({"environment": "development"}, "environment"),
        ({"endpoint": "http://api.push.apple.com"}, "endpoint"),
        ({"endpoint_sandbox": "http://example.com"}, "endpoint_sandbox"),
        ({"endpoint_sandbox": "nowhere"}, "endpoint_sandbox"),
        ({"ca_file": "/ca.pem"}, "ca_file"),
        ({"topic": "com.example.app"}, "topic"),
    ],
)
def test_settings_that_make_none_are_named(more: dict[str, object], key: str) -> None:
    given_ = {name: value for name, value in {**settings("apns"), **more}.items() if value is not None}
    with pytest.raises(ValueError, match=rf"^{key}: "):
        apns.check(given_)


@pytest.mark.parametrize("missing", ["team_id", "key_id", "private_key", "apps"])
def test_what_an_account_cannot_do_without(missing: str) -> None:
    with pytest.raises(ValueError, match=rf"^{missing}(_env)?: "):
        apns.check({key: value for key, value in settings("apns").items() if key != missing})


@pytest.mark.parametrize("size", [MIN_APNS, MAX_APNS])
def test_what_may_be_registered_may_be_sent_to(size: int) -> None:
    token = apns_token("aB" * size)
    device = msgspec.structs.replace(devices()["apns"], address=token)
    request = apns.build([message("apns", device=device)], account("apns"), NOW)
    assert request.url.endswith(f"/3/device/{token}")
