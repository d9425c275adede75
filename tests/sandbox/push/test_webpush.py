"""Does the fake Web Push service take what RFC 8030, 8291 and 8292 allow, and refuse the rest with autopush's numbers?

The numbers are those of autopush's page of error codes; requests are written by hand, and encrypted by no code of ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.sandbox.push.conftest import Clock
from tests.sandbox.push.rig import WebAnswer, encrypt, new_key, public, unpadded, vapid, web
from ulak.core.device import AddressKind
from ulak.sandbox.push.aes128gcm import decrypt
from ulak.sandbox.push.devices import Change, FakeDevice, State, Wanted
from ulak.sandbox.push.faults import Do, PushFault
from ulak.sandbox.push.services import PushServices
from ulak.sandbox.push.webpush import ERRORS
from ulak.sandbox.pushed import parse
from ulak.sandbox.record import Record
from ulak.sandbox.vendor_faults import Moment

pytestmark = pytest.mark.anyio

TEXT = json.dumps(
    {
        "web_push": 8030,
        "notification": {"title": "Hello", "body": "there", "tag": "a", "data": {"ulak": {"notification": "ntf_1"}}},
        "app_badge": 4,
    }
).encode()


@pytest.fixture
def browser(push: PushServices) -> FakeDevice:
    """A browser with a subscription."""
    return push.devices.make(Wanted(AddressKind.WEBPUSH, "browser"), push.now)


def keys(browser: FakeDevice) -> tuple[str, str]:
    """What the page was given: p256dh and auth."""
    subscription: Any = browser.registration()["subscription"]
    return subscription["keys"]["p256dh"], subscription["keys"]["auth"]


async def deliver(
    push: PushServices, browser: FakeDevice, body: bytes | None = None, url: str = "", method: str = "POST",
    **fields: str | None,
) -> WebAnswer | None:  # fmt: skip
    """Send a good push, but for what is given."""
    headers: dict[str, str | None] = {
        "TTL": "60",
        "Content-Encoding": "aes128gcm",
        "Authorization": vapid(push.places["webpush"], push.now.timestamp()),
    }
    headers |= {name.replace("_", "-"): value for name, value in fields.items()}
    sealed = encrypt(TEXT, *keys(browser)) if body is None else body
    return await web(url or browser.address, push.places["ca"], headers, sealed, method)


async def refused(push: PushServices, browser: FakeDevice, **given: Any) -> tuple[int, int]:
    """Status and number of a refusal."""
    answer = await deliver(push, browser, **given)
    assert answer is not None
    assert answer.json["code"] == answer.status
    return answer.status, answer.json["errno"]


async def test_a_push_is_taken_decrypted_and_shown(push: PushServices, browser: FakeDevice, record: Record) -> None:
    answer = await deliver(push, browser, Urgency="high", Topic="news")
    assert answer is not None
    assert (answer.status, answer.headers["ttl"]) == (201, "60")
    assert answer.headers["location"].startswith(f"{push.places['webpush']}/m/")
    (received,) = record.after(0, 10)
    assert received.answered
    pushed = parse(received.raw)
    assert pushed.payload == json.loads(TEXT)
    assert (pushed.title, pushed.tag, pushed.badge, pushed.collapse) == ("Hello", "a", 4, "news")
    assert (pushed.notification, pushed.headers["urgency"]) == ("ntf_1", "high")
    assert list(browser.shown) == ["a"]


def test_the_example_of_rfc_8291_is_read() -> None:
    # RFC 8291 §5 and Appendix A: a fact, as the handbook of any implementation has it.
    private = int.from_bytes(unpadded("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"), "big")
    body = unpadded(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
        "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )
    key = ec.derive_private_key(private, ec.SECP256R1())
    assert decrypt(body, key, unpadded("BTBZMqHH6r4Tts7J_aSIgg")) == b"When I grow up, I want to be a watermelon"


@pytest.mark.parametrize(
    ("fields", "status", "errno"),
    [
        ({"TTL": None}, 400, 111),
        ({"TTL": "soon"}, 400, 111),
        ({"TTL": "-1"}, 400, 114),
        ({"Topic": "x" * 33}, 400, 113),
        ({"Topic": "no+base64url"}, 400, 113),
        ({"Topic": ""}, 400, 113),
        ({"Urgency": "urgent"}, 400, 110),
        ({"Content_Encoding": None}, 400, 110),
        ({"Content_Encoding": "aesgcm"}, 400, 110),
        ({"Crypto_Key": "dh=x"}, 400, 110),
        ({"Authorization": None}, 401, 109),
        ({"Authorization": "Bearer x"}, 401, 109),
        ({"Authorization": "vapid t=x"}, 401, 109),
    ],
)
async def test_a_wrong_field_is_refused(
    fields: dict[str, str | None], status: int, errno: int, push: PushServices, browser: FakeDevice, record: Record
) -> None:
    assert await refused(push, browser, **fields) == (status, errno)
    assert record.total == 0


@pytest.mark.parametrize("fields", [{"TTL": "0"}, {"Topic": "x" * 32}, {"Urgency": "very-low"}, {"Urgency": "low"}])
async def test_what_the_rfcs_allow_is_taken(fields: dict[str, Any], push: PushServices, browser: FakeDevice) -> None:
    answer = await deliver(push, browser, **fields)
    assert answer is not None
    assert answer.status == 201


async def test_a_long_time_to_live_is_lowered(push: PushServices, browser: FakeDevice) -> None:
    answer = await deliver(push, browser, TTL="99999999")
    assert answer is not None
    assert (answer.status, answer.headers["ttl"]) == (201, "2592000")


# Who sends (RFC 8292)


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://example.com"},
        {"aud": None},
        {"exp": None},
        {"sub": None},
        {"sub": "ada@example.com"},
        {"sub": "http://example.com"},
    ],
)
async def test_a_wrong_claim_is_refused(claims: dict[str, Any], push: PushServices, browser: FakeDevice) -> None:
    wrong = vapid(push.places["webpush"], push.now.timestamp(), **claims)
    assert await refused(push, browser, Authorization=wrong) == (401, 109)


async def test_a_token_lives_for_a_day_at_most(push: PushServices, browser: FakeDevice) -> None:
    now = push.now.timestamp()
    for exp, status in ((now - 1, 401), (now + 24 * 3600 + 1, 401), (now + 24 * 3600 - 1, 201)):
        answer = await deliver(push, browser, Authorization=vapid(push.places["webpush"], now, exp=int(exp)))
        assert answer is not None
        assert answer.status == status, exp - now


async def test_a_subscription_belongs_to_one_key(push: PushServices, browser: FakeDevice) -> None:
    now, other = push.now.timestamp(), new_key()
    theirs = vapid(push.places["webpush"], now, other)
    assert await refused(push, browser, Authorization=theirs) == (401, 109)
    ours = vapid(push.places["webpush"], now)
    mixed = f"{theirs.partition(', k=')[0]}, k={ours.partition(', k=')[2]}"
    assert await refused(push, browser, Authorization=mixed) == (401, 109)
    second = push.devices.make(Wanted(AddressKind.WEBPUSH, application_server_key=public(other)), push.now)
    answer = await deliver(push, second, Authorization=theirs)
    assert answer is not None
    assert answer.status == 201


# The body (RFC 8188, RFC 8291)


async def test_a_body_has_4096_bytes_at_most(push: PushServices, browser: FakeDevice) -> None:
    for length, status in ((3993, 201), (3994, 413)):
        answer = await deliver(push, browser, encrypt(b"x" * length, *keys(browser)))
        assert answer is not None
        assert answer.status == status
    assert next(iter(browser.shown.values())).body == "x" * 3993


async def test_a_body_that_a_browser_would_drop_is_refused(push: PushServices, browser: FakeDevice) -> None:
    p256dh, auth = keys(browser)
    good = encrypt(TEXT, p256dh, auth)
    wrong = {
        "for another browser": encrypt(TEXT, public(new_key()), auth),
        "another secret": encrypt(TEXT, p256dh, "A" * 22),
        "changed": good[:-1] + bytes([good[-1] ^ 1]),
        "short": good[:86],
        "not the last record": encrypt(TEXT, p256dh, auth, delimiter=b"\x01"),
        "no delimiter": encrypt(TEXT, p256dh, auth, delimiter=b""),
        "records too small": encrypt(TEXT, p256dh, auth, size=100),
        "off the curve": good[:30] + bytes([good[30] ^ 1]) + good[31:],
        "a short key": good[:20] + bytes([33]) + good[21:],
    }
    for name, body in wrong.items():
        assert await refused(push, browser, body=body) == (400, 110), name


async def test_padding_is_taken_off(push: PushServices, browser: FakeDevice) -> None:
    answer = await deliver(push, browser, encrypt(TEXT, *keys(browser), delimiter=b"\x02" + b"\0" * 50))
    assert answer is not None
    assert answer.status == 201
    assert [shown.title for shown in browser.shown.values()] == ["Hello"]


async def test_a_push_without_a_body_wakes(push: PushServices, browser: FakeDevice) -> None:
    answer = await deliver(push, browser, b"", Content_Encoding=None)
    assert answer is not None
    assert (answer.status, browser.woken) == (201, 1)


# Subscriptions


async def test_an_unknown_or_ended_subscription_is_told_apart(push: PushServices, browser: FakeDevice) -> None:
    assert await refused(push, browser, url=f"{push.places['webpush']}/wpush/v2/unknown") == (404, 102)
    for state, wanted in (
        (State.UNINSTALLED, (410, 106)),
        (State.EXPIRED, (410, 103)),
        (State.UNAVAILABLE, (503, 201)),
    ):
        push.devices.change(browser, Change(state=state), push.now)
        assert await refused(push, browser) == wanted


async def test_too_many_are_asked_to_wait(push: PushServices, browser: FakeDevice) -> None:
    push.devices.change(browser, Change(state=State.BUSY), push.now)
    answer = await deliver(push, browser)
    assert answer is not None
    assert (answer.status, answer.headers["retry-after"]) == (429, "30")


async def test_a_topic_replaces_what_waits(push: PushServices, browser: FakeDevice, clock: Clock) -> None:
    push.devices.change(browser, Change(online=False), clock.now)
    for title, topic, ttl in (("one", "t", "60"), ("two", "t", "60"), ("three", None, "60"), ("now", None, "0")):
        body = encrypt(json.dumps({"notification": {"title": title}}).encode(), *keys(browser))
        answer = await deliver(push, browser, body, Topic=topic, TTL=ttl)
        assert answer is not None
        assert answer.status == 201
    push.devices.change(browser, Change(online=True), clock.now)
    assert [shown.title for shown in browser.shown.values()] == ["two", "three"]


async def test_other_methods_are_refused(push: PushServices, browser: FakeDevice) -> None:
    answer = await deliver(push, browser, method="PUT")
    assert answer is not None
    assert answer.status == 405


# Faults


@pytest.mark.parametrize("errno", sorted(ERRORS))
async def test_every_number_can_be_had_by_a_fault(errno: int, push: PushServices, browser: FakeDevice) -> None:
    fault = PushFault(Moment.REQUEST, Do.REPLY, reason=str(errno), to="browser", headers={"Retry-After": "9"}, times=1)
    push.faults.arm([fault])
    answer = await deliver(push, browser)
    assert answer is not None
    assert (answer.status, answer.json["errno"], answer.headers["retry-after"]) == (ERRORS[errno][0], errno, "9")
    again = await deliver(push, browser)
    assert again is not None
    assert again.status == 201


@pytest.mark.parametrize(("at", "kept"), [(Moment.REQUEST, 0), (Moment.TAKEN, 1), (Moment.ANSWER, 1)])
async def test_an_answer_can_get_lost(
    at: Moment, kept: int, push: PushServices, browser: FakeDevice, record: Record
) -> None:
    push.faults.arm([PushFault(at, Do.DROP, service="webpush", times=1)])
    assert await deliver(push, browser) is None
    assert record.total == kept
    again = await deliver(push, browser)
    assert again is not None
    assert again.status == 201


@pytest.mark.parametrize(
    ("fault", "label"),
    [
        (None, "sent"),
        (PushFault(Moment.TAKEN, Do.DROP), "withheld"),
        (PushFault(Moment.TAKEN, Do.REPLY, reason="201"), "503"),
        (PushFault(Moment.ANSWER, Do.DROP), "withheld"),
        (PushFault(Moment.ANSWER, Do.STALL, seconds=0.01), "late"),
    ],
)
async def test_the_log_says_what_the_sender_hears(fault: PushFault | None, label: str, tmp_path: Path) -> None:
    record = Record(tmp_path / "log")
    async with PushServices(record) as push:
        browser = push.devices.make(Wanted(AddressKind.WEBPUSH, "browser"), push.now)
        push.faults.arm([] if fault is None else [fault])
        await deliver(push, browser)
    record.close()
    (line,) = (json.loads(text) for text in (tmp_path / "log").read_text().splitlines())
    assert (line["channel"], line["from"], line["to"], line["answer"]) == ("push", "webpush", "browser", label)
