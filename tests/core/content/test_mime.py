"""Do the bytes of an email say exactly what was rendered, and nothing that was smuggled in?"""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import SMTP, Policy, default
from email.utils import parseaddr
from typing import cast

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ulak.core.content import mime
from ulak.core.content.email import ContentError, EmailContent
from ulak.core.content.headers import Facts
from ulak.core.content.mime import Stamp, address_of, build, check

FACTS = Facts("example.com", "dlv_0192", "att_0192_1")
STAMP = Stamp("ada@example.com", datetime(2026, 11, 22, 12, 5, 9, tzinfo=UTC), "0192ab", FACTS)
BASIC = ["From", "To", "Subject", "Date", "MIME-Version", "Message-ID", "Auto-Submitted", "X-Ulak-Delivery",
         "X-Ulak-Attempt"]  # fmt: skip
SINGLE = [*BASIC, "Content-Type", "Content-Transfer-Encoding"]
MULTI = [*BASIC, "Content-Type"]

HOSTILE = [
    "=?utf-8?q?hi=0D=0ABcc:_e@x.y?=",
    "=?utf-8?b?" + base64.b64encode(b"hi\r\nBcc: e@x.y").decode() + "?=",
    "=?UTF-8?Q?=0ABcc:=20e@x.y?= tail",
    "a =?iso-8859-1?q?x?= =?iso-8859-1?q?=0D=0A?= b",
    "=?utf-8*en?q?=0D=0ABcc:_e@x.y?=",
    "=?utf-8?q?" + "a" * 100 + "=0D=0ABcc:_e@x.y?=",
    "hi\r\nBcc: e@x.y",
    "hi\nBcc: e@x.y",
    "hi\rBcc: e@x.y",
    "hi\r\n\r\n<script>",
    "hi\x85Bcc: e@x.y",
    "hi\u2028Bcc: e@x.y",
    "hi\u2029Bcc: e@x.y",
    "hi\x0bBcc: e@x.y",
    "hi\x0cBcc: e@x.y",
    "hi\0there",
    "hi\x1c\x1d\x1e\x1fBcc: e@x.y",
    "lone \ud800 surrogate \udfff",
    "ünï\r\nBcc: e@x.y =?utf-8?q?=0D=0A?=",
    "?= =?",
    "=?",
    "--=_0192ab\r\nContent-Type: text/html\r\n\r\n<b>part</b>",
    "\r\n.\r\nMAIL FROM:<e@x.y>",
]

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=120)
LINES = st.lists(ANY_TEXT, max_size=4).map("\n".join)


def plain(text: str) -> str:
    """What a header may show of a text: controls and separators are one space, surrogates are U+FFFD."""
    text = re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)
    return fffd(text)


def fffd(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def body(text: str) -> str:
    return fffd(text).replace("\r\n", "\n").replace("\r", "\n")


def parsed(raw: bytes, policy: Policy[EmailMessage] = default) -> EmailMessage:
    return message_from_bytes(raw, policy=policy)


def content_of(part: EmailMessage) -> str:
    data = cast("bytes", part.get_payload(decode=True))
    return data.decode("utf-8").replace("\r\n", "\n")


def names(raw: bytes) -> list[str]:
    """The field names by the plainest reading there is."""
    head = raw.partition(b"\r\n\r\n")[0].decode("ascii")
    return [line.partition(":")[0] for line in head.split("\r\n") if not line.startswith(" ")]


@given(ANY_TEXT, LINES, st.none() | LINES)
@example("", "", "")
@example("ş" * 200, "x" * 5000, "ü" * 5000)
@example("a b", "trailing \t \n.\n..\n", "=_0192ab\n--=_0192ab--\n")
@example(" leading", "From someone", "\n\n")
@example("two  spaces", "\x0b\x0c\x1c\x85\u2028", None)
@example("日本語" * 30, "日本語\n" * 50, "<p>日本語</p>" * 50)
@example("x" * 900, "y" * 3000, "=" * 3000)
def test_a_message_says_what_was_rendered(subject: str, text: str, html: str | None) -> None:
    raw = build(EmailContent("Octo <octo@example.com>", subject, text, html), STAMP)
    assert all(len(line) <= 78 for line in raw.split(b"\r\n"))
    message = parsed(raw)
    for policy in (default, SMTP):
        message = parsed(raw, policy)
        assert [name for name, _ in message.items()] == names(raw) == (SINGLE if html is None else MULTI)
        assert str(message["To"]) == "ada@example.com"
        assert message["From"].addresses[0].addr_spec == "octo@example.com"
        assert str(message["Subject"]) == plain(subject)
        assert not message.defects
    parts = list(message.iter_parts()) if html is not None else [message]
    assert [part.get_content_type() for part in parts] == ["text/plain", "text/html"][: len(parts)]
    # A lone quoted-printable part ends in the message's own last line end, which is part of what it says.
    ended = "\n" if html is None and message["Content-Transfer-Encoding"] == "quoted-printable" else ""
    assert content_of(cast("EmailMessage", parts[0])) == body(text) + ended
    if html is not None:
        assert content_of(cast("EmailMessage", parts[1])) == body(html)


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("policy", [default, SMTP], ids=["default", "smtp"])
def test_no_rendered_text_becomes_a_field(hostile: str, policy: Policy[EmailMessage]) -> None:
    content = EmailContent(
        f"{hostile} <octo@example.com>", hostile, hostile, hostile, headers=(("X-Note", hostile), ("Feedback-ID", "a"))
    )
    raw = build(content, STAMP)
    expected = [*BASIC, "X-Note", "Feedback-ID", "Content-Type"]
    message = parsed(raw, policy)
    # Reading every value and writing it again is what relays and clients do, and where the hole was.
    again = parsed(message.as_bytes(policy=policy), policy)
    for seen in (message, again):
        assert [name for name, _ in seen.items()] == expected
        assert "\n" not in str(seen["Subject"])
        assert "\r" not in str(seen["Subject"])
    assert str(message["Subject"]) == plain(hostile)
    assert len(list(message.iter_parts())) == 2
    assert len(message["From"].addresses) == 1
    assert message["From"].addresses[0].addr_spec == "octo@example.com"


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        ("octo@example.com", ""),
        ("<octo@example.com>", ""),
        ("Octo <octo@example.com>", "Octo"),
        ('"Octo, Inc." <octo@example.com>', "Octo, Inc."),
        ("Octo, Inc. <octo@example.com>", "Octo, Inc."),
        ("Octo (bot) <octo@example.com>", "Octo (bot)"),
        ('"Say \\"hi\\"" <octo@example.com>', 'Say "hi"'),
        ("Çağrü <octo@example.com>", "Çağrü"),
        ("Evil <evil@x.y> <octo@example.com>", "Evil <evil@x.y>"),
        ("evil@x.y, <octo@example.com>", "evil@x.y,"),
    ],
)
def test_a_display_name_is_only_a_name(sender: str, name: str) -> None:
    message = parsed(build(EmailContent(sender, "s", "t", reply_to=sender), STAMP))
    for field in ("From", "Reply-To"):
        (address,) = message[field].addresses
        assert (address.display_name, address.addr_spec) == (name, "octo@example.com")
    assert address_of(sender, "From") == "octo@example.com"


def test_a_long_display_name_is_folded_into_words() -> None:
    raw = build(EmailContent("ş" * 100 + "n" * 200 + " <octo@example.com>", "s", "t"), STAMP)
    # The newer parser of the standard library keeps the space between two words of a name; the older one is right.
    name, address = parseaddr(str(make_header(decode_header(message_from_bytes(raw)["From"]))))
    assert (name, address) == ("ş" * 100 + "n" * 200, "octo@example.com")


@pytest.mark.parametrize(
    "recipient", ["a@b.cc, evil@x.yy", "Ada <ada@example.com>", "ada@example.com\r\nBcc: e@x.yy", ""]
)
def test_a_recipient_is_exactly_one_address(recipient: str) -> None:
    stamp = replace(STAMP, recipient=recipient)
    with pytest.raises(ContentError, match="To must be exactly one address"):
        build(EmailContent("octo@example.com", "s", "t"), stamp)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (EmailContent("octo", "s", "t"), "invalid_mailbox"),
        (EmailContent("octo@example.com\r\n", "s", "t"), "invalid_mailbox"),
        (EmailContent("Octo <octo@example.com>, <e@x.yy>, x", "s", "t"), "invalid_mailbox"),
        (EmailContent("octo@example.com>", "s", "t"), "invalid_mailbox"),
        (EmailContent("octo@example.com", "s", "t", reply_to="a@b.cc,e@x.yy"), "invalid_mailbox"),
        (EmailContent("octo@example.com", "s", "t", language="en\r\nBcc: e@x.y"), "invalid_header"),
        (EmailContent("octo@example.com", "s", "t", headers=(("Bcc", "e@x.yy"),)), "forbidden_header"),
        (EmailContent("octo@example.com", "s", "t", headers=(("To", "e@x.yy"),)), "forbidden_header"),
        (EmailContent("octo@example.com", "s", "t", headers=(("X-Ulak-Attempt", "1"),)), "forbidden_header"),
        (EmailContent("octo@example.com", "s", "t", headers=(("X-A: b\r\nBcc", "e@x.yy"),)), "forbidden_header"),
        (EmailContent("octo@example.com", "s", "t", headers=(("X-\u212a", "e"),)), "forbidden_header"),
        (EmailContent("octo@example.com", "s", "t", headers=(("X-A", "1"), ("x-a", "2"))), "repeated_header"),
        (EmailContent("octo@example.com", "s", "t", headers=(("List-Id", "<a>\r\nBcc: e@x.yy"),)), "invalid_header"),
        (EmailContent("octo@example.com", "s", "t", headers=(("List-Id", "=?utf-8?q?=0D?="),)), "invalid_header"),
        (EmailContent("octo@example.com", "s", "t", headers=(("List-Id", "<" + "a" * 2000 + ">"),)), "invalid_header"),
    ],
)
def test_structured_values_are_refused_unless_narrow(content: EmailContent, reason: str) -> None:
    with pytest.raises(ContentError) as refusal:
        build(content, STAMP)
    assert refusal.value.reason == reason
    assert "x.yy" not in str(refusal.value)


@pytest.mark.parametrize("value", ["", "<a@b>\r\nBcc: e@x.y", "a\0", "=?utf-8?q?=0D=0A?=", "x" * 300])
def test_ids_are_refused_unless_narrow(value: str) -> None:
    stamps = [replace(STAMP, boundary=value)]
    stamps += [replace(STAMP, facts=msgspec.structs.replace(FACTS, **{k: value})) for k in ("delivery", "attempt")]
    for stamp in stamps:
        with pytest.raises(ContentError):
            build(EmailContent("octo@example.com", "s", "t"), stamp)


def test_list_fields_stay_readable_for_machines() -> None:
    url = "https://example.com/u/" + "t" * 300
    headers = (("List-Unsubscribe", f"<{url}>"), ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
               ("References", " ".join(f"<dlv_{n:032d}@example.com>" for n in range(6))))  # fmt: skip
    raw = build(EmailContent("octo@example.com", "s", "t", headers=headers, language="tr-TR"), STAMP)
    message = parsed(raw)
    assert str(message["List-Unsubscribe"]) == f"<{url}>"
    assert str(message["References"]) == headers[2][1]
    assert message["Content-Language"] == "tr-TR"
    assert message["Auto-Submitted"] == "auto-generated"
    assert b"\r\n <dlv_" in raw


def test_the_date_is_utc_whatever_its_zone() -> None:
    east = replace(STAMP, date=STAMP.date.astimezone(timezone(timedelta(hours=3))))
    content = EmailContent("octo@example.com", "s", "t")
    assert build(content, east) == build(content, STAMP)
    assert parsed(build(content, STAMP))["Date"].datetime == STAMP.date
    with pytest.raises(ContentError):
        build(content, replace(STAMP, date=datetime(2026, 1, 1)))  # noqa: DTZ001


GOOD = build(EmailContent("octo@example.com", "Hello", "t"), STAMP)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Subject: Hello", b"Subject: Hello\r\nBcc: e@x.y"),
        (b"Subject: Hello\r\n", b""),
        (b"Subject: Hello", b"Subject: Hello\r\nSubject: again"),
        (b"Subject: Hello", b"Subject: Hello\nBcc: e@x.y"),
        (b"Subject: Hello", b"Subject: Hello\rBcc: e@x.y"),
        (b"Subject: Hello", b"Subject: =?utf-8?q?hi=0D=0ABcc:_e@x.y?="),
        (b"Subject: Hello", b"Subject: =?utf-8?b?" + base64.b64encode(b"hi\r\nBcc: e@x.y") + b"?="),
        (b"Subject: Hello", b"Subject: =?latin-1?q?hi?="),
        (b"Subject: Hello", b"Subject: =?utf-8?q?hi"),
        (b"Subject: Hello", b"Subject: =?utf-8?q?=C2=85?="),
        (b"Subject: Hello", b"Subject: =?utf-8?q?=FF?="),
        (b"Subject: Hello", b"Subject: =?utf-8?b?####?="),
        (b"Subject: Hello", b"Subject: H\xc3\xa4"),
        (b"Subject: Hello", b"Subject: H\0"),
        (b"Subject: Hello", b"Subject: " + b"x" * 995),
        (b"Subject: Hello", b"Subject: Hello\r\n\r\n"),
        (b"\r\n\r\nt\r\n", b"\r\n\r\nt\n.\n"),
        (b"\r\n\r\nt\r\n", b"\r\n\r\nt\0\r\n"),
        (b"\r\n\r\nt\r\n", b"\r\n\r\n" + b"t" * 999 + b"\r\n"),
        (b"\r\n\r\nt\r\n", b"\r\n\r\nt\r\n" * 40 + b"t" * 999 + b"\r\n"),
        (b"\r\n\r\nt\r\n", b"\r\n\r\nt"),
    ],
)
def test_the_last_check_refuses_what_the_builder_never_makes(old: bytes, new: bytes) -> None:
    check(GOOD, SINGLE)
    assert old in GOOD
    with pytest.raises(ContentError, match="unsafe_message"):
        check(GOOD.replace(old, new, 1), SINGLE)


def test_lines_of_exactly_the_longest_length_pass() -> None:
    check(GOOD + (b"x" * 998 + b"\r\n") * 3 + b"y\r\n" * 900, SINGLE)


@pytest.mark.parametrize("hostile", HOSTILE[:5] + HOSTILE[6:9])
def test_without_the_encoding_the_last_check_still_holds(hostile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: with the first defence switched off, the second one must refuse every hostile value."""
    monkeypatch.setattr(mime, "_text", lambda value, used: value)
    with pytest.raises(ContentError, match="unsafe_message"):
        build(EmailContent("octo@example.com", hostile, "t"), STAMP)


def test_the_smaller_encoding_wins() -> None:
    turkish = build(EmailContent("octo@example.com", "s", "Merhaba dünya, bugün hava güzel ve serin. " * 20), STAMP)
    japanese = build(EmailContent("octo@example.com", "s", "こんにちは" * 50), STAMP)
    assert b"quoted-printable" in turkish
    assert b"base64" in japanese
