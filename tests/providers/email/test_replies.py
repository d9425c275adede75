"""Does each vendor's documented answer mean what its table says it means?"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ulak.core.model import Account, Channel, Class
from ulak.core.outcome import Kind, Outcome
from ulak.providers.answers import Rule
from ulak.providers.contract import EmailContent, HttpReply, Lost, Message, Phase, Refused, Reply
from ulak.providers.registry import PROVIDERS

FOLDER = Path(__file__).with_name("replies")
"""One file an answer, as the vendors' documentation and the reports of their users show them."""
FILES = sorted(FOLDER.glob("*/*.json"))
VENDORS = ("postmark", "sendgrid", "ses")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MESSAGE = Message("dlv_1", "att_1_1", "ada@example.com", EmailContent("o@example.com", "Hi", "t"), NOW)


def read(vendor: str, reply: Reply, size: int = 1) -> list[Outcome]:
    account = Account("mail", vendor, Channel.EMAIL)
    return list(PROVIDERS[vendor].read(reply, [MESSAGE] * size, account, NOW))


@pytest.mark.parametrize("file", FILES, ids=[f"{file.parent.name}-{file.stem}" for file in FILES])
def test_documented_answers(file: Path) -> None:
    said = json.loads(file.read_text("utf-8"))
    (outcome,) = read(file.parent.name, HttpReply(said["status"], said["headers"], said["body"].encode()))
    assert {"kind": outcome.kind, "reason": outcome.reason, "wait": outcome.wait} == said["means"]
    assert "@example" not in outcome.detail
    assert (outcome.scope == "all") == (outcome.kind is Kind.RECIPIENT_PERMANENT)


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_answer_of_a_table_is_shown_by_a_file(vendor: str) -> None:
    """But 408 and what is no status at all: no vendor documents these."""
    seen = {json.loads(file.read_text("utf-8"))["means"]["reason"] for file in FILES if file.parent.name == vendor}
    for row in PROVIDERS[vendor].OUTCOMES:
        assert isinstance(row, Rule)
        if row.phase is None and row.answer not in {"408", "xxx"} and not row.reason.endswith("not_reached"):
            reason = re.compile(row.reason.replace("{status}", "[0-9]+").replace("{name}", ".+"))
            assert any(reason.fullmatch(one) for one in seen), row.answer


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        (Lost(Phase.NOT_SENT, "connect"), "retry", "connect"),
        (Lost(Phase.NOT_SENT, "dns"), "retry", "dns"),
        (Lost(Phase.NOT_SENT, "timeout"), "retry", "timeout"),
        (Lost(Phase.NOT_SENT, "certificate"), "next_provider", "certificate"),
        (Lost(Phase.NOT_SENT, "tls"), "next_provider", "tls"),
        (Lost(Phase.SENT, "timeout"), "unknown", "timeout"),
        (Lost(Phase.SENT, "cut_off"), "unknown", "cut_off"),
        (Lost(Phase.SENT, "bad_reply"), "unknown", "bad_reply"),
        (Refused("address", "loopback"), "next_provider", "not_reached"),
    ],
)
def test_no_answer(vendor: str, reply: Reply, kind: str, reason: str) -> None:
    (outcome,) = read(vendor, reply)
    assert (outcome.kind, outcome.reason) == (kind, f"{vendor}_{reason}")


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_call_that_the_guard_refused_says_why_and_what_allows_it(vendor: str) -> None:
    (dialled,) = read(vendor, Refused("address", "loopback"))
    assert "loopback" in dialled.detail
    assert "ULAK_ALLOW_NETWORKS" in dialled.detail
    (never,) = read(vendor, Refused("url", "no host"))
    assert "url: no host" in never.detail
    assert "ULAK_ALLOW_NETWORKS" not in never.detail


def test_each_result_of_a_batch_stands_for_its_message() -> None:
    results = [{"ErrorCode": 0, "MessageID": "a"}, {"ErrorCode": 406}, {"ErrorCode": 300}, {"ErrorCode": 0}]
    outcomes = read("postmark", HttpReply(200, {}, json.dumps(results).encode()), 4)
    assert [outcome.kind for outcome in outcomes] == ["accepted", "recipient_permanent", "payload_error", "accepted"]
    assert [outcome.vendor_id for outcome in outcomes] == ["a", None, None, None]


def test_a_no_of_the_marketing_stream_is_none_to_a_receipt() -> None:
    messages = [msgspec.structs.replace(MESSAGE, klass=klass) for klass in (Class.MARKETING, Class.TRANSACTIONAL)]
    reply = HttpReply(200, {}, b'[{"ErrorCode":406},{"ErrorCode":406}]')
    outcomes = PROVIDERS["postmark"].read(reply, messages, Account("mail", "postmark", Channel.EMAIL), NOW)
    assert [outcome.scope for outcome in outcomes] == ["class:marketing", "all"]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendors_words_are_kept_short_and_without_addresses(vendor: str) -> None:
    text = "no mailbox for <ada@example.com>, 'bob@example.com': " + "x" * 5_000 + "\r\n\0"
    body = {"ses": {"message": text}, "sendgrid": {"errors": [{"message": text}]}}.get(vendor, [])
    reply = HttpReply(400, {"x-amzn-errortype": "BadRequestException"}, json.dumps(body or text).encode())
    (outcome,) = read(vendor, reply)
    assert len(outcome.detail) <= 300
    assert "@" not in outcome.detail
    assert outcome.detail.isprintable()
