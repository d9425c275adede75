"""Is Amazon believed, and nobody else, and is each of its events understood?"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.email.vendors import (
    ATTEMPT,
    CERTIFICATE,
    NOW,
    SES,
    TOPIC,
    amazon,
    envelope,
    posted,
    ses_event,
)
from ulak.core.sign import sns
from ulak.providers.contract import Callback, ConfirmSubscription, Permanence, Receipt, ReceiptKind, Rejected, Verified
from ulak.providers.email import ses_events

ALL = {CERTIFICATE: amazon()[1]}
SUBSCRIBE_URL = f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=0123abcd"

FORGED_URLS = [
    "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
    "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0123456789abcdef.pem",
    "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
    "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0123456789abcdef.pem",
    "https://evil.example#sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
    "https://evil.example\\sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
    "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-0123456789abcdef.pem",
    "https://xsns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
    "https://sns.eu-west-1.amazonawsXcom/SimpleNotificationService-0123456789abcdef.pem",
    "https://sns.evil.example.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
    "https://evil-sns.s3.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
    "https://sns.eu-west-1.amazonaws.com./SimpleNotificationService-0123456789abcdef.pem",
    "https://sns.eu-west-1.amazonaws.com/../SimpleNotificationService-0123456789abcdef.pem",
    "https://sns.eu-west-1.amazonaws.com/?Action=GetTopicAttributes&x=.pem",
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem?x=1",
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem\n",
    "https://127.0.0.1/SimpleNotificationService-0123456789abcdef.pem",
    "file:///SimpleNotificationService-0123456789abcdef.pem",
    "",
]


def verdict(callback: Callback, account: Any = SES, now: datetime = NOW, fetched: Any = ALL) -> str:
    found = ses_events.verify(callback, account, fetched, now)
    return "verified" if isinstance(found, Verified) else found.reason


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("subject", [None, "Amazon SES"])
def test_a_signed_notification_is_believed(version: str, subject: str | None) -> None:
    callback = posted(envelope(ses_event(), version=version, Subject=subject))
    assert [need.url for need in ses_events.needs(callback, SES, NOW)] == [CERTIFICATE]
    assert ses_events.verify(callback, SES, ALL, NOW) == Verified()


@pytest.mark.parametrize("field", ["Message", "MessageId", "Subject", "Timestamp", "Type"])
def test_a_changed_field_is_refused(field: str) -> None:
    fields = envelope(ses_event(), Subject="s")
    changed = {"Timestamp": "2026-11-22T12:00:01.000Z", "Type": sns.UNSUBSCRIBE}.get(field, fields[field] + " ")
    assert verdict(posted(fields | {field: changed})) == "signature"


@pytest.mark.parametrize(
    "change",
    [
        {"Signature": ""},
        {"Signature": "%%%"},
        {"SignatureVersion": "2"},
        {"SignatureVersion": "3"},
        {"SignatureVersion": "0"},
    ],
)
def test_a_broken_signature_is_refused(change: dict[str, str]) -> None:
    assert verdict(posted(envelope(ses_event()) | change)) == "signature"


@pytest.mark.parametrize("url", FORGED_URLS)
def test_a_certificate_elsewhere_is_not_even_fetched(url: str) -> None:
    callback = posted(envelope(ses_event(), SigningCertURL=url))
    assert ses_events.needs(callback, SES, NOW) == ()
    assert verdict(callback, fetched={url: amazon()[1]}) == "certificate_url"


@pytest.mark.parametrize("host", ["sns.us-gov-west-1.amazonaws.com", "sns.cn-north-1.amazonaws.com.cn"])
def test_amazons_other_hosts_are_known(host: str) -> None:
    assert sns.certificate_url(f"https://{host}/SimpleNotificationService-0123456789abcdef.pem")


def test_a_foreign_topic_is_refused_although_amazon_signed_it() -> None:
    callback = posted(envelope(ses_event(), TopicArn=TOPIC.replace("123456789012", "210987654321")))
    assert ses_events.needs(callback, SES, NOW) == ()
    assert verdict(callback) == "topic"
    assert verdict(posted(envelope(ses_event())), replace(SES, settings={})) == "topic"


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (timedelta(minutes=74), "verified"),
        (timedelta(minutes=76), "age"),
        (timedelta(minutes=-9), "verified"),
        (timedelta(minutes=-11), "age"),
    ],
)
def test_how_old_a_notification_may_be(age: timedelta, reason: str) -> None:
    assert verdict(posted(envelope(ses_event(), NOW - age))) == reason


def test_header_and_body_must_agree() -> None:
    fields = envelope(ses_event())
    assert verdict(Callback({}, json.dumps(fields).encode())) == "envelope"
    assert verdict(posted(fields, **{"x-amz-sns-message-type": sns.SUBSCRIBE})) == "envelope"
    for body in (b"", b"[]", b"{}", b"[" * 100_000, b"\xff", b'{"Type": 1}'):
        assert verdict(Callback({"x-amz-sns-message-type": sns.NOTIFICATION}, body)) == "envelope"


def test_a_certificate_that_is_over_or_of_another_key_is_refused() -> None:
    late = datetime(2037, 1, 1, tzinfo=UTC)
    assert verdict(posted(envelope(ses_event(), late)), now=late) == "signature"
    for pem in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        assert verdict(posted(envelope(ses_event())), fetched={CERTIFICATE: pem}) == "signature"
    assert verdict(posted(envelope(ses_event())), fetched={}) == "signature"


def test_a_subscription_is_confirmed_only_where_amazon_takes_it() -> None:
    fields: dict[str, Any] = {"Type": sns.SUBSCRIBE, "Token": "0123abcd"}
    good = posted(envelope("please confirm", SubscribeURL=SUBSCRIBE_URL, **fields))
    wanted = (ConfirmSubscription(SUBSCRIBE_URL),)
    assert ses_events.verify(good, SES, ALL, NOW) == Verified(events=False, then=wanted)
    other = SUBSCRIBE_URL.replace("ses-events", "other")
    for url in (other, "https://evil.example/", SUBSCRIBE_URL + "&x=1", SUBSCRIBE_URL.replace("Confirm", "Un"), None):
        assert verdict(posted(envelope("confirm", SubscribeURL=url, **fields))) == "subscribe_url"
    gone = posted(envelope("bye", SubscribeURL=SUBSCRIBE_URL, Type=sns.UNSUBSCRIBE, Token="0123abcd"))
    assert ses_events.verify(gone, SES, ALL, NOW) == Verified(events=False)


def test_credentials_are_asked_for_and_compared() -> None:
    settings = {**SES.settings, "events_username": "sns", "events_password": "secret"}
    account = replace(SES, settings=settings)
    fields = envelope(ses_event())
    assert ses_events.verify(posted(fields), account, ALL, NOW) == Rejected("challenge", 401, challenge=True)
    wrong = posted(fields, authorization="Basic c25zOndyb25n")
    assert ses_events.verify(wrong, account, ALL, NOW) == Rejected("credentials", 401, challenge=True)
    assert verdict(posted(fields, authorization="Basic c25zOnNlY3JldA=="), account) == "verified"


def test_a_stand_in_is_of_this_machine() -> None:
    url = "http://127.0.0.1:4566/moto/sns.pem"
    account = replace(SES, settings={**SES.settings, "events_certificate_host": "127.0.0.1:4566"})
    callback = posted(envelope(ses_event(), SigningCertURL=url))
    assert verdict(callback, account, fetched={url: amazon()[1]}) == "verified"
    assert verdict(posted(envelope(ses_event())), account) == "certificate_url"
    assert not sns.certificate_url("https://evil.example:80/x.pem", "evil.example:80")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "events_topics"),
        ({"events_topics": []}, "events_topics"),
        ({"events_topics": "arn"}, "events_topics"),
        ({"events_topics": ["arn:aws:sqs:eu-west-1:123456789012:x"]}, "events_topics"),
        ({"events_topics": [TOPIC], "events_username": "u"}, "events_username"),
        ({"events_topics": [TOPIC], "events_certificate_host": "evil.example:443"}, "events_certificate_host"),
        ({"events_topics": [TOPIC], "events_other": "x"}, "events_other"),
    ],
)
def test_settings_that_can_not_be_used_are_named(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ses_events.check(settings)
    ses_events.check({"events_topics": [TOPIC]})


def read(event: Any) -> Receipt:
    told = ses_events.receipts(json.dumps(envelope(event)).encode())
    assert told.unknown == 0
    (receipt,) = told.receipts
    return receipt


def test_a_bounce_tells_what_it_says_of_the_address() -> None:
    receipt = read(ses_event())
    assert receipt == Receipt(
        event_id="bounced:f-1:jo@example.com",
        kind=ReceiptKind.BOUNCED,
        permanence=Permanence.PERMANENT,
        attempt=ATTEMPT,
        vendor_id="ses-1",
        recipient="jo@example.com",
        at=NOW,
        reason="ses_permanent_general",
        status="5.1.1",
    )


@pytest.mark.parametrize(
    ("kind", "sub", "permanence", "listed", "status"),
    [
        ("Permanent", "NoEmail", Permanence.PERMANENT, False, "5.1.1"),
        ("Permanent", "Suppressed", Permanence.PERMANENT, True, "5.1.1"),
        ("Permanent", "OnAccountSuppressionList", Permanence.PERMANENT, True, "5.1.1"),
        ("Transient", "General", Permanence.TRANSIENT, False, "5.1.1"),
        ("Transient", "MailboxFull", Permanence.TRANSIENT, False, "5.1.1"),
        ("Undetermined", "Undetermined", Permanence.UNKNOWN, False, "5.1.1"),
        ("Nonsense", "x", Permanence.UNKNOWN, False, "5.1.1"),
    ],
)
def test_kinds_of_bounces(kind: str, sub: str, permanence: Permanence, listed: bool, status: str) -> None:
    receipt = read(ses_event(bounceType=kind, bounceSubType=sub))
    assert (receipt.permanence, receipt.listed, receipt.status) == (permanence, listed, status)


def test_a_bounce_for_the_messages_size_is_not_the_addresss_fault() -> None:
    rows = [{"emailAddress": "jo@example.com"}]
    receipt = read(ses_event(bounceType="Transient", bounceSubType="MessageTooLarge", bouncedRecipients=rows))
    assert receipt.status == "5.6.0"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Send", ReceiptKind.ACCEPTED),
        ("Reject", ReceiptKind.REJECTED),
        ("Rendering Failure", ReceiptKind.REJECTED),
        ("Complaint", ReceiptKind.COMPLAINED),
        ("Delivery", ReceiptKind.DELIVERED),
        ("DeliveryDelay", ReceiptKind.DEFERRED),
        ("Open", ReceiptKind.OPENED),
        ("Click", ReceiptKind.CLICKED),
    ],
)
@pytest.mark.parametrize("key", ["eventType", "notificationType"])
def test_each_event_is_known_in_both_shapes(name: str, kind: ReceiptKind, key: str) -> None:
    event = ses_event(name)
    event[key] = event.pop("eventType")
    receipt = read(event)
    assert (receipt.kind, receipt.recipient, receipt.attempt) == (kind, "jo@example.com", ATTEMPT)
    assert receipt.reason.startswith("ses_")


@pytest.mark.parametrize(("all_of_it", "kind"), [(True, ReceiptKind.UNSUBSCRIBED), (False, ReceiptKind.RESUBSCRIBED)])
def test_a_subscription_says_yes_or_no(all_of_it: bool, kind: ReceiptKind) -> None:
    assert read(ses_event("Subscription", newTopicPreferences={"unsubscribeAll": all_of_it})).kind is kind


def test_the_id_may_stand_in_the_headers() -> None:
    event = ses_event("Open")
    event["mail"] |= {"tags": None, "headers": [{"name": "X-Ulak-Attempt", "value": ATTEMPT}]}
    assert read(event).attempt == ATTEMPT


def test_what_is_no_event_is_counted_or_passed_over() -> None:
    def unknown(message: Any) -> int:
        return ses_events.receipts(json.dumps(envelope(message)).encode()).unknown

    assert unknown(ses_event("Novelty")) == 1
    assert unknown("not JSON") == 1
    assert unknown([1]) == 1
    assert unknown({"eventType": ["Bounce"]}) == 1
    assert unknown("Successfully validated SNS topic for Amazon SES event publishing.") == 0
    assert ses_events.receipts(b"no").unknown == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["Bounce", "Complaint", "DeliveryDelay", "Subscription", "Open"]), JSON, JSON, JSON)
def test_no_shape_of_an_event_makes_it_raise(name: str, part: Any, mail: Any, row: Any) -> None:
    event = ses_event(name, bouncedRecipients=[row], delayedRecipients=row)
    for changed in (event | {"mail": mail}, event | {name.lower(): part}, event):
        told = ses_events.receipts(json.dumps(envelope(changed)).encode())
        assert len(told.receipts) + told.unknown >= 1


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    assert ses_events.receipts(body).unknown == 1
    assert verdict(Callback({"x-amz-sns-message-type": sns.NOTIFICATION}, body)) == "envelope"
