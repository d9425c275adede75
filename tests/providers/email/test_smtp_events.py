"""Is a delivery status notification read for what it is, whoever wrote it, and never for more?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.email.vendors import ATTEMPT, DELIVERY, NOW, SECRET, SMTP, report
from tests.support import cpu_seconds
from ulak.core.suppression import entry, is_soft
from ulak.providers.contract import Callback, Permanence, Receipt, ReceiptKind, Told, Verified
from ulak.providers.email import smtp_events


def read(body: bytes) -> Receipt:
    told = smtp_events.receipts(body)
    assert told.unknown == 0
    (receipt,) = told.receipts
    return receipt


@pytest.mark.parametrize(
    ("account", "header", "status"),
    [
        (SMTP, f"Bearer {SECRET}", 200),
        (SMTP, f"Bearer {SECRET} ", 401),
        (SMTP, SECRET, 401),
        (SMTP, "", 401),
        (replace(SMTP, settings={}), "Bearer ", 403),
        (replace(SMTP, settings={"events_secret": "short"}), "Bearer short", 403),
    ],
)
def test_who_is_believed(account: Any, header: str, status: int) -> None:
    found = smtp_events.verify(Callback({"authorization": header}, b""), account, {}, NOW)
    assert (200 if isinstance(found, Verified) else found.status) == status


def test_settings_that_can_not_be_used_are_named() -> None:
    smtp_events.check({"events_secret": "SMTP_EVENTS"})
    wrong: list[dict[str, object]] = [{"events_secret": ""}, {"events_secret": 1}, {"events_topics": []}]
    for settings in wrong:
        with pytest.raises(ValueError, match="events_"):
            smtp_events.check(settings)


def test_a_report_tells_what_became_of_our_message() -> None:
    receipt = read(report())
    assert receipt.kind is ReceiptKind.BOUNCED
    assert (receipt.permanence, receipt.status, receipt.reason) == (Permanence.PERMANENT, "5.1.1", "dsn_failed_5.1.1")
    assert receipt.attempt == ATTEMPT
    assert receipt.recipient is None, "whom the report names is not believed"
    assert receipt.at == datetime(2026, 11, 22, 11, 58, tzinfo=UTC)
    assert "jo@example.com" not in receipt.detail


@pytest.mark.parametrize(
    ("returned", "to", "expected"),
    [
        (None, "bounces@example.org", (ATTEMPT, None)),
        (f"x-ulak-attempt: {ATTEMPT.upper()}", "bounces@example.org", (ATTEMPT, None)),
        (f"Message-ID: <dlv_{DELIVERY}@example.org>", "bounces@example.org", (None, f"dlv_{DELIVERY}")),
        (f"X-Ulak-Delivery: dlv_{DELIVERY}", "bounces@example.org", (None, f"dlv_{DELIVERY}")),
        ("Subject: x", f"bounces+{ATTEMPT}@example.org", (ATTEMPT, None)),
        (f"Message-ID: <dlv_{DELIVERY}@example.org>", f"<bounces+{ATTEMPT}@example.org>", (ATTEMPT, None)),
    ],
    ids=["attempt", "upper case", "message id", "delivery", "return path", "return path first"],
)
def test_how_it_is_matched(returned: str | None, to: str, expected: tuple[str | None, str | None]) -> None:
    receipt = read(report(returned=returned, to=to))
    assert (receipt.attempt, receipt.delivery) == expected


def test_a_returned_message_in_full_is_read_too() -> None:
    whole = report().replace(b"text/rfc822-headers", b"message/rfc822")
    assert read(whole).attempt == ATTEMPT


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("failed", ReceiptKind.BOUNCED),
        ("Failed", ReceiptKind.BOUNCED),
        ("delayed", ReceiptKind.DEFERRED),
        ("delivered", ReceiptKind.DELIVERED),
        ("relayed", ReceiptKind.ACCEPTED),
        ("expanded", ReceiptKind.ACCEPTED),
    ],
)
def test_only_failed_is_a_bounce(action: str, kind: ReceiptKind) -> None:
    receipt = read(report(action=action))
    assert receipt.kind is kind
    assert (entry(receipt, None) is not None) == (kind is ReceiptKind.BOUNCED)


@pytest.mark.parametrize(
    ("status", "permanence", "suppresses", "soft"),
    [
        ("5.1.1", Permanence.PERMANENT, True, False),
        ("5.1.10", Permanence.PERMANENT, True, False),
        ("5.2.1", Permanence.PERMANENT, True, False),
        ("5.2.2", Permanence.TRANSIENT, False, True),
        ("5.4.4", Permanence.UNKNOWN, False, True),
        ("5.7.1", Permanence.UNKNOWN, False, False),
        ("5.7.515", Permanence.UNKNOWN, False, False),
        ("4.4.7", Permanence.TRANSIENT, False, False),
        ("nonsense", Permanence.UNKNOWN, False, True),
    ],
)
def test_what_a_status_says_of_the_address(status: str, permanence: Permanence, suppresses: bool, soft: bool) -> None:
    receipt = read(report(status=status))
    assert receipt.permanence is permanence
    assert (entry(receipt, None) is not None) == suppresses
    assert is_soft(receipt) == soft


def test_an_empty_status_is_filled_by_the_servers_own_words() -> None:
    assert read(report().replace(b"Status: 5.1.1", b"Status: 5.0.0")).status == "5.1.1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        report(returned="Subject: not ours"),
        report(action="exploded"),
        report().replace(b"message/delivery-status", b"text/plain"),
        report().replace(b"message/delivery-status", b"message/rfc822"),
        report()[:300],
        b"Content-Type: multipart/report; boundary=\r\n\r\n--\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\nContent-Type: text/plain\r\n\r\n" * 1_000,
    ],
)
def test_what_is_no_report_of_ours_is_counted(body: bytes) -> None:
    told = smtp_events.receipts(body)
    assert (told.receipts, told.unknown) == ((), 1)


NESTED = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(300))


@pytest.mark.parametrize(
    "body",
    [
        NESTED + b"\n" + b"--b\n" * 500_000,
        NESTED.replace(b"; boundary", b";\n bOuNdArY*0*") + b"\n" + b"--b\n" * 500_000,
        b'Content-Type: multipart/report; a="' + b";" * 300_000 + b"\n\n",
        b'Content-Type: multipart/report; a="' + b";\n " * 300_000 + b"\n\n",
        b"Content-Type: multipart/report; boundary=q\n\n" + b"--q\n\n" * 300_000,
        b"Content-Type: multipart/digest; boundary=q\n\n--q\n" + b"Content-Type: message/rfc822\n\n" * 100_000,
        b"Content-Type: message/delivery-status\n\n" + b"A: b\n\n" * 300_000,
        report(returned="X-Ulak-Attempt: " + "=?utf-8?q?" * 200_000),
    ],
    ids=["nested", "nested in disguise", "parameters", "folded", "parts", "messages", "groups", "words"],
)
def test_a_strangers_mail_takes_no_more_than_its_share_of_time(body: bytes) -> None:
    """Without bounds each of them but the last took seconds to many minutes, in which a node did nothing else."""
    told: list[Told] = []
    assert cpu_seconds(lambda: told.append(smtp_events.receipts(body)), under=1.5) < 1.5
    assert not any(each.receipts for each in told)


def test_a_report_that_returns_a_large_mail_is_read() -> None:
    whole = report() + b"x" * 3_000_000
    assert read(whole).attempt == ATTEMPT


def test_two_recipients_are_two_receipts_of_different_ids() -> None:
    second = b"\r\nFinal-Recipient: rfc822; al@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    second += b"\r\n--b\r\nContent-Type: text/rfc"
    told = smtp_events.receipts(report().replace(b"\r\n--b\r\nContent-Type: text/rfc", second, 1))
    assert len({receipt.event_id for receipt in told.receipts}) == 2


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    assert smtp_events.receipts(body).receipts == ()


@given(st.lists(st.tuples(st.integers(0, 2_000), st.binary(min_size=1, max_size=6)), min_size=1, max_size=6))
def test_no_broken_report_makes_it_raise(cuts: list[tuple[int, bytes]]) -> None:
    body = report()
    for place, noise in cuts:
        at = place % len(body)
        body = body[:at] + noise + body[at + len(noise) :]
    told = smtp_events.receipts(body)
    assert len(told.receipts) + told.unknown >= 1
    for receipt in told.receipts:
        assert receipt.attempt or receipt.delivery
