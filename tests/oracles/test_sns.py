"""Do we believe what another implementation of SNS (moto) signs, and nothing that was changed after it?"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.providers.email.vendors import SES, TOPIC, posted, ses_event
from ulak.providers.contract import Rejected, Verified
from ulak.providers.email import ses_events

pytestmark = pytest.mark.slow  # moto takes seconds to import


def published(message: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What moto's SNS posts to an HTTP subscription, and the certificates that it publishes."""
    models: Any = import_module("moto.sns.models")
    region = TOPIC.split(":")[3]
    topic = SimpleNamespace(arn=TOPIC, name="ses-events", sns_backend=SimpleNamespace(region_name=region))
    subscription = SimpleNamespace(topic=topic, account_id="123456789012")
    subscription.private_key = lambda: rsa.generate_private_key(65537, 2048)
    posts = models.Subscription.get_post_data(subscription, message, "m-1", None)
    keys = models.sns_backends[models.DEFAULT_ACCOUNT_ID][region]._message_public_keys
    return posts, {f"https://sns.{region}.amazonaws.com/{name}": pem for name, pem in keys.items()}


def test_motos_signature_is_believed_and_a_changed_message_is_not() -> None:
    fields, certificates = published(json.dumps(ses_event()))
    now = datetime.now(UTC) + timedelta(seconds=2)  # its certificate begins now
    (need,) = ses_events.needs(posted(fields), SES, now)
    assert need.url in certificates
    assert ses_events.verify(posted(fields), SES, certificates, now) == Verified()
    for name in ("Message", "MessageId", "Timestamp"):
        changed = fields | {name: fields[name].replace("1", "2")}
        verdict = ses_events.verify(posted(changed), SES, certificates, now)
        assert isinstance(verdict, Rejected), name
    foreign = ses_events.verify(posted(fields | {"TopicArn": TOPIC + "2"}), SES, certificates, now)
    assert foreign == Rejected("topic")
    assert ses_events.receipts(posted(fields).body).unknown == 0
