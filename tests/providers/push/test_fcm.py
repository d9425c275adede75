"""What goes to Firebase for each platform, how is Google asked for leave, and which settings make no account?"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import jwt as pyjwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.push.samples import (
    CONTENT,
    DELIVERY,
    NOW,
    PROJECT,
    account,
    devices,
    message,
    service_account,
    settings,
)
from ulak.core.content.email import ContentError
from ulak.core.content.push import Action, PushContent
from ulak.core.device import AddressKind
from ulak.core.model import Class
from ulak.core.sign import jwt
from ulak.providers.contract import HttpReply, HttpRequest, Message
from ulak.providers.keys import Variable
from ulak.providers.push import fcm

DEVICE = devices()["fcm"]
DATA = {
    "order": "42",
    "url": "https://octo.example.com/o/42",
    "ulak_notification": f"ntf_{'1' * 32}",
    "ulak_type": "order_shipped",
    "ulak_receipt": "rcp_1",
    "ulak_actions": '[{"name":"open","title":"Aç","url":"https://octo.example.com/o/42"},'
    '{"name":"mute","title":"Sustur"}]',
}
platform = pytest.mark.parametrize("platform", ["android", "ios", "macos", "web", "other"])


def build(asked: Message, **more: object) -> HttpRequest:
    return fcm.build([asked], account("fcm", **more), NOW)


def sent(asked: Message) -> dict[str, Any]:
    said: dict[str, dict[str, Any]] = json.loads(build(asked).body)
    assert set(said) == {"message"}
    return said["message"]


def on(platform: str, content: Any = CONTENT, **more: Any) -> Message:
    return message("fcm", content, device=msgspec.structs.replace(DEVICE, platform=platform), **more)


def test_an_android_phone() -> None:
    request = build(on("android", receipt="rcp_1", collapse="order-42"))
    assert request.method == "POST"
    assert request.url == f"https://fcm.googleapis.com/v1/projects/{PROJECT}/messages:send"
    assert request.headers == (("content-type", "application/json"),)
    assert json.loads(request.body)["message"] == {
        "token": DEVICE.address,
        "data": DATA,
        "notification": {"title": CONTENT.title, "body": CONTENT.body, "image": CONTENT.image},
        "android": {
            "priority": "high",
            "ttl": "3600s",
            "collapse_key": "order-42",
            "notification": {
                "color": "#ff8800",
                "sound": "ding.caf",
                "tag": "order-42",
                "channel_id": "orders",
                "notification_count": 3,
            },
        },
    }


@pytest.mark.parametrize("platform", ["ios", "macos"])
def test_an_iphone_behind_fcm_gets_what_apns_would_give_it(platform: str) -> None:
    said = sent(on(platform, receipt="rcp_1"))
    assert said == {
        "token": DEVICE.address,
        "data": DATA,
        "apns": {
            "headers": {
                "apns-push-type": "alert",
                "apns-priority": "10",
                "apns-expiration": str(int(NOW.timestamp()) + 3_600),
                "apns-collapse-id": f"dlv_{DELIVERY}",
            },
            "payload": {
                "aps": {
                    "alert": {"title": CONTENT.title, "subtitle": CONTENT.subtitle, "body": CONTENT.body},
                    "badge": 3,
                    "sound": "ding.caf",
                    "thread-id": "orders",
                    "category": "ORDER",
                    "interruption-level": "time-sensitive",
                    "mutable-content": 1,
                }
            },
            "fcm_options": {"image": CONTENT.image},
        },
    }


def test_a_browser_behind_fcm() -> None:
    said = sent(on("web", receipt="rcp_1"))
    assert said == {
        "token": DEVICE.address,
        "data": DATA,
        "webpush": {
            "headers": {"TTL": "3600", "Urgency": "high"},
            "notification": {
                "title": CONTENT.title,
                "body": CONTENT.body,
                "icon": CONTENT.icon,
                "image": CONTENT.image,
                "tag": f"dlv_{DELIVERY}",
                "actions": [{"action": "open", "title": "Aç"}, {"action": "mute", "title": "Sustur"}],
            },
            "fcm_options": {"link": CONTENT.url},
        },
    }


def test_what_is_not_said_is_left_out() -> None:
    bare = PushContent("Hi", "", sound=None, badge=False)
    data = {"ulak_notification": f"ntf_{'1' * 32}", "ulak_type": "order_shipped"}
    android = {"priority": "high", "ttl": "3600s", "notification": {"tag": f"dlv_{DELIVERY}"}}
    assert sent(on("android", bare)) == {
        "token": DEVICE.address,
        "data": data,
        "notification": {"title": "Hi"},
        "android": android,
    }
    assert sent(on("web", bare))["webpush"]["notification"] == {
        "title": "Hi",
        "body": "",
        "tag": f"dlv_{DELIVERY}",
        "silent": True,
    }


def test_an_installation_id_is_named_as_one() -> None:
    device = msgspec.structs.replace(DEVICE, kind=AddressKind.FCM_FID, address="cZ1xW0aBTZ2m9Kq3LrPv7e")
    said = sent(message("fcm", device=device))
    assert said["fid"] == device.address
    assert "token" not in said


@platform
def test_a_silent_one_carries_data_and_shows_nothing(platform: str) -> None:
    content = PushContent("Secret", "Secret", silent=True, data={"sync": "1"}, image="https://x.example/i.png")
    said = sent(on(platform, content, klass=Class.CRITICAL, receipt="rcp_1"))
    assert "Secret" not in json.dumps(said)
    assert "x.example" not in json.dumps(said)
    assert said["data"]["sync"] == "1"
    assert "notification" not in said
    assert all("notification" not in said.get(block, {}) for block in ("android", "webpush"))
    if "apns" in said:
        assert said["apns"]["payload"] == {"aps": {"content-available": 1}}
        assert said["apns"]["headers"]["apns-push-type"] == "background"
        assert said["apns"]["headers"]["apns-priority"] == "5"
    else:
        assert "high" not in json.dumps(said)


@pytest.mark.parametrize(
    ("klass", "priority", "android", "web"),
    [
        (Class.CRITICAL, None, "high", "high"),
        (Class.TRANSACTIONAL, None, "high", "high"),
        (Class.MARKETING, None, "normal", "normal"),
        (Class.MARKETING, "high", "high", "high"),
        (Class.CRITICAL, "low", "normal", "low"),
    ],
)
def test_priority_is_that_of_the_class_unless_the_template_says_otherwise(
    klass: Class, priority: str | None, android: str, web: str
) -> None:
    content = PushContent("Hi", "", priority=priority)
    assert sent(on("android", content, klass=klass))["android"]["priority"] == android
    assert sent(on("web", content, klass=klass))["webpush"]["headers"]["Urgency"] == web


@pytest.mark.parametrize(
    ("left", "ttl"), [(-5.0, 0), (0.9, 0), (61.5, 61), (2_419_200.0, 2_419_200), (9_000_000.0, 2_419_200)]
)
def test_fcm_keeps_it_until_its_end_but_no_longer_than_it_can(left: float, ttl: int) -> None:
    end = NOW + timedelta(seconds=left)
    assert sent(on("android", expires_at=end))["android"]["ttl"] == f"{ttl}s"
    assert sent(on("web", expires_at=end))["webpush"]["headers"]["TTL"] == str(ttl)


def test_a_url_is_given_only_where_its_form_is_taken() -> None:
    content = PushContent("Hi", "", url="/inbox", icon="ic_octo", image="/p.png")
    android, web = sent(on("android", content)), sent(on("web", content))
    assert android["android"]["notification"]["icon"] == "ic_octo"
    assert "image" not in android["notification"]
    assert android["data"]["url"] == "/inbox"
    assert "fcm_options" not in web["webpush"]
    assert "fcm_options" not in sent(on("ios", content))["apns"]


@pytest.mark.parametrize("key", ["from", "message_type", "aps", "google", "google.x", "gcm", "gcm.notification.title"])
def test_a_key_that_fcm_keeps_for_itself_is_refused_before_any_call(key: str) -> None:
    with pytest.raises(ContentError) as caught:
        build(on("android", PushContent("Hi", "", data={key: "value"})))
    assert caught.value.reason == "reserved_data_key"
    assert "value" not in caught.value.detail


def test_keys_that_only_look_like_reserved_ones_are_taken() -> None:
    keys = ("from_user", "my_google", "message_types", "apsis", "From")
    assert sent(on("android", PushContent("Hi", "", data=dict.fromkeys(keys, "v"))))["data"].keys() >= set(keys)


def test_our_own_keys_are_ours() -> None:
    content = PushContent("Hi", "", url="https://a.example", data={"ulak_type": "forged", "url": "https://b.example"})
    data = sent(on("android", content))["data"]
    assert (data["ulak_type"], data["url"]) == ("order_shipped", "https://a.example")


@platform
@given(body=st.text(st.sampled_from('aö字👩🏽‍🚀🇹🇷"\\\n'), min_size=800, max_size=2_500))
def test_a_long_text_is_cut_to_4096_bytes_beside_the_address(platform: str, body: str) -> None:
    request = build(on(platform, PushContent("Title", body, data={"order": "42"})))
    size = len(request.body) - len(DEVICE.address)
    assert size <= 4_096
    said = json.loads(request.body)["message"]
    shown = {
        "ios": lambda: said["apns"]["payload"]["aps"]["alert"],
        "macos": lambda: said["apns"]["payload"]["aps"]["alert"],
        "web": lambda: said["webpush"]["notification"],
    }.get(platform, lambda: said["notification"])()
    assert shown["title"] == "Title"
    if shown["body"] != body:
        assert size > 4_096 - 60
        assert body.startswith(shown["body"].removesuffix("…").rstrip())


@pytest.mark.parametrize("silent", [False, True])
def test_what_does_not_fit_without_its_texts_is_said_before_any_call(silent: bool) -> None:
    content = PushContent("Hi", "There", silent=silent, data={f"k{n}": "v" * 1_000 for n in range(5)})
    with pytest.raises(ContentError) as caught:
        build(on("android", content))
    assert caught.value.reason == "payload_too_large"


@pytest.mark.parametrize(
    "content",
    [
        PushContent("half \ud83d", ""),
        PushContent("Hi", "", data={"order": "\ud83d"}),
        PushContent("Hi", "", actions=(Action("open", "\ud83d"),)),
    ],
)
def test_half_a_character_is_said_before_any_call(content: PushContent) -> None:
    with pytest.raises(ContentError) as caught:
        build(on("android", content))
    assert caught.value.reason == "bad_text"


def test_a_device_of_another_kind_is_none_for_fcm() -> None:
    with pytest.raises(ContentError):
        build(message("fcm", device=devices()["apns"]))


def test_the_project_and_the_addresses_may_be_others() -> None:
    more = {"project": "other-1", "endpoint": "https://127.0.0.1:1/", "token_endpoint": "https://127.0.0.1:2/"}
    assert build(on("android"), **more).url == "https://127.0.0.1:1/v1/projects/other-1/messages:send"
    assert fcm.credential("", account("fcm", **more), NOW).url == "https://127.0.0.1:2/token"


def test_google_is_asked_for_leave_by_what_our_key_signed() -> None:
    there = account("fcm", token_endpoint="https://127.0.0.1:2")
    request = fcm.credential(fcm.scope(build(on("android")), there), there, NOW)
    form = parse_qs(request.body.decode(), strict_parsing=True)
    assert (request.method, request.url) == ("POST", "https://127.0.0.1:2/token")
    assert dict(request.headers) == {"content-type": "application/x-www-form-urlencoded"}
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    key = jwt.rsa(json.loads(service_account())["private_key"]).public_key()
    read = pyjwt.decode_complete(
        form["assertion"][0],
        key,
        algorithms=["RS256"],
        audience="https://oauth2.googleapis.com/token",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert read["header"] == {"alg": "RS256", "kid": "0123456789abcdef", "typ": "JWT"}
    assert read["payload"] == {
        "iss": f"ulak@{PROJECT}.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/firebase.messaging",
        "aud": "https://oauth2.googleapis.com/token",
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 3_600,
    }


def grant(status: int = 200, **more: object) -> HttpReply:
    body = {"access_token": "ya29.c.b0Aa", "expires_in": 3_599, "token_type": "Bearer"} | more
    return HttpReply(status, {}, json.dumps({key: value for key, value in body.items() if value is not None}).encode())


@pytest.mark.parametrize(("life", "renewed"), [(3_599, 3_299), (900, 600), (300, 150), (10, 5), (1, 0)])
def test_an_access_token_is_renewed_before_its_end(life: int, renewed: int) -> None:
    credential = fcm.granted(grant(expires_in=life), account("fcm"), NOW)
    assert credential is not None
    assert credential.value == "Bearer ya29.c.b0Aa"
    assert credential.renew_at == NOW + timedelta(seconds=renewed)
    assert credential.ends_at == NOW + timedelta(seconds=life)
    assert "ya29" not in repr(credential)


@pytest.mark.parametrize(
    "reply",
    [
        grant(status=201),
        grant(status=400),
        grant(access_token=None),
        grant(access_token=""),
        grant(access_token="a b"),
        grant(access_token="a\r\nx: y"),
        grant(access_token=7),
        grant(token_type="mac"),
        grant(token_type=None),
        grant(expires_in=None),
        grant(expires_in=0),
        grant(expires_in=-1),
        grant(expires_in=True),
        grant(expires_in="3600"),
        grant(expires_in=10**12),
        HttpReply(200, {}, b"[]"),
        HttpReply(200, {}, b"\xff"),
        HttpReply(200, {}, b"[" * 100_000),
    ],
)
def test_what_is_no_grant_gives_no_credential(reply: HttpReply) -> None:
    assert fcm.granted(reply, account("fcm"), NOW) is None


def test_an_access_token_is_stale_when_google_refuses_it_and_not_for_the_key_of_another_service() -> None:
    detail = {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "THIRD_PARTY_AUTH_ERROR"}
    assert fcm.stale(HttpReply(401, {}, b""))
    assert fcm.stale(HttpReply(401, {}, b'{"error":{"status":"UNAUTHENTICATED"}}'))
    assert not fcm.stale(HttpReply(401, {}, json.dumps({"error": {"details": [detail]}}).encode()))
    assert not fcm.stale(HttpReply(403, {}, b'{"error":{"status":"UNAUTHENTICATED"}}'))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"service_account": Variable("OCTO_FIREBASE")},
        {"project": "octo-2", "apps": ["com.example.octo"]},
        {"endpoint": "https://127.0.0.1:1", "token_endpoint": "https://127.0.0.1:1", "ca_file": "/ca.pem"},
    ],
)
def test_settings_that_make_an_account(more: dict[str, object]) -> None:
    fcm.check({**settings("fcm"), **more})


def changed(**more: object) -> str:
    return json.dumps({key: value for key, value in {**json.loads(service_account()), **more}.items() if value})


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"service_account": ""}, "service_account_env"),
        ({"service_account_env": "X"}, "service_account_env"),
        ({"service_account": "{"}, "service_account"),
        ({"service_account": "OCTO_FIREBASE"}, "service_account"),  # a name where a node has read the variable
        ({"service_account": "[]"}, "service_account"),
        ({"service_account": changed(project_id="../x")}, "service_account"),
        ({"service_account": changed(client_email="a b")}, "service_account"),
        ({"service_account": changed(private_key="secret-key")}, "service_account"),
        ({"service_account": changed(private_key=None)}, "service_account"),
        ({"project": "Octo"}, "project"),
        ({"project": "a/b"}, "project"),
        ({"apps": "com.example"}, "apps"),
        ({"endpoint": "http://fcm.googleapis.com"}, "endpoint"),
        ({"token_endpoint": "http://example.com"}, "token_endpoint"),
        ({"ca_file": "/ca.pem"}, "ca_file"),
        ({"server_key": "AAAA"}, "server_key"),
    ],
)
def test_settings_that_make_none_are_named(more: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key}: ") as caught:
        fcm.check({**settings("fcm"), **more})
    assert "secret-key" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_service_account_does_not_show_its_key() -> None:
    held = fcm.service_account(service_account())
    assert held.private_key not in repr(held)
    assert PROJECT in repr(held)
