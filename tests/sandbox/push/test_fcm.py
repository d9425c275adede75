"""Does the fake FCM refuse messages as Google does, in Google's words?

The expectations are those of Firebase's REST reference (``projects.messages``, ``ErrorCode``), and of bodies that users
have shown (firebase-admin-java#1064, firebase-admin-python#187, dcai/airnotifier#219); the requests are made by no code
of ours.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sandbox.push.conftest import Clock
from tests.sandbox.push.rig import Answer, Client, assertion, grant, post, send
from ulak.core.device import AddressKind
from ulak.sandbox.push.devices import Change, FakeDevice, State, Wanted
from ulak.sandbox.push.faults import Do, PushFault
from ulak.sandbox.push.services import PushServices
from ulak.sandbox.pushed import parse
from ulak.sandbox.record import Record
from ulak.sandbox.vendor_faults import Moment

pytestmark = pytest.mark.anyio

FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
QUOTA_FAILURE = "type.googleapis.com/google.rpc.QuotaFailure"
NOTIFICATION = {"title": "Hello", "body": "there"}


@pytest.fixture
def phone(push: PushServices) -> FakeDevice:
    """An Android phone with the app."""
    return push.devices.make(Wanted(AddressKind.FCM_TOKEN, "phone"), push.now)


@pytest.fixture
async def client(push: PushServices) -> AsyncIterator[Client]:
    """A connection."""
    async with await Client.open(push.places["fcm"], push.places["ca"]) as opened:
        yield opened


@pytest.fixture
async def bearer(client: Client, clock: Clock) -> str:
    """An access token."""
    answer = await grant(client, assertion(now=clock.now.timestamp()))
    assert (answer.status, answer.json["token_type"]) == (200, "Bearer")
    assert answer.json["expires_in"] == 3599
    return str(answer.json["access_token"])


def code(answer: Answer) -> tuple[int, str, str | None]:
    """The status, Google's status, and FCM's code if there is one."""
    error = answer.json["error"]
    assert error["code"] == answer.status
    codes = [detail["errorCode"] for detail in error.get("details", ()) if detail["@type"] == FCM_ERROR]
    return answer.status, error["status"], codes[0] if codes else None


def detail(answer: Answer, kind: str) -> list[Any]:
    """The violations of one kind of detail."""
    found = [one for one in answer.json["error"].get("details", ()) if one["@type"] == kind]
    return [each for one in found for each in one.get("fieldViolations") or one.get("violations") or ()]


# The door


async def test_only_a_living_access_token_opens(
    client: Client, bearer: str, phone: FakeDevice, clock: Clock, record: Record
) -> None:
    message = {"token": phone.address, "notification": NOTIFICATION}
    assert code(await send(client, f"{bearer}x", message)) == (401, "UNAUTHENTICATED", None)
    assert (await send(client, bearer, message)).status == 200
    clock.move(seconds=3599)
    assert code(await send(client, bearer, message)) == (401, "UNAUTHENTICATED", None)
    assert record.total == 1


async def test_another_project_or_address_says_nothing_of_a_device(
    client: Client, bearer: str, phone: FakeDevice
) -> None:
    body = json.dumps({"message": {"token": phone.address, "notification": NOTIFICATION}}).encode()
    for path, kind in (("/v1/projects/other/messages:send", "json"), ("/v1/projects/ulak-sandbox/messages", "html")):
        answer = await client.call(post(path, "application/json", authorization=f"Bearer {bearer}"), body)
        assert answer.status == 404
        assert kind in answer.headers["content-type"]
        assert b"FcmError" not in answer.body


async def test_a_minute_of_the_quota_begins_with_its_first_call(
    push: PushServices, client: Client, bearer: str, phone: FakeDevice, clock: Clock
) -> None:
    push.fcm.quota.most = 2
    message = {"token": phone.address, "notification": NOTIFICATION}
    clock.move(seconds=13)
    assert [(await send(client, bearer, message)).status for _ in range(2)] == [200, 200]
    clock.move(seconds=20.5)
    answer = await send(client, bearer, message)
    assert code(answer) == (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
    assert answer.headers["retry-after"] == "40"
    assert detail(answer, QUOTA_FAILURE)
    clock.move(seconds=39.4)
    assert (await send(client, bearer, message)).status == 429
    clock.move(seconds=0.1)
    assert (await send(client, bearer, message)).status == 200


# Messages


async def test_a_message_is_taken_and_shown(client: Client, bearer: str, phone: FakeDevice, record: Record) -> None:
    message = {
        "token": phone.address,
        "notification": NOTIFICATION,
        "data": {"ulak_notification": "ntf_1"},
        "android": {"priority": "high", "ttl": "60s", "notification": {"tag": "a", "notification_count": 3}},
    }
    answer = await send(client, bearer, message)
    assert answer.status == 200
    assert answer.json["name"].startswith("projects/ulak-sandbox/messages/")
    (received,) = record.after(0, 10)
    pushed = parse(received.raw)
    assert (pushed.service, pushed.id, pushed.device) == ("fcm", answer.json["name"], "phone")
    assert (pushed.title, pushed.body, pushed.tag, pushed.badge) == ("Hello", "there", "a", 3)
    assert pushed.notification == "ntf_1"
    assert list(phone.shown) == ["a"]


async def test_an_installation_id_and_camel_case_are_taken(push: PushServices, client: Client, bearer: str) -> None:
    phone = push.devices.make(Wanted(AddressKind.FCM_FID), push.now)
    message = {"fid": phone.address, "android": {"collapseKey": "a", "notification": {"channelId": "c", "title": "x"}}}
    assert (await send(client, bearer, message)).status == 200
    assert [shown.title for shown in phone.shown.values()] == ["x"]


async def test_a_dry_run_reaches_nobody(client: Client, bearer: str, phone: FakeDevice, record: Record) -> None:
    message = {"token": phone.address, "notification": NOTIFICATION}
    assert (await send(client, bearer, message, validate_only=True)).status == 200
    assert (record.total, phone.received) == (0, 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"colour": "red"}, "message"),
        ({"android": {"nonsense": 1}}, "message.android"),
        ({"android": {"notification": {"channel": "c"}}}, "message.android.notification"),
        ({"data": {"count": 3}}, "message.data[0].value"),
        ({"data": "text"}, "message.data"),
        ({"android": {"ttl": 60}}, "message.android.ttl"),
        ({"android": {"ttl": "60"}}, "message.android.ttl"),
        ({"android": {"priority": "urgent"}}, "message.android.priority"),
        ({"android": {"notification": {"notification_count": "3"}}}, "message.android.notification.notification_count"),
        ({"apns": {"headers": {"apns-priority": 10}}}, "message.apns.headers[0].value"),
        ({"notification": []}, "message.notification"),
    ],
)
async def test_what_is_not_of_the_api_is_refused_without_a_word_of_fcm(
    change: dict[str, Any], field: str, client: Client, bearer: str, phone: FakeDevice, record: Record
) -> None:
    answer = await send(client, bearer, {"token": phone.address, "notification": NOTIFICATION, **change})
    assert code(answer) == (400, "INVALID_ARGUMENT", None)
    assert [violation["field"] for violation in detail(answer, BAD_REQUEST)] == [field]
    assert record.total == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"data": {"from": "x"}}, "message.data"),
        ({"data": {"message_type": "x"}}, "message.data"),
        ({"data": {"gcm.x": "x"}}, "message.data"),
        ({"data": {"google.x": "x"}}, "message.data"),
        ({"android": {"data": {"googlex": "x"}}}, "message.android.data"),
        ({"android": {"ttl": "2419201s"}}, "message.android.ttl"),
        ({"android": {"ttl": "-1s"}}, "message.android.ttl"),
        ({"android": {"notification": {"color": "red"}}}, "message.android.notification.color"),
        ({"data": {"x": "x" * 4096}}, "message"),
        ({"topic": "news"}, "message"),
    ],
)
async def test_a_value_that_fcm_does_not_take_names_its_field(
    change: dict[str, Any], field: str, client: Client, bearer: str, phone: FakeDevice
) -> None:
    answer = await send(client, bearer, {"token": phone.address, "notification": NOTIFICATION, **change})
    assert code(answer) == (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert [violation["field"] for violation in detail(answer, BAD_REQUEST)] == [field]
    assert "registration token" not in answer.json["error"]["message"]


@pytest.mark.parametrize("ttl", ["0s", "2419200s", "3.000000001s"])
async def test_a_time_to_live_may_have_four_weeks(ttl: str, client: Client, bearer: str, phone: FakeDevice) -> None:
    message = {"token": phone.address, "notification": NOTIFICATION, "android": {"ttl": ttl}}
    assert (await send(client, bearer, message)).status == 200


async def test_what_is_no_json_is_refused(client: Client, bearer: str) -> None:
    headers = post("/v1/projects/ulak-sandbox/messages:send", "application/json", authorization=f"Bearer {bearer}")
    assert code(await client.call(headers, b"{")) == (400, "INVALID_ARGUMENT", None)


# Devices


async def test_a_malformed_token_is_an_invalid_argument_with_its_own_words(client: Client, bearer: str) -> None:
    answer = await send(client, bearer, {"token": "nonsense", "notification": NOTIFICATION})
    assert code(answer) == (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert answer.json["error"]["message"] == "The registration token is not a valid FCM registration token"
    assert detail(answer, BAD_REQUEST) == []


async def test_an_unknown_or_removed_device_is_unregistered(
    push: PushServices, client: Client, bearer: str, phone: FakeDevice
) -> None:
    for message in ({"token": "abcdefghijk:" + "A" * 100}, {"fid": "c" * 22}):
        answer = await send(client, bearer, {**message, "notification": NOTIFICATION})
        assert code(answer) == (404, "NOT_FOUND", "UNREGISTERED")
    for state in (State.UNINSTALLED, State.EXPIRED):
        push.devices.change(phone, Change(state=state), push.now)
        answer = await send(client, bearer, {"token": phone.address, "notification": NOTIFICATION})
        assert code(answer) == (404, "NOT_FOUND", "UNREGISTERED")


async def test_a_device_of_another_project_is_a_mismatch(
    push: PushServices, client: Client, bearer: str, phone: FakeDevice
) -> None:
    push.devices.change(phone, Change(sender="somebody-else"), push.now)
    answer = await send(client, bearer, {"token": phone.address, "notification": NOTIFICATION})
    assert code(answer) == (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH")


async def test_a_device_that_gets_too_much_or_cant_be_reached_says_so(
    push: PushServices, client: Client, bearer: str, phone: FakeDevice
) -> None:
    message = {"token": phone.address, "notification": NOTIFICATION}
    push.devices.change(phone, Change(state=State.BUSY), push.now)
    answer = await send(client, bearer, message)
    assert code(answer) == (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
    assert "Device" in detail(answer, QUOTA_FAILURE)[0]["description"]
    push.devices.change(phone, Change(state=State.UNAVAILABLE), push.now)
    assert code(await send(client, bearer, message)) == (503, "UNAVAILABLE", "UNAVAILABLE")


async def test_an_offline_phone_keeps_the_newest_of_four_collapse_keys(
    push: PushServices, client: Client, bearer: str, phone: FakeDevice
) -> None:
    push.devices.change(phone, Change(online=False), push.now)
    for number, key in enumerate("abcdea"):
        android = {"collapse_key": key, "notification": {"title": f"{key}{number}", "tag": key}}
        assert (await send(client, bearer, {"token": phone.address, "android": android})).status == 200
    push.devices.change(phone, Change(online=True), push.now)
    assert [shown.title for shown in phone.shown.values()] == ["c2", "d3", "e4", "a5"]


async def test_a_time_to_live_of_zero_reaches_only_whoever_is_online(
    push: PushServices, client: Client, bearer: str, phone: FakeDevice
) -> None:
    push.devices.change(phone, Change(online=False), push.now)
    message = {"token": phone.address, "notification": NOTIFICATION, "android": {"ttl": "0.5s"}}
    assert (await send(client, bearer, message)).status == 200
    push.devices.change(phone, Change(online=True), push.now)
    assert (len(phone.shown), phone.lost) == (0, 1)


async def test_data_alone_wakes_and_shows_nothing(client: Client, bearer: str, phone: FakeDevice) -> None:
    assert (await send(client, bearer, {"token": phone.address, "data": {"a": "b"}})).status == 200
    assert (phone.woken, len(phone.shown)) == (1, 0)


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [
        ("INVALID_ARGUMENT", (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")),
        ("INVALID_TOKEN", (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")),
        ("THIRD_PARTY_AUTH_ERROR", (401, "UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR")),
        ("SENDER_ID_MISMATCH", (403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH")),
        ("UNREGISTERED", (404, "NOT_FOUND", "UNREGISTERED")),
        ("QUOTA_EXCEEDED", (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")),
        ("DEVICE_QUOTA", (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")),
        ("TOPIC_QUOTA", (429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")),
        ("INTERNAL", (500, "INTERNAL", "INTERNAL")),
        ("UNAVAILABLE", (503, "UNAVAILABLE", "UNAVAILABLE")),
        ("BAD_REQUEST", (400, "INVALID_ARGUMENT", None)),
        ("UNAUTHENTICATED", (401, "UNAUTHENTICATED", None)),
        ("PERMISSION_DENIED", (403, "PERMISSION_DENIED", None)),
        ("NOT_FOUND", (404, "NOT_FOUND", None)),
        ("RESOURCE_EXHAUSTED", (429, "RESOURCE_EXHAUSTED", None)),
    ],
)
async def test_every_error_can_be_had_by_a_fault(
    reason: str, wanted: tuple[int, str, str | None], push: PushServices, client: Client, bearer: str, phone: FakeDevice
) -> None:
    fault = PushFault(Moment.REQUEST, Do.REPLY, service="fcm", reason=reason, headers={"retry-after": "7"}, times=1)
    push.faults.arm([fault])
    message = {"token": phone.address, "notification": NOTIFICATION}
    answer = await send(client, bearer, message)
    assert code(answer) == wanted
    assert answer.headers["retry-after"] == "7"
    assert (await send(client, bearer, message)).status == 200


async def test_what_apple_says_behind_fcm_can_be_had_by_a_fault(
    push: PushServices, client: Client, bearer: str, phone: FakeDevice
) -> None:
    push.faults.arm([PushFault(Moment.REQUEST, Do.REPLY, reason="ApnsBadDeviceToken")])
    answer = await send(client, bearer, {"token": phone.address, "notification": NOTIFICATION})
    assert code(answer) == (400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")
    (apple,) = (one for one in answer.json["error"]["details"] if one["@type"].endswith(".v1.ApnsError"))
    assert (apple["statusCode"], apple["reason"]) == (400, "BadDeviceToken")


async def test_a_fault_of_the_grant_leaves_messages_alone(
    push: PushServices, client: Client, bearer: str, phone: FakeDevice, clock: Clock
) -> None:
    push.faults.arm([PushFault(Moment.REQUEST, Do.REPLY, service="token", status=503, body="{}")])
    assert (await grant(client, assertion(now=clock.now.timestamp()))).status == 503
    assert (await send(client, bearer, {"token": phone.address, "notification": NOTIFICATION})).status == 200
