"""What do push services of browsers get from us, and what do we make of their answers?"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt as pyjwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from tests.core.sign.test_webpush import opened
from ulak.core.content.email import ContentError
from ulak.core.content.push import Action, PushContent
from ulak.core.device import AddressKind, Device, Fate
from ulak.core.model import Account, Channel, Class
from ulak.core.outcome import Kind, Outcome
from ulak.core.sign.webpush import MOST, public_point
from ulak.providers.contract import HttpReply, Lost, Message, NoContent, Phase, Refused
from ulak.providers.keys import Variable
from ulak.providers.push import webpush

NOW = datetime(2026, 11, 22, 18, 40, tzinfo=UTC)
ENDPOINT = "https://updates.push.services.mozilla.com/wpush/v2/gAAAAABsecret-part"


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def scalar(key: ec.EllipticCurvePrivateKey) -> str:
    return b64(key.private_numbers().private_value.to_bytes(32, "big"))


BROWSER, SERVER, OTHER = (ec.derive_private_key(number, ec.SECP256R1()) for number in (8_291, 8_292, 8_293))
AUTH = b"sixteen octets!!"
DEVICE = Device(
    "dev_1", AddressKind.WEBPUSH, "https://app.example", "web", ENDPOINT, NOW,
    p256dh=b64(public_point(BROWSER)), auth=b64(AUTH),
)  # fmt: skip
SETTINGS: dict[str, object] = {
    "subject": "mailto:push@example.com",
    "private_key": scalar(SERVER),
    "public_key": b64(public_point(SERVER)),
}
CONTENT = PushContent("Sipariş yolda", "Kargo geldi 🚚", url="https://app.example/orders/42", data={"order": "42"})
MESSAGE = Message(
    f"dlv_{'0' * 32}", f"att_{'0' * 32}_1", "dev_1", CONTENT, NOW + timedelta(hours=1), klass=Class.TRANSACTIONAL,
    type="order_shipped", notification=f"ntf_{'1' * 32}", device=DEVICE, badge=3, receipt="rcp_x", entropy=bytes(48),
)  # fmt: skip


def account(**more: object) -> Account:
    return Account("web", "webpush", Channel.PUSH, settings={**SETTINGS, **more})


def changed(content: dict[str, Any] | None = None, **more: Any) -> Message:
    made = msgspec.structs.replace(MESSAGE, **more)
    return msgspec.structs.replace(made, content=replace(CONTENT, **content)) if content else made


def headers(message: Message = MESSAGE) -> dict[str, str]:
    return dict(webpush.build([message], account(), NOW).headers)


def plaintext(message: Message = MESSAGE, **more: object) -> bytes:
    return opened(webpush.build([message], account(**more), NOW).body, BROWSER, AUTH)


def shown(message: Message = MESSAGE) -> Any:
    return json.loads(plaintext(message))


def judged(reply: HttpReply, message: Message = MESSAGE) -> Outcome:
    (outcome,) = webpush.read(reply, [message], account(), NOW)
    return outcome


# ---------------------------------------------------------------------------------------------- requests


def test_the_browser_gets_a_declarative_message_with_all_that_the_web_can_show() -> None:
    message = changed(
        {"subtitle": "Ulak", "icon": "https://a/i.png", "image": "https://a/b.png",
         "actions": (Action("track", "Track", "https://a/t", "https://a/t.png"), Action("hide", "Hide"))}
    )  # fmt: skip
    assert shown(message) == {
        "web_push": 8030,
        "notification": {
            "title": "Sipariş yolda",
            "body": "Ulak\nKargo geldi 🚚",
            "navigate": "https://app.example/orders/42",
            "icon": "https://a/i.png",
            "image": "https://a/b.png",
            "tag": MESSAGE.delivery,
            "actions": [
                {"action": "track", "title": "Track", "navigate": "https://a/t", "icon": "https://a/t.png"},
                {"action": "hide", "title": "Hide", "navigate": "https://app.example/orders/42"},
            ],
            "data": {
                "order": "42",
                "ulak": {"notification": MESSAGE.notification, "type": "order_shipped", "receipt": "rcp_x"},
            },
        },
        "app_badge": 3,
        "mutable": True,
    }


def test_what_is_not_wanted_is_not_said() -> None:
    assert "app_badge" not in shown(changed({"badge": False}))
    assert shown(changed({}, badge=0))["app_badge"] == 0
    assert "mutable" not in shown(changed(receipt=None))
    assert "receipt" not in shown(changed(receipt=None))["notification"]["data"]["ulak"]
    assert shown(changed({"sound": None}))["notification"]["silent"] is True
    assert "silent" not in shown()["notification"]


def test_a_silent_one_shows_nothing_and_is_no_declarative_message() -> None:
    assert shown(changed({"silent": True})) == {
        "notification": {"data": {"order": "42", "ulak": shown()["notification"]["data"]["ulak"]}},
        "app_badge": 3,
    }


def test_data_of_the_app_can_not_pass_for_ours() -> None:
    assert shown(changed({"data": {"ulak": "x"}}))["notification"]["data"]["ulak"]["receipt"] == "rcp_x"


def test_the_request_is_that_of_the_rfcs_without_authorization() -> None:
    request = webpush.build([MESSAGE], account(), NOW)
    assert (request.method, request.url) == ("POST", ENDPOINT)
    names = [name.lower() for name, _ in request.headers]
    assert names == ["content-encoding", "content-type", "ttl", "urgency", "topic"]
    assert headers()["Content-Encoding"] == "aes128gcm"


@pytest.mark.parametrize(
    ("left", "ttl"),
    [(timedelta(hours=1), "3600"), (timedelta(0), "0"), (timedelta(hours=-1), "0"), (timedelta(days=90), "2419200")],
)
def test_the_life_is_what_is_left_of_the_notifications(left: timedelta, ttl: str) -> None:
    assert headers(changed(expires_at=NOW + left))["TTL"] == ttl


@pytest.mark.parametrize(
    ("klass", "priority", "urgency"),
    [
        (Class.CRITICAL, None, "high"),
        (Class.TRANSACTIONAL, None, "normal"),
        (Class.MARKETING, None, "low"),
        (Class.MARKETING, "high", "high"),
        (Class.CRITICAL, "low", "low"),
        (Class.CRITICAL, "normal", "normal"),
    ],
)
def test_the_urgency_is_that_of_the_class_unless_the_content_has_one(
    klass: Class, priority: str | None, urgency: str
) -> None:
    assert headers(changed({"priority": priority}, klass=klass))["Urgency"] == urgency


def test_all_calls_of_a_delivery_replace_one_another_and_other_deliveries_do_not() -> None:
    topic = headers()["Topic"]
    assert len(topic) == 32
    assert topic.isalnum()
    assert topic.isascii()
    assert headers(changed(attempt=f"att_{'0' * 32}_2"))["Topic"] == topic
    assert headers(changed(delivery=f"dlv_{'2' * 32}"))["Topic"] != topic


def test_a_collapse_key_decides_what_is_replaced_and_the_service_can_not_guess_it() -> None:
    first, second = (headers(changed(delivery=delivery, collapse="order-42"))["Topic"] for delivery in "ab")
    assert first == second
    assert shown(changed(collapse="order-42"))["notification"]["tag"] == "order-42"
    elsewhere = msgspec.structs.replace(DEVICE, auth=b64(b"another sixteen!"))
    assert headers(changed(collapse="order-42", device=elsewhere))["Topic"] != first


# ---------------------------------------------------------------------------------------------- limits


@given(
    title=st.text("aé🚚👨‍👩‍👧", max_size=300),
    body=st.text('aé"\\🚚👨‍👩‍👧', min_size=1, max_size=4_000),
    most=st.integers(600, MOST),
)
def test_texts_are_cut_to_the_budget(title: str, body: str, most: int) -> None:
    message = changed({"title": title or "x", "body": body})
    text = plaintext(message, payload_bytes=most)
    assert len(text) <= most
    cut = json.loads(text)["notification"]
    if "body" in cut and cut["body"] != body:
        assert cut["body"].endswith("…")


def test_the_budget_leaves_room_unless_the_account_says_otherwise() -> None:
    long = changed({"body": "x" * 5_000})
    assert webpush.BUDGET - 4 < len(plaintext(long)) <= webpush.BUDGET
    assert MOST - 4 < len(plaintext(long, payload_bytes=MOST)) <= MOST
    assert len(webpush.build([long], account(payload_bytes=MOST), NOW).body) <= 4_096


def test_data_alone_may_be_too_long() -> None:
    with pytest.raises(ContentError) as refused:
        webpush.build([changed({"data": {str(n): "x" * 1_000 for n in range(4)}})], account(), NOW)
    assert refused.value.reason == "payload_too_large"
    with pytest.raises(ContentError):
        webpush.build([changed({"silent": True, "data": {str(n): "x" * 1_000 for n in range(4)}})], account(), NOW)


def test_a_message_that_was_too_long_is_tried_once_more_and_shorter() -> None:
    first = changed({"body": "x" * 5_000})
    second = msgspec.structs.replace(first, attempt=f"att_{'0' * 32}_2")
    verdict = judged(HttpReply(413, {}, b'{"errno":104}'), first)
    assert (verdict.kind, verdict.reason, verdict.device) == (Kind.RECIPIENT_TEMPORARY, "webpush_cut", None)
    assert len(plaintext(second)) <= webpush.SMALL < len(plaintext(first))
    verdict = judged(HttpReply(413, {}, b""), second)
    assert (verdict.kind, verdict.reason, verdict.device) == (Kind.PAYLOAD_ERROR, "webpush_http_413", None)


def test_what_can_not_be_made_shorter_is_not_tried_again() -> None:
    assert judged(HttpReply(413, {}, b"")).kind is Kind.PAYLOAD_ERROR
    heavy = changed({"data": {str(n): "x" * 1_000 for n in range(3)}})
    assert judged(HttpReply(413, {}, b""), heavy).kind is Kind.PAYLOAD_ERROR


def test_a_later_call_whose_data_is_long_goes_out_all_the_same() -> None:
    heavy = changed({"data": {str(n): "x" * 1_000 for n in range(3)}}, attempt=f"att_{'0' * 32}_2")
    assert webpush.SMALL < len(plaintext(heavy)) <= webpush.BUDGET


# ---------------------------------------------------------------------------------------------- refusals of ours


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (changed(device=None), "not_its_device"),
        (changed(device=msgspec.structs.replace(DEVICE, kind=AddressKind.APNS)), "not_its_device"),
        (msgspec.structs.replace(MESSAGE, content=NoContent()), "not_push"),
        (changed({"title": "", "body": ""}), "empty_content"),
        (changed({"title": "\ud800"}), "bad_text"),
        (changed(device=msgspec.structs.replace(DEVICE, address="https://127.0.0.1/x")), "endpoint_refused"),
        (changed(device=msgspec.structs.replace(DEVICE, address="https://evil.example/x")), "endpoint_refused"),
        (changed(device=msgspec.structs.replace(DEVICE, address="http://fcm.googleapis.com/x")), "endpoint_refused"),
        (changed(device=msgspec.structs.replace(DEVICE, p256dh=b64(b"\x04" + bytes(64)))), "bad_subscription"),
        (changed(device=msgspec.structs.replace(DEVICE, auth="")), "bad_subscription"),
        (changed(entropy=b""), "bad_subscription"),
    ],
)  # fmt: skip
def test_what_can_never_be_sent_is_not_sent(message: Message, reason: str) -> None:
    with pytest.raises(ContentError) as refused:
        webpush.build([message], account(), NOW)
    assert refused.value.reason == reason
    assert message.device is None or message.device.address not in str(refused.value)


def test_an_account_may_have_its_own_hosts_alone() -> None:
    with pytest.raises(ContentError, match="not at a push service"):
        webpush.build([MESSAGE], account(hosts=["*.ntfy.example.org"], only_hosts=True), NOW)


def test_an_account_may_name_more_hosts() -> None:
    device = msgspec.structs.replace(DEVICE, address="https://a.ntfy.example.org/up?x=1")
    assert webpush.build([changed(device=device)], account(hosts=["*.ntfy.example.org"]), NOW).url == device.address


# ---------------------------------------------------------------------------------------------- credentials


def test_the_token_names_the_service_and_is_signed_by_the_accounts_key() -> None:
    scope = webpush.scope(webpush.build([MESSAGE], account(), NOW), account())
    assert scope == "https://updates.push.services.mozilla.com"
    made = webpush.credential(scope, account(), NOW)
    kind, _, rest = made.value.partition(" ")
    parts = dict(part.split("=", 1) for part in rest.split(", "))
    assert kind == "vapid"
    assert parts["k"] == SETTINGS["public_key"]
    claims = pyjwt.decode(
        parts["t"], SERVER.public_key(), ["ES256"], audience=scope, options={"verify_exp": False, "require": ["exp"]}
    )
    assert claims == {"aud": scope, "exp": claims["exp"], "sub": "mailto:push@example.com"}
    assert parts["t"] not in repr(made)


@given(seconds=st.integers(0, 10 * 86_400))
@example(seconds=19_200)  # midnight, when a slot begins
@example(seconds=19_199)
def test_a_token_lives_less_than_a_day_and_longer_than_it_is_used(seconds: int) -> None:
    now = NOW + timedelta(seconds=seconds)
    made = webpush.credential("https://a.example", account(), now)
    token = made.value.split("=", 1)[1].partition(",")[0].split(".")[1]
    ends = datetime.fromtimestamp(json.loads(urlsafe_b64decode(token + "=="))["exp"], UTC)
    assert now < made.renew_at < made.ends_at < ends
    assert ends - now <= timedelta(hours=23)
    assert made.renew_at - now <= timedelta(hours=12)
    # Whoever is asked within the same twelve hours mints the same one.
    assert webpush.credential("https://a.example", account(), made.renew_at - timedelta(seconds=1)) == made
    assert webpush.credential("https://a.example", account(), made.renew_at) != made


def test_no_answer_makes_a_new_token_worth_while() -> None:
    for status in (400, 401, 403):
        assert not webpush.stale(HttpReply(status, {}, b'{"errno":109}'))
    assert webpush.granted(HttpReply(200, {}, b"{}"), account(), NOW) is None


# ---------------------------------------------------------------------------------------------- answers

GONE = (Kind.RECIPIENT_PERMANENT, Fate.DEAD, None)
STRIKE = (Kind.RECIPIENT_TEMPORARY, Fate.STRIKE, None)
CONFIG = (Kind.NEXT_PROVIDER, None, None)
BUSY = (Kind.RECIPIENT_TEMPORARY, Fate.BUSY, 60.0)
AGAIN = (Kind.RETRY, None, None)
LOST = (Kind.UNKNOWN, None, None)


def errno(number: int) -> bytes:
    return json.dumps({"code": 400, "errno": number, "error": "x", "message": f"see {ENDPOINT}"}).encode()


def reason(word: str) -> bytes:
    return json.dumps({"reason": word}).encode()


ANSWERS = [
    (404, b"", GONE, "webpush_gone"),
    (404, errno(102), GONE, "webpush_404_102"),
    (410, b"push subscription has unsubscribed or expired.\n", GONE, "webpush_gone"),
    (410, errno(103), GONE, "webpush_410_103"),
    (410, errno(105), GONE, "webpush_410_105"),
    (410, errno(106), GONE, "webpush_410_106"),
    (410, reason("Unregistered"), GONE, "webpush_410_unregistered"),
    (400, b"", STRIKE, "webpush_http_400"),
    (400, errno(110), STRIKE, "webpush_400_110"),
    (400, errno(111), STRIKE, "webpush_400_111"),
    (400, b"<TITLE>UnauthorizedRegistration</TITLE>", STRIKE, "webpush_400_unauthorized_registration"),
    (400, reason("VapidPkHashMismatch"), STRIKE, "webpush_400_vapid_pk_hash_mismatch"),
    (507, b'{"code":50701}', STRIKE, "webpush_http_507"),
    (401, errno(109), CONFIG, "webpush_401_109"),
    (401, b"", CONFIG, "webpush_http_401"),
    (403, reason("BadJwtToken"), CONFIG, "webpush_403_bad_jwt_token"),
    (403, b"<html>", CONFIG, "webpush_http_403"),
    (405, b"", CONFIG, "webpush_http_405"),
    (301, b"", CONFIG, "webpush_http_301"),
    (302, b"", CONFIG, "webpush_http_302"),
    (307, b"", CONFIG, "webpush_http_307"),
    (406, b"", BUSY, "webpush_http_406"),
    (429, b"", BUSY, "webpush_http_429"),
    (429, errno(201), BUSY, "webpush_http_429"),
    (429, b'{"code":42908}', BUSY, "webpush_http_429"),
    (500, b"", AGAIN, "webpush_http_500"),
    (500, errno(999), AGAIN, "webpush_500_999"),
    (503, errno(201), AGAIN, "webpush_503_201"),
    (503, errno(202), AGAIN, "webpush_503_202"),
    (503, b"", AGAIN, "webpush_http_503"),
    (502, errno(902), AGAIN, "webpush_502_902"),
    (502, errno(903), LOST, "webpush_http_502"),
    (502, b"", LOST, "webpush_http_502"),
    (504, b"", LOST, "webpush_http_504"),
    (408, b"", AGAIN, "webpush_http_408"),
    (206, b"", LOST, "webpush_unreadable"),
]


@pytest.mark.parametrize(("status", "body", "meant", "why"), ANSWERS)
def test_an_answer_means_what_the_table_says(
    status: int, body: bytes, meant: tuple[Kind, Fate | None, float | None], why: str
) -> None:
    verdict = judged(HttpReply(status, {}, body))
    assert ((verdict.kind, verdict.device, verdict.wait), verdict.reason) == (meant, why)
    assert "secret-part" not in verdict.detail + verdict.reason


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_taken_is_taken(status: int) -> None:
    location = "https://updates.push.services.mozilla.com/m/0:1700%25aa"
    verdict = judged(HttpReply(status, {"location": location}, b""))
    assert (verdict.kind, verdict.vendor_id, verdict.device) == (Kind.ACCEPTED, "0:1700%25aa", None)
    assert judged(HttpReply(status, {}, b"")).vendor_id is None


def test_an_id_that_is_a_part_of_the_endpoint_is_not_kept() -> None:
    for location in (ENDPOINT, "/wpush/v2/gAAAAABsecret-part", "secret-part"):
        assert judged(HttpReply(201, {"location": location}, b"")).vendor_id is None


@pytest.mark.parametrize(("status", "kind"), [(429, Kind.RECIPIENT_TEMPORARY), (503, Kind.RETRY), (500, Kind.RETRY)])
def test_a_wait_that_the_service_names_is_kept(status: int, kind: Kind) -> None:
    verdict = judged(HttpReply(status, {"retry-after": "137"}, b""))
    assert (verdict.kind, verdict.wait) == (kind, 137.0)


@pytest.mark.parametrize(
    "body",
    [b"no such word <script>", errno(4_711), reason("TotallyNew ada@example.com"), b"\xff\xfe", b'{"reason":"\xff"}',
     b"[" * 5_000, b'{"errno":{}}'],
)  # fmt: skip
@given(status=st.sampled_from([400, 401, 403, 404, 410, 429, 500, 502, 503, 507]))
def test_a_strangers_words_are_never_kept(body: bytes, status: int) -> None:
    verdict = judged(HttpReply(status, {}, body))
    assert verdict.reason in {f"webpush_http_{status}", "webpush_gone"}
    assert verdict.detail == str(status)


def test_no_answer_is_unknown_only_if_something_was_sent() -> None:
    def kind(reply: Lost | Refused) -> Kind:
        return webpush.read(reply, [MESSAGE], account(), NOW)[0].kind

    assert kind(Lost(Phase.NOT_SENT, "timeout")) is Kind.RETRY
    assert kind(Lost(Phase.SENT, "timeout")) is Kind.UNKNOWN
    assert kind(Refused("address", "private")) is Kind.NEXT_PROVIDER


# ---------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"subject": "https://example.com/contact"},
        {"public_key": b64(public_point(SERVER)) + "="},
        {"hosts": ["*.ntfy.example.org", "127.0.0.1:8123"], "apps": ["https://app.example"], "payload_bytes": 3_993},
        {"private_key": Variable("WEBPUSH_KEY")},  # before a node reads it
        {"ca_file": "/etc/ulak/ca.pem"},
        {"private_key": SERVER.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()},
    ],
)  # fmt: skip
def test_usable_settings(more: dict[str, object]) -> None:
    webpush.check({**SETTINGS, **more})


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"subject": ...}, "subject"),
        ({"subject": "ada@example.com"}, "subject"),
        ({"subject": "mailto:ada@localhost"}, "subject"),
        ({"subject": "https://localhost/"}, "subject"),
        ({"subject": "http://example.com/"}, "subject"),
        ({"subject": "https://[x.y"}, "subject"),
        ({"subject": "mailto: <ada@example.com>"}, "subject"),
        ({"private_key": ...}, "private_key_env"),
        ({"private_key_env": "A"}, "private_key_env"),
        ({"private_key": "%"}, "private_key"),
        ({"private_key": "WEBPUSH_KEY"}, "private_key"),  # a name where a node has read the variable
        ({"private_key": Variable("WEBPUSH_KEY"), "public_key": "abc"}, "public_key"),
        ({"private_key": b64(bytes(32))}, "private_key"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----"}, "private_key"),
        ({"private_key": scalar(OTHER)}, "public_key"),
        ({"public_key": ...}, "public_key"),
        ({"public_key": "with space"}, "public_key"),
        ({"public_key": b64(public_point(OTHER))}, "public_key"),
        ({"hosts": ["https://push.example.org"]}, "hosts"),
        ({"hosts": ["*"]}, "hosts"),
        ({"hosts": "push.example.org"}, "hosts"),
        ({"payload_bytes": 499}, "payload_bytes"),
        ({"payload_bytes": 3_994}, "payload_bytes"),
        ({"payload_bytes": True}, "payload_bytes"),
        ({"endpoint": "https://x.example"}, "endpoint"),
    ],
)
def test_unusable_settings_are_named_and_never_shown(more: dict[str, object], key: str) -> None:
    settings = {name: value for name, value in {**SETTINGS, **more}.items() if value is not ...}
    with pytest.raises(ValueError, match=rf"^{key}: ") as refused:
        webpush.check(settings)
    assert str(settings.get("private_key", "not there")) not in str(refused.value)
