"""Does each documented answer of APNs and FCM mean what its table says, for the delivery and for the device?"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.push.samples import DELIVERY, NOW, REGISTERED, account, devices, message
from ulak.core.device import Fate
from ulak.core.model import Class
from ulak.core.outcome import Kind, Outcome
from ulak.providers.answers import Rule
from ulak.providers.contract import HttpReply, Lost, Phase, Refused, Reply, Ungranted
from ulak.providers.registry import PROVIDERS

FOLDER = Path(__file__).with_name("replies")
"""One file an answer, as the vendors' documentation and the reports of their users show them."""
FILES = sorted(FOLDER.glob("*/*.json"))
VENDORS = ("apns", "fcm")
vendor = pytest.mark.parametrize("vendor", VENDORS)


def read(vendor: str, reply: Reply, said: dict[str, Any] | None = None) -> Outcome:
    said = said or {}
    asked = message(
        vendor,
        attempt=f"att_{DELIVERY}_{said.get('attempt', 1)}",
        klass=Class(said.get("class", "transactional")),
        device=msgspec.structs.replace(devices()[vendor], **said.get("device", {})),
    )
    (outcome,) = PROVIDERS[vendor].read(reply, [asked], account(vendor, **said.get("account", {})), NOW)
    return outcome


@pytest.mark.parametrize("file", FILES, ids=[f"{file.parent.name}-{file.stem}" for file in FILES])
def test_documented_answers(file: Path) -> None:
    said = json.loads(file.read_text("utf-8"))
    outcome = read(file.parent.name, HttpReply(said["status"], said["headers"], said["body"].encode()), said)
    got = {"kind": outcome.kind, "reason": outcome.reason, "wait": outcome.wait, "device": outcome.device}
    assert got == said["means"]
    assert (outcome.vendor_id is not None) == (outcome.kind is Kind.ACCEPTED)


@vendor
def test_every_answer_of_a_table_is_shown_by_a_file(vendor: str) -> None:
    """But 408 and what is no status at all: no vendor documents these."""
    seen = {json.loads(file.read_text("utf-8"))["means"]["reason"] for file in FILES if file.parent.name == vendor}
    for row in PROVIDERS[vendor].OUTCOMES:
        assert isinstance(row, Rule)
        if row.phase is None and not row.grant and row.answer not in {"408", "xxx"} and "dial" not in row.answer:
            reason = re.compile(row.reason.replace("{status}", "[0-9]+").replace("{name}", ".+"))
            assert any(reason.fullmatch(one) for one in seen), row.answer


@vendor
def test_every_word_of_a_table_is_shown_by_a_file(vendor: str) -> None:
    bodies = "".join(file.read_text("utf-8") for file in FILES if file.parent.name == vendor)
    for row in PROVIDERS[vendor].OUTCOMES:
        assert isinstance(row, Rule)
        for name in row.names - {"others", "token-field", "BadRequest"}:
            assert name.removesuffix("-here").removesuffix("-before").removeprefix("Apns-") in bodies, name


@vendor
@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        (Lost(Phase.NOT_SENT, "connect"), "retry", "connect"),
        (Lost(Phase.NOT_SENT, "certificate"), "next_provider", "certificate"),
        (Lost(Phase.SENT, "timeout"), "unknown", "timeout"),
        (Refused("address", "loopback"), "next_provider", "not_reached"),
        (Ungranted(HttpReply(400, {}, b'{"error":"invalid_grant"}')), "next_provider", "grant_400"),
        (Ungranted(HttpReply(401, {}, b"")), "next_provider", "grant_401"),
        (Ungranted(HttpReply(302, {}, b"")), "next_provider", "grant_302"),
        (Ungranted(HttpReply(408, {}, b"")), "retry", "grant_408"),
        (Ungranted(HttpReply(429, {}, b"")), "retry", "grant_429"),
        (Ungranted(HttpReply(500, {}, b"")), "retry", "grant_500"),
        (Ungranted(HttpReply(502, {}, b"")), "retry", "grant_502"),
        (Ungranted(HttpReply(200, {}, b"{}")), "retry", "grant_unreadable"),
        (Ungranted(HttpReply(-1, {}, b"")), "retry", "grant_unreadable"),
        (Ungranted(Lost(Phase.NOT_SENT, "dns")), "retry", "grant_dns"),
        (Ungranted(Lost(Phase.SENT, "timeout")), "retry", "grant_timeout"),
        (Ungranted(Refused("address", "loopback")), "next_provider", "grant_not_reached"),
    ],
)
def test_no_answer(vendor: str, reply: Reply, kind: str, reason: str) -> None:
    outcome = read(vendor, reply)
    assert (outcome.kind, outcome.reason, outcome.device) == (kind, f"{vendor}_{reason}", None)


def test_when_a_token_died_is_told_to_the_millisecond() -> None:
    since = REGISTERED + timedelta(hours=1, milliseconds=7)
    stamp = int(since.timestamp() * 1_000)
    outcome = read("apns", HttpReply(410, {}, json.dumps({"reason": "Unregistered", "timestamp": stamp}).encode()))
    assert outcome.dead_since == since
    assert f"{since:%Y-%m-%dT%H:%M:%S}" in outcome.detail


@given(stamp=st.integers() | st.floats() | st.text(max_size=5) | st.booleans() | st.none() | st.just([]))
def test_whatever_time_apple_tells_a_device_registered_later_is_kept(stamp: object) -> None:
    outcome = read("apns", HttpReply(410, {}, json.dumps({"reason": "Unregistered", "timestamp": stamp}).encode()))
    if outcome.dead_since is not None:
        assert outcome.dead_since >= REGISTERED
    assert (outcome.device is Fate.DEAD) == (outcome.kind is Kind.RECIPIENT_PERMANENT)


@pytest.mark.parametrize(
    "kind",
    [
        *(f"google.rpc.{name}" for name in ("BadRequest", "ErrorInfo", "QuotaFailure", "Help")),
        "FcmError",
        "evil.FcmError",
        "google.firebase.fcm.v1.FcmErrors",
        "google.firebase.fcm.v1.FcmError/x",
    ],
)
@pytest.mark.parametrize("code", ["UNREGISTERED", "INVALID_ARGUMENT", "SENDER_ID_MISMATCH", "NOT_FOUND"])
def test_no_device_is_touched_without_fcms_own_detail(kind: str, code: str) -> None:
    said = "The registration token is not a valid FCM registration token"
    detail = {"@type": f"type.googleapis.com/{kind}", "errorCode": code, "reason": code}
    body = json.dumps({"error": {"status": code, "message": said, "details": [detail]}}).encode()
    for status in (400, 401, 403, 404, 410, 429, 500, 503):
        assert read("fcm", HttpReply(status, {}, body)).device is None


def test_only_of_the_dead_it_is_told_since_when() -> None:
    body = json.dumps({"reason": "BadDeviceToken", "timestamp": int(NOW.timestamp() * 1_000)}).encode()
    assert read("apns", HttpReply(400, {}, body)).dead_since is None


def test_of_a_grant_that_could_not_be_read_nothing_is_told() -> None:
    body = b'{"access_token":"ya29.short","token_type":"mac","expires_in":60}'
    assert "ya29" not in read("fcm", Ungranted(HttpReply(200, {}, body))).detail
    refused = read("fcm", Ungranted(HttpReply(400, {}, b'{"error":"invalid_grant"}')))
    assert "invalid_grant" in refused.detail


@vendor
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 410, 413, 429, 500, 502, 503])
@pytest.mark.parametrize("form", ["text", "apns", "fcm", "lost", "grant", "lost grant"])
def test_no_token_gets_into_what_is_kept(vendor: str, status: int, form: str) -> None:
    device = devices()[vendor]
    assertion = f"eyJhbGciOi{'x' * 80}.{'y' * 90}"
    said = f"token {device.address} of jo@example.com, {assertion}"
    bodies = {
        "text": said,
        "apns": json.dumps({"reason": device.address, "text": said}),
        "fcm": json.dumps({"error": {"status": device.address, "message": said, "details": [{"@type": said}]}}),
    }
    reply: Reply = HttpReply(status, {}, bodies.get(form, said).encode())
    if form == "lost":
        reply = Lost(Phase.SENT, "reset", said)
    if form == "lost grant":
        reply = Ungranted(Lost(Phase.SENT, "reset", said))
    if form == "grant":
        reply = Ungranted(HttpReply(status, {}, f'{{"access_token":"{assertion}"}}{said}'.encode()))
    outcome = read(vendor, reply)
    for secret in (device.address, assertion, "eyJhbGciOi", "jo@example.com", "x" * 12, "ab" * 8):
        assert secret not in outcome.detail + outcome.reason


def test_an_installation_id_is_short_and_yet_no_word_of_a_detail() -> None:
    device = msgspec.structs.replace(devices()["fcm"], address="cZ1xW0aBTZ2m9Kq3LrPv7e")
    body = {"error": {"status": "NOT_FOUND", "message": f"No instance {device.address} here"}}
    reply = HttpReply(404, {}, json.dumps(body).encode())
    (outcome,) = PROVIDERS["fcm"].read(reply, [message("fcm", device=device)], account("fcm"), NOW)
    assert "No instance <token> here" in outcome.detail
