"""Is Postmark believed only by its secret, and is each record understood?"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.email.vendors import ATTEMPT, NOW, POSTMARK, SECRET
from ulak.providers.contract import Callback, Permanence, Receipt, ReceiptKind, Rejected, Verified
from ulak.providers.email import postmark_events

BASIC = replace(POSTMARK, settings={"events_username": "hook", "events_password": SECRET})


def record(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "RecordType": kind,
        "MessageID": "pm-1",
        "Recipient": "jo@example.com",
        "Metadata": {"ulak_attempt": ATTEMPT},
        "DeliveredAt": "2026-11-22T12:00:00Z",
        "BouncedAt": "2026-11-22T12:00:00Z",
        "ReceivedAt": "2026-11-22T12:00:00Z",
        "ChangedAt": "2026-11-22T12:00:00Z",
    } | more


def bounce(type_: str, *, inactive: bool = False, details: str = "", **more: Any) -> dict[str, Any]:
    fields = {"ID": 42, "Email": "jo@example.com", "Type": type_, "Inactive": inactive, "Details": details}
    return record("Bounce", **fields, **more)


def read(fields: dict[str, Any]) -> Receipt:
    told = postmark_events.receipts(json.dumps(fields).encode())
    assert told.unknown == 0
    return told.receipts[0]


@pytest.mark.parametrize(
    ("account", "headers", "status"),
    [
        (POSTMARK, {"x-ulak-secret": SECRET}, 200),
        (POSTMARK, {"x-ulak-secret": SECRET + "x"}, 401),
        (POSTMARK, {"x-ulak-secret": ""}, 401),
        (POSTMARK, {}, 401),
        (POSTMARK, {"authorization": f"Bearer {SECRET}"}, 401),
        (BASIC, {"authorization": "Basic aG9vazphLWxvbmctc2hhcmVkLXNlY3JldA=="}, 200),
        (BASIC, {"authorization": "Basic aG9vazp3cm9uZw=="}, 401),
        (BASIC, {"authorization": "Basic ü"}, 401),
        (BASIC, {}, 401),
        (replace(POSTMARK, settings={}), {"x-ulak-secret": ""}, 403),
        (replace(POSTMARK, settings={"events_secret": "short"}), {"x-ulak-secret": "short"}, 403),
        (replace(BASIC, settings={"events_username": "hook", "events_password": ""}), {"authorization": ""}, 403),
        (replace(POSTMARK, settings={**POSTMARK.settings, "events_header": "X-Other"}), {"x-other": SECRET}, 200),
    ],
)
def test_who_is_believed(account: Any, headers: dict[str, str], status: int) -> None:
    found = postmark_events.verify(Callback(headers, b"{}"), account, {}, NOW)
    assert (200 if isinstance(found, Verified) else found.status) == status
    if isinstance(found, Rejected):
        assert found.challenge == (account is BASIC)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "events_secret"),
        ({"events_username": "u"}, "events_username"),
        ({"events_username": "u", "events_password": "p", "events_secret": "s"}, "events_secret"),
        ({"events_secret": ""}, "events_secret"),
        ({"events_secret": "s", "events_header": "a b"}, "events_header"),
        ({"events_topics": []}, "events_topics"),
    ],
)
def test_settings_that_can_not_be_used_are_named(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        postmark_events.check(settings)
    postmark_events.check({"events_secret": "PM_SECRET"})
    postmark_events.check({"events_username": "u", "events_password": "PM_PASSWORD"})


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Delivery", ReceiptKind.DELIVERED),
        ("SpamComplaint", ReceiptKind.COMPLAINED),
        ("Open", ReceiptKind.OPENED),
        ("Click", ReceiptKind.CLICKED),
    ],
)
def test_each_record_is_known(kind: str, expected: ReceiptKind) -> None:
    receipt = read(record(kind))
    assert (receipt.kind, receipt.attempt, receipt.recipient) == (expected, ATTEMPT, "jo@example.com")
    assert (receipt.at, receipt.vendor_id) == (NOW, "pm-1")


@pytest.mark.parametrize(
    ("fields", "permanence", "status", "listed"),
    [
        (bounce("HardBounce", inactive=True, details="smtp;550 5.1.1 x"), Permanence.PERMANENT, "", False),
        (bounce("HardBounce", details="smtp;550 5.1.1 x"), Permanence.TRANSIENT, "5.1.1", False),
        (bounce("BadEmailAddress", inactive=True), Permanence.PERMANENT, "", False),
        (bounce("ManuallyDeactivated", inactive=True), Permanence.PERMANENT, "", True),
        (bounce("SoftBounce", details="552 5.2.2 full"), Permanence.TRANSIENT, "5.2.2", False),
        (bounce("DnsError"), Permanence.TRANSIENT, "", False),
        (bounce("Unknown"), Permanence.UNKNOWN, "", False),
        (bounce("Blocked"), Permanence.TRANSIENT, "5.7.0", False),
        (bounce("DMARCPolicy"), Permanence.TRANSIENT, "5.7.0", False),
        (bounce("SpamNotification", inactive=True), Permanence.TRANSIENT, "5.7.0", False),
    ],
)
def test_kinds_of_bounces(fields: dict[str, Any], permanence: Permanence, status: str, listed: bool) -> None:
    receipt = read(fields)
    assert receipt.kind is ReceiptKind.BOUNCED
    assert (receipt.permanence, receipt.status, receipt.listed) == (permanence, status, listed)
    assert receipt.event_id == "Bounce:42"


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        ("AutoResponder", ReceiptKind.DELIVERED),
        ("Transient", ReceiptKind.DEFERRED),
        ("Unsubscribe", ReceiptKind.UNSUBSCRIBED),
        ("Subscribe", ReceiptKind.RESUBSCRIBED),
        ("SpamComplaint", ReceiptKind.COMPLAINED),
        ("TemplateRenderingFailed", ReceiptKind.REJECTED),
    ],
)
def test_a_bounce_that_is_none(type_: str, kind: ReceiptKind) -> None:
    receipt = read(bounce(type_))
    assert (receipt.kind, receipt.permanence) == (kind, None)


@pytest.mark.parametrize(
    ("fields", "kind", "listed"),
    [
        ({"SuppressSending": True, "SuppressionReason": "HardBounce"}, ReceiptKind.BOUNCED, True),
        ({"SuppressSending": True, "SuppressionReason": "SpamComplaint"}, ReceiptKind.COMPLAINED, True),
        ({"SuppressSending": True, "SuppressionReason": "ManualSuppression"}, ReceiptKind.UNSUBSCRIBED, False),
        ({"SuppressSending": False, "SuppressionReason": None}, ReceiptKind.RESUBSCRIBED, False),
    ],
)
def test_a_change_of_postmarks_list(fields: dict[str, Any], kind: ReceiptKind, listed: bool) -> None:
    receipt = read(record("SubscriptionChange", **fields))
    assert (receipt.kind, receipt.listed) == (kind, listed)


def test_what_is_not_known_is_counted() -> None:
    for body in (b"", b"[]", b"{}", b'{"RecordType": "Novelty"}', b'{"RecordType": []}', b"\xff", b"[" * 100_000):
        assert postmark_events.receipts(body).unknown == 1


@given(
    st.sampled_from(["Bounce", "Delivery", "Open", "SubscriptionChange"]),
    st.dictionaries(
        st.sampled_from(["Type", "Metadata", "ID", "Email", "BouncedAt", "Inactive", "Details", "Recipient"]),
        st.none() | st.text(max_size=8) | st.integers() | st.lists(st.text(max_size=3), max_size=2),
    ),
)
def test_no_shape_of_a_record_makes_it_raise(kind: str, fields: dict[str, Any]) -> None:
    told = postmark_events.receipts(json.dumps(record(kind, **fields)).encode())
    assert len(told.receipts) + told.unknown == 1
