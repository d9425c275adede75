"""Does the fake APNs refuse what Apple refuses, with Apple's words?

The expectations are those of Apple's pages "Sending notification requests to APNs", "Handling notification responses
from APNs" and "Establishing a token-based connection to APNs"; the requests are made by no code of ours.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.sandbox.push.conftest import Clock
from tests.sandbox.push.rig import Client, alert, apns_headers, new_key, provider_token
from ulak.core.device import AddressKind, Environment
from ulak.sandbox.push.apns import REASONS
from ulak.sandbox.push.devices import Change, FakeDevice, State, Wanted
from ulak.sandbox.push.faults import Do, PushFault
from ulak.sandbox.push.services import PushServices
from ulak.sandbox.pushed import parse
from ulak.sandbox.record import Record
from ulak.sandbox.vendor_faults import Moment

pytestmark = pytest.mark.anyio

TOKEN = provider_token()


async def refused(client: Client, headers: list[tuple[str, str]], body: bytes | None = None) -> tuple[int, Any]:
    """Status and reason of a refusal."""
    answer = await client.call(headers, alert() if body is None else body)
    assert answer.headers["apns-id"]
    return answer.status, answer.json["reason"]


async def test_a_push_is_taken_and_its_id_echoed(
    push: PushServices, client: Client, phone: FakeDevice, record: Record
) -> None:
    name = str(uuid4())
    answer = await client.call(
        apns_headers(phone.address, TOKEN, apns_id=name, apns_collapse_id="c"),
        alert(ulak={"notification": "ntf_1"}),
    )
    assert (answer.status, answer.body, answer.headers["apns-id"]) == (200, b"", name)
    (received,) = record.after(0, 10)
    assert (received.channel, received.sender, received.recipients) == ("push", "apns", ("phone",))
    assert received.answered
    pushed = parse(received.raw)
    assert (pushed.id, pushed.delivery) == (name, f"dlv_{name.replace('-', '')}")
    assert (pushed.notification, pushed.title, pushed.body, pushed.collapse) == ("ntf_1", "Hello", "there", "c")


async def test_apple_names_a_push_that_has_no_id(client: Client, phone: FakeDevice) -> None:
    answer = await client.call(apns_headers(phone.address, TOKEN), alert())
    assert len(answer.headers["apns-id"]) == 36


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"method": "GET"}, 405, "MethodNotAllowed"),
        ({"path": "/4/device/00"}, 404, "BadPath"),
        ({"path": "/3/device/"}, 400, "MissingDeviceToken"),
        ({"path": "/3/device/" + "0" * 64}, 400, "BadDeviceToken"),
        ({"path": "/3/device/xyz"}, 400, "BadDeviceToken"),
        ({"authorization": None}, 403, "MissingProviderToken"),
        ({"authorization": f"Basic {TOKEN}"}, 403, "InvalidProviderToken"),
        ({"authorization": "bearer x.y.z"}, 403, "InvalidProviderToken"),
        ({"apns_id": "1"}, 400, "BadMessageId"),
        ({"apns_id": str(uuid4()).upper().replace("0", "A")}, 400, "BadMessageId"),
        ({"apns_expiration": "soon"}, 400, "BadExpirationDate"),
        ({"apns_expiration": "-1"}, 400, "BadExpirationDate"),
        ({"apns_priority": "7"}, 400, "BadPriority"),
        ({"apns_push_type": "background"}, 400, "BadPriority"),
        ({"apns_push_type": "shout"}, 400, "InvalidPushType"),
        ({"apns_collapse_id": "x" * 65}, 400, "BadCollapseId"),
        ({"apns_collapse_id": "é" * 33}, 400, "BadCollapseId"),
        ({"apns_topic": None}, 400, "MissingTopic"),
        ({"apns_topic": "no topic"}, 400, "BadTopic"),
        ({"apns_push_type": "voip"}, 400, "BadTopic"),
        ({"apns_topic": "com.apple.mail"}, 400, "TopicDisallowed"),
        ({"apns_topic": "org.example.other"}, 400, "DeviceTokenNotForTopic"),
    ],
)
async def test_a_wrong_field_is_refused(
    change: dict[str, str | None], status: int, reason: str, client: Client, phone: FakeDevice, record: Record
) -> None:
    assert await refused(client, apns_headers(phone.address, TOKEN, **change)) == (status, reason)
    assert record.total == 0


@pytest.mark.parametrize(
    "change",
    [
        {"apns_collapse_id": "x" * 64},
        {"apns_collapse_id": "é" * 32},
        {"apns_push_type": "background", "apns_priority": "5"},
        {"apns_priority": "1"},
        {"apns_priority": None, "apns_push_type": None},
        {"apns_expiration": "0"},
        {"authorization": f"Bearer {TOKEN}"},
    ],
)
async def test_what_apple_allows_is_taken(change: dict[str, str | None], client: Client, phone: FakeDevice) -> None:
    assert (await client.call(apns_headers(phone.address, TOKEN, **change), alert())).status == 200


async def test_a_repeated_field_is_refused(client: Client, phone: FakeDevice) -> None:
    headers = [*apns_headers(phone.address, TOKEN), ("apns-topic", "org.example.app")]
    assert await refused(client, headers) == (400, "DuplicateHeaders")


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"", 400, "PayloadEmpty"),
        (b"{}", 400, "PayloadEmpty"),
        (b"not json", 400, "PayloadEmpty"),
        (b"[1]", 400, "PayloadEmpty"),
        (json.dumps({"aps": {"alert": "x" * 4075}}).encode(), 413, "PayloadTooLarge"),
    ],
)
async def test_a_wrong_payload_is_refused(
    body: bytes, status: int, reason: str, client: Client, phone: FakeDevice
) -> None:
    assert await refused(client, apns_headers(phone.address, TOKEN), body) == (status, reason)


async def test_a_payload_may_have_4096_bytes(client: Client, phone: FakeDevice) -> None:
    body = json.dumps({"aps": {"alert": "x" * 4074}}).encode()
    assert len(body) == 4096
    assert (await client.call(apns_headers(phone.address, TOKEN), body)).status == 200


# Provider tokens


async def test_a_token_of_another_key_team_or_key_id_is_refused(client: Client, phone: FakeDevice) -> None:
    for wrong in (
        provider_token(key=new_key()),
        provider_token(kid="OTHERKEY00"),
        provider_token(iss="OTHERTEAM0"),
        provider_token(claims={"iat": "now"}),
    ):
        assert await refused(client, apns_headers(phone.address, wrong)) == (403, "InvalidProviderToken")


async def test_a_token_older_than_an_hour_is_refused(client: Client, phone: FakeDevice, clock: Clock) -> None:
    fresh = provider_token(clock.now.timestamp())
    assert (await client.call(apns_headers(phone.address, fresh), alert())).status == 200
    clock.move(minutes=60, seconds=1)
    assert await refused(client, apns_headers(phone.address, fresh)) == (403, "ExpiredProviderToken")


async def test_a_token_of_the_future_is_refused(client: Client, phone: FakeDevice, clock: Clock) -> None:
    ahead = provider_token(clock.now.timestamp() + 600)
    assert await refused(client, apns_headers(phone.address, ahead)) == (403, "InvalidProviderToken")


async def test_a_second_token_within_twenty_minutes_spoils_its_connection_alone(
    push: PushServices, client: Client, phone: FakeDevice, clock: Clock
) -> None:
    first, second = (provider_token(clock.now.timestamp() + later) for later in (0, 20 * 60 - 1))
    assert (await client.call(apns_headers(phone.address, first), alert())).status == 200
    clock.move(minutes=20)
    for token in (second, first):
        assert await refused(client, apns_headers(phone.address, token)) == (429, "TooManyProviderTokenUpdates")
    async with await Client.open(push.places["apns"], push.places["ca"]) as other:
        assert (await other.call(apns_headers(phone.address, first), alert())).status == 200
        assert await refused(other, apns_headers(phone.address, second)) == (429, "TooManyProviderTokenUpdates")


async def test_the_same_claims_signed_twice_are_two_tokens(client: Client, phone: FakeDevice, clock: Clock) -> None:
    one, two = (provider_token(clock.now.timestamp()) for _ in range(2))
    assert one != two
    assert (await client.call(apns_headers(phone.address, one), alert())).status == 200
    assert await refused(client, apns_headers(phone.address, two)) == (429, "TooManyProviderTokenUpdates")


async def test_a_token_may_follow_after_twenty_minutes_and_the_old_one_goes_on(
    client: Client, phone: FakeDevice, clock: Clock
) -> None:
    begin = clock.now.timestamp()
    tokens = [provider_token(begin), provider_token(begin + 20 * 60)]
    clock.move(minutes=20)
    for token in (*tokens, *tokens):
        assert (await client.call(apns_headers(phone.address, token), alert())).status == 200


async def test_both_environments_know_the_same_tokens(push: PushServices, client: Client, clock: Clock) -> None:
    other = push.devices.make(Wanted(AddressKind.APNS, environment=Environment.SANDBOX), push.now)
    one, two = (provider_token(clock.now.timestamp()) for _ in range(2))
    assert await refused(client, apns_headers(other.address, one)) == (400, "BadDeviceToken")
    async with await Client.open(push.places["apns_sandbox"], push.places["ca"]) as sandbox:
        assert await refused(sandbox, apns_headers(other.address, two)) == (429, "TooManyProviderTokenUpdates")
    async with await Client.open(push.places["apns_sandbox"], push.places["ca"]) as sandbox:
        assert (await sandbox.call(apns_headers(other.address, one), alert())).status == 200


# Devices


async def test_an_uninstalled_app_is_told_since_when(
    push: PushServices, client: Client, phone: FakeDevice, clock: Clock
) -> None:
    gone = clock.now
    for state, reason in ((State.UNINSTALLED, "Unregistered"), (State.EXPIRED, "ExpiredToken")):
        push.devices.change(phone, Change(state=state), clock.now)
        answer = await client.call(apns_headers(phone.address, TOKEN), alert())
        assert (answer.status, answer.json["reason"]) == (410, reason)
        assert answer.json["timestamp"] == int(gone.timestamp() * 1000)


async def test_a_device_that_gets_too_much_or_cant_be_reached_says_so(
    push: PushServices, client: Client, phone: FakeDevice
) -> None:
    push.devices.change(phone, Change(state=State.BUSY), push.now)
    assert await refused(client, apns_headers(phone.address, TOKEN)) == (429, "TooManyRequests")
    push.devices.change(phone, Change(state=State.UNAVAILABLE), push.now)
    assert await refused(client, apns_headers(phone.address, TOKEN)) == (503, "ServiceUnavailable")


async def test_apps_of_other_teams_are_disallowed(push: PushServices, client: Client, phone: FakeDevice) -> None:
    push.devices.apps = frozenset({"org.example.other"})
    assert await refused(client, apns_headers(phone.address, TOKEN)) == (400, "TopicDisallowed")


async def test_a_name_that_is_made_again_has_a_new_token(push: PushServices, client: Client, phone: FakeDevice) -> None:
    again = push.devices.make(Wanted(AddressKind.APNS, "phone"), push.now)
    assert await refused(client, apns_headers(phone.address, TOKEN)) == (410, "Unregistered")
    assert (await client.call(apns_headers(again.address, TOKEN), alert())).status == 200


async def test_what_comes_under_the_same_collapse_id_replaces_what_is_shown(client: Client, phone: FakeDevice) -> None:
    for title, collapse in (("one", "a"), ("two", "b"), ("three", "a"), ("four", None), ("five", None)):
        fields = apns_headers(phone.address, TOKEN, apns_id=str(uuid4()), apns_collapse_id=collapse)
        assert (await client.call(fields, alert(title))).status == 200
    assert [shown.title for shown in phone.shown.values()] == ["two", "three", "four", "five"]  # the newest last
    assert (phone.received, phone.duplicates) == (5, 0)


async def test_the_same_apns_id_twice_is_a_duplicate(client: Client, phone: FakeDevice) -> None:
    fields = apns_headers(phone.address, TOKEN, apns_id=str(uuid4()))
    for _ in range(2):
        assert (await client.call(fields, alert())).status == 200
    assert (phone.duplicates, len(phone.shown)) == (1, 2)


async def test_a_background_push_wakes_and_shows_nothing(client: Client, phone: FakeDevice) -> None:
    fields = apns_headers(phone.address, TOKEN, apns_push_type="background", apns_priority="5")
    body = b'{"aps": {"content-available": 1, "badge": 3}}'
    assert (await client.call(fields, body)).status == 200
    assert (phone.woken, len(phone.shown), phone.badge) == (1, 0, 3)


async def test_one_push_waits_for_an_offline_device(
    push: PushServices, client: Client, phone: FakeDevice, clock: Clock
) -> None:
    push.devices.change(phone, Change(online=False), clock.now)
    for title in ("one", "two"):
        assert (await client.call(apns_headers(phone.address, TOKEN), alert(title))).status == 200
    assert (await client.call(apns_headers(phone.address, TOKEN, apns_expiration="0"), alert("now"))).status == 200
    assert len(phone.shown) == 0
    push.devices.change(phone, Change(online=True), clock.now)
    assert [shown.title for shown in phone.shown.values()] == ["two"]
    assert phone.lost == 2


async def test_what_has_expired_is_not_shown_later(
    push: PushServices, client: Client, phone: FakeDevice, clock: Clock
) -> None:
    push.devices.change(phone, Change(online=False), clock.now)
    soon = int((clock.now + timedelta(minutes=5)).timestamp())
    assert (await client.call(apns_headers(phone.address, TOKEN, apns_expiration=str(soon)), alert())).status == 200
    clock.move(minutes=6)
    push.devices.change(phone, Change(online=True), clock.now)
    assert (len(phone.shown), phone.lost) == (0, 1)


@pytest.mark.parametrize("reason", sorted(REASONS))
async def test_every_reason_can_be_had_by_a_fault(
    reason: str, push: PushServices, client: Client, phone: FakeDevice, record: Record
) -> None:
    push.faults.arm([PushFault(Moment.REQUEST, Do.REPLY, reason=reason, times=1, to="ph*")])
    assert await refused(client, apns_headers(phone.address, TOKEN)) == (REASONS[reason], reason)
    assert record.total == 0
    assert (await client.call(apns_headers(phone.address, TOKEN), alert())).status == 200
