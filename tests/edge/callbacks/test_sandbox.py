"""Do we believe and understand what the sandbox posts in the vendors' place? It was written apart from our readers."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from ulak.core.model import Account, Channel
from ulak.core.receipt import Receipt, ReceiptKind
from ulak.core.suppression import entry
from ulak.providers.contract import Callback, Verified
from ulak.providers.registry import EVENTS
from ulak.sandbox.credentials import PASSWORD, USER, stand_in
from ulak.sandbox.magic import Event
from ulak.sandbox.parcel import Parcel
from ulak.sandbox.vendor_events import (
    CERTIFICATE_PATH,
    Happened,
    Post,
    Sns,
    postmark_post,
    sendgrid_post,
    ses_message,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ATTEMPT = "att_0192f0c1e1a27c3f8000000000000001_1"
HOST = "127.0.0.1:4566"
SNS = Sns()

KINDS: Mapping[Event, ReceiptKind] = {
    Event.DELIVERED: ReceiptKind.DELIVERED,
    Event.HARD_BOUNCE: ReceiptKind.BOUNCED,
    Event.SOFT_BOUNCE: ReceiptKind.BOUNCED,
    Event.COMPLAINT: ReceiptKind.COMPLAINED,
    Event.DEFERRED: ReceiptKind.DEFERRED,
    Event.OPEN: ReceiptKind.OPENED,
    Event.CLICK: ReceiptKind.CLICKED,
}

VENDORS = ("ses1", "ses2", "sendgrid", "postmark")


def posted(vendor: str, event: Event) -> Post:
    tags = {"ulak_attempt": ATTEMPT}
    parcel = Parcel(vendor.rstrip("12"), "v-1", "Octo <octo@example.com>", "jo@example.com", "Hi", (), tags=tags)
    happened = Happened(str(uuid4()), event, parcel, NOW)
    if vendor == "sendgrid":
        return sendgrid_post([happened], NOW)
    if vendor == "postmark":
        pair = f"{USER}:{PASSWORD}".encode()
        return postmark_post(happened, [("Authorization", f"Basic {b64encode(pair).decode()}")])
    fields = {"Type": "Notification", "MessageId": happened.id, "Message": ses_message(happened)}
    return SNS.post(fields, f"http://{HOST}", vendor[-1], NOW)


@pytest.mark.parametrize("event", list(KINDS))
@pytest.mark.parametrize("vendor", VENDORS)
def test_what_the_sandbox_posts_is_believed_and_understood(vendor: str, event: Event) -> None:
    name = vendor.rstrip("12")
    told_of_events = {k: v for k, v in stand_in(name, f"http://{HOST}").items() if k.startswith("events_")}
    account = Account("one", name, Channel.EMAIL, settings=told_of_events)
    module = EVENTS[name]
    module.check(account.settings)
    post = posted(vendor, event)
    callback = Callback({key.lower(): value for key, value in post.headers}, post.body)
    wanted = [need.url for need in module.needs(callback, account, NOW)]
    assert wanted == ([f"http://{HOST}{CERTIFICATE_PATH}"] if name == "ses" else [])
    fetched = dict.fromkeys(wanted, SNS.certificate(NOW))
    assert module.verify(callback, account, fetched, NOW) == Verified()
    tampered = Callback(callback.headers, post.body + b" ")
    assert name == "postmark" or isinstance(module.verify(tampered, account, fetched, NOW), Verified) == (name == "ses")
    told = module.receipts(post.body)
    (receipt,) = told.receipts
    assert isinstance(receipt, Receipt)
    assert (receipt.kind, receipt.attempt, receipt.recipient) == (KINDS[event], ATTEMPT, "jo@example.com")
    forbids = entry(receipt, "offers")
    assert (forbids is not None) == (event in (Event.HARD_BOUNCE, Event.COMPLAINT))
