"""Do we and SendGrid's own validator believe the same requests, and is each event understood?"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from sendgrid.helpers.eventwebhook import EventWebhook  # type: ignore[import-untyped]  # it ships none

from tests.providers.email.vendors import (
    ATTEMPT,
    NOW,
    sendgrid_account,
    sendgrid_event,
    sendgrid_key,
    sendgrid_posted,
    sendgrid_public,
)
from ulak.providers.contract import Callback, Permanence, Receipt, ReceiptKind, Verified
from ulak.providers.email import sendgrid_events
from ulak.providers.email.sendgrid_events import SIGNATURE, TIMESTAMP


def verdict(callback: Callback, account: Any = None) -> str:
    found = sendgrid_events.verify(callback, account or sendgrid_account(), {}, NOW)
    return "verified" if isinstance(found, Verified) else found.reason


def theirs(callback: Callback) -> bool:
    """What the vendor's own library says."""
    headers = callback.headers
    oracle = EventWebhook(sendgrid_public())
    return bool(oracle.verify_signature(callback.body.decode(), headers[SIGNATURE], headers[TIMESTAMP]))


@pytest.mark.parametrize("text", ["plain", "tÜrkçe 🙂", '{"a": "\\u0000"}', "\r\n"])
def test_we_agree_with_the_vendors_validator_on_what_is_good(text: str) -> None:
    callback = sendgrid_posted(json.dumps([sendgrid_event(reason=text)], ensure_ascii=False).encode())
    assert theirs(callback)
    assert verdict(callback) == "verified"


def changed(callback: Callback, body: bytes | None = None, headers: dict[str, str] | None = None) -> Callback:
    return Callback({**callback.headers, **(headers or {})}, callback.body if body is None else body)


def test_we_agree_with_the_vendors_validator_on_what_is_bad() -> None:
    good = sendgrid_posted([sendgrid_event()])
    later = str(int(good.headers[TIMESTAMP]) + 1)
    other = sendgrid_posted([sendgrid_event()], key=ec.generate_private_key(ec.SECP256R1()))
    bad = [
        changed(good, good.body + b" "),
        changed(good, good.body.replace(b"delivered", b"bounce")),
        changed(good, headers={TIMESTAMP: later}),
        changed(good, headers={SIGNATURE: other.headers[SIGNATURE]}),
        other,
    ]
    for callback in bad:
        assert not theirs(callback)
        assert verdict(callback) == "signature"


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_flipped_byte_passes_either_of_us(place: int, mask: int) -> None:
    good = sendgrid_posted([sendgrid_event()])
    body = bytearray(good.body)
    body[place % len(body)] ^= mask
    callback = changed(good, bytes(body))
    assert verdict(callback) == "signature"


@pytest.mark.parametrize("headers", [{SIGNATURE: ""}, {TIMESTAMP: ""}, {SIGNATURE: "%%"}, {SIGNATURE: "AAAA"}])
def test_what_is_unsigned_or_no_signature_is_refused(headers: dict[str, str]) -> None:
    assert verdict(changed(sendgrid_posted([]), headers=headers)) in ("unsigned", "signature")
    assert verdict(Callback({}, b"[]")) == "unsigned"
    assert verdict(sendgrid_posted([]), replace(sendgrid_account(), settings={})) == "unsigned"


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(minutes=9), "verified"),
        (timedelta(minutes=11), "age"),
        (timedelta(minutes=-9), "verified"),
        (timedelta(minutes=-11), "age"),
        (timedelta(days=1), "age"),
    ],
)
def test_a_recorded_request_can_not_be_replayed_later(age: timedelta, expected: str) -> None:
    callback = sendgrid_posted([sendgrid_event()], NOW - age)
    assert theirs(callback), "their library has no window: ours must"
    assert verdict(callback) == expected


def test_settings_that_can_not_be_used_are_named() -> None:
    sendgrid_events.check({"events_public_key": sendgrid_public()})
    large = sendgrid_public(ec.generate_private_key(ec.SECP384R1()))
    for value in ("", "not base64", "AAAA", 7, large):
        with pytest.raises(ValueError, match="events_public_key"):
            sendgrid_events.check({"events_public_key": value})
    with pytest.raises(ValueError, match="events_secret"):
        sendgrid_events.check({"events_secret": "x"})
    assert sendgrid_key().curve.name == "secp256r1"


def read(event: dict[str, Any]) -> Receipt:
    told = sendgrid_events.receipts(json.dumps([event]).encode())
    assert told.unknown == 0
    return told.receipts[0]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("processed", ReceiptKind.PROCESSED),
        ("dropped", ReceiptKind.REJECTED),
        ("deferred", ReceiptKind.DEFERRED),
        ("delivered", ReceiptKind.DELIVERED),
        ("bounce", ReceiptKind.BOUNCED),
        ("open", ReceiptKind.OPENED),
        ("click", ReceiptKind.CLICKED),
        ("spamreport", ReceiptKind.COMPLAINED),
        ("unsubscribe", ReceiptKind.UNSUBSCRIBED),
        ("group_unsubscribe", ReceiptKind.UNSUBSCRIBED),
        ("group_resubscribe", ReceiptKind.RESUBSCRIBED),
    ],
)
def test_each_event_is_known(name: str, kind: ReceiptKind) -> None:
    receipt = read(sendgrid_event(name))
    assert (receipt.kind, receipt.event_id, receipt.attempt) == (kind, "ev-1", ATTEMPT)
    assert (receipt.vendor_id, receipt.recipient, receipt.at) == ("abc123", "jo@example.com", NOW)


def test_a_bounce_is_for_good_and_a_block_is_not() -> None:
    hard = read(sendgrid_event("bounce", type="bounce", status="5.1.1", reason="550 5.1.1 <jo@example.com> unknown"))
    assert (hard.permanence, hard.status, hard.reason) == (Permanence.PERMANENT, "5.1.1", "sendgrid_bounce")
    assert hard.detail == "550 5.1.1 <<address>> unknown"
    soft = read(sendgrid_event("bounce", type="blocked", reason="550 5.7.1 spam"))
    assert (soft.permanence, soft.status, soft.reason) == (Permanence.TRANSIENT, "5.7.1", "sendgrid_blocked")


@pytest.mark.parametrize(
    ("why", "permanence", "listed"),
    [
        ("Bounced Address", Permanence.PERMANENT, True),
        ("Invalid", Permanence.PERMANENT, True),
        ("Spam Reporting Address", None, True),
        ("Unsubscribed Address", None, True),
        ("Spam Content (if Spam Checker app is enabled)", None, False),
        ("Recipient List over Package Quota", None, False),
    ],
)
def test_why_it_was_dropped(why: str, permanence: Permanence | None, listed: bool) -> None:
    receipt = read(sendgrid_event("dropped", reason=why))
    assert (receipt.permanence, receipt.listed) == (permanence, listed)


def test_an_unreadable_event_spoils_no_other() -> None:
    events: list[Any] = [sendgrid_event("novelty"), 7, None, {"event": "open"}, sendgrid_event(), {"event": ["x"]}]
    told = sendgrid_events.receipts(json.dumps(events).encode())
    assert (len(told.receipts), told.unknown) == (1, 5)
    for body in (b"", b"{}", b"7", b"[" * 100_000, b"\xff"):
        assert sendgrid_events.receipts(body).unknown == 1


@given(
    st.sampled_from(["bounce", "dropped", "delivered", "deferred"]),
    st.dictionaries(
        st.sampled_from(
            ["timestamp", "email", "reason", "status", "type", "sg_message_id", "response", "ulak_attempt"]
        ),
        st.none() | st.text(max_size=8) | st.integers() | st.floats(allow_nan=False) | st.lists(st.text(max_size=3)),
    ),
)
def test_no_shape_of_an_event_makes_it_raise(name: str, fields: dict[str, Any]) -> None:
    body = json.dumps([sendgrid_event(name) | fields]).encode()
    told = sendgrid_events.receipts(body)
    assert len(told.receipts) + told.unknown == 1
