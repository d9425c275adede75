"""Do files and images arrive as they were, under their names, and can none of them become a part or a field?"""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ulak.core.content import parts
from ulak.core.content.email import MAX_ATTACHED, Attachment, ContentError, EmailContent
from ulak.core.content.headers import Facts
from ulak.core.content.mime import Stamp, build

STAMP = Stamp("ada@example.com", datetime(2026, 11, 22, tzinfo=UTC), "01ab", Facts("example.com", "dlv_1", "att_1_1"))
PDF = Attachment("invoice.pdf", "application/pdf", b"%PDF-1.7\r\n--=_01ab--\r\n\0\xff")
LOGO = Attachment("logo.png", "image/png", b"\x89PNG", cid="logo")


def message(*files: Attachment, html: str | None = "<p>h</p>", text: str = "t\n") -> EmailMessage:
    raw = build(EmailContent("octo@example.com", "s", text, html, attachments=files), STAMP)
    found = message_from_bytes(raw, policy=default)
    for each in list(found.walk())[1:]:
        assert not each.defects
        assert [name for name, _ in each.items()] == fields(each)
    return found


def fields(part: Any) -> list[str]:
    """The fields that a part of its kind has."""
    if part.is_multipart():
        return ["Content-Type"]
    found = ["Content-Type", "Content-Transfer-Encoding"]
    if part.get_content_maintype() != "text":
        found.append("Content-Disposition")
    return [*found, "Content-ID"] if part.get_content_maintype() == "image" else found


def shape(part: Any) -> Any:
    if part.is_multipart():
        return {part.get_content_subtype(): [shape(each) for each in part.iter_parts()]}
    return part.get_content_type()


def data_of(part: Any) -> bytes:
    return cast("bytes", part.get_payload(decode=True))


def test_each_level_is_there_only_when_needed() -> None:
    both = {"alternative": ["text/plain", "text/html"]}
    assert shape(message()) == both
    assert shape(message(PDF)) == {"mixed": [both, "application/pdf"]}
    related = {"alternative": ["text/plain", {"related": ["text/html", "image/png"]}]}
    assert shape(message(LOGO)) == related
    assert shape(message(LOGO, PDF)) == {"mixed": [related, "application/pdf"]}
    assert shape(message(PDF, html=None)) == {"mixed": ["text/plain", "application/pdf"]}
    assert shape(message(LOGO, html=None)) == {"mixed": ["text/plain", "image/png"]}


def test_octets_names_and_places_survive() -> None:
    found = message(LOGO, PDF)
    logo, pdf = [each for each in found.walk() if each.get_content_maintype() in ("image", "application")]
    assert (data_of(logo), data_of(pdf)) == (LOGO.data, PDF.data)
    assert (logo["Content-ID"], logo.get_content_disposition(), logo.get_filename()) == ("<logo>", "inline", "logo.png")
    assert (pdf["Content-ID"], pdf.get_content_disposition()) == (None, "attachment")


NAMES = [
    "report.pdf", "Rechnung März.pdf", "請求書.pdf", "a b  c.txt", 'q"uote\\.txt', "100%.txt", "'.txt",
    "../../etc/passwd", "C:\\Windows\\x.exe", "a\r\nBcc: e@x.y", "a\0b", "=?utf-8?q?=0D=0ABcc:_e@x.y?=",
    "\u202egpj.exe", "x" * 300 + ".pdf", "a;b=c", "", "...", "lone \ud800", "ş" * 90,
]  # fmt: skip


@given(st.text(st.characters(exclude_categories=()), max_size=120), st.binary(max_size=200))
@example("", b"")
def test_any_name_is_only_a_name(name: str, data: bytes) -> None:
    check_name(name, data)


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_only_a_name(name: str) -> None:
    check_name(name, b"x")


def check_name(name: str, data: bytes) -> None:
    wanted = parts.file_name(name)
    raw = build(
        EmailContent("octo@example.com", "s", "t", "h", attachments=(Attachment(name, "text/plain", data),)), STAMP
    )
    assert all(len(line) <= 90 for line in raw.split(b"\r\n"))
    for policy in (default, SMTP):
        (_, part) = message_from_bytes(raw, policy=policy).iter_parts()
        assert [key for key, _ in part.items()] == [
            "Content-Type",
            "Content-Transfer-Encoding",
            "Content-Disposition",
        ]
        assert part.get_filename() == wanted
        assert data_of(part) == data
    assert not set(wanted) & set("/\\\r\n\0:")
    assert 0 < len(wanted) <= 200


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ((Attachment("x", "text/html\r\nBcc: e@x.y", b"x"),), "invalid_attachment"),
        ((Attachment("x", "text", b"x"),), "invalid_attachment"),
        ((Attachment("x", 'text/plain; charset="x"', b"x"),), "invalid_attachment"),
        ((Attachment("x", "image/png", b"x", cid="a>\r\nBcc: e@x.y"),), "invalid_attachment"),
        ((LOGO, LOGO), "invalid_attachment"),
        ((PDF,) * 21, "too_many_files"),
        ((Attachment("x", "a/b", b"x" * (MAX_ATTACHED + 1)),), "too_big"),
    ],
)
def test_what_cannot_be_sent_is_refused(files: tuple[Attachment, ...], reason: str) -> None:
    with pytest.raises(ContentError) as caught:
        message(*files)
    assert caught.value.reason == reason


def test_the_largest_files_pass() -> None:
    found = message(Attachment("x", "a/b", b"\xff" * MAX_ATTACHED))
    assert len(data_of(list(found.iter_parts())[1])) == MAX_ATTACHED


@pytest.mark.parametrize("kind", ["message/rfc822", "multipart/mixed", "Message/External-Body"])
def test_a_message_or_multipart_goes_as_octets(kind: str) -> None:
    found = message(Attachment("x.eml", kind, b"Subject: x\r\n\r\ny"))
    assert shape(found)["mixed"][1] == "application/octet-stream"


TEXT = st.lists(st.text(max_size=40), max_size=4).map("\n".join)


@given(TEXT, TEXT, st.lists(st.binary(max_size=99), max_size=3), st.lists(st.binary(max_size=99), max_size=3))
def test_every_part_says_what_it_was_given(text: str, html: str, files: list[bytes], images: list[bytes]) -> None:
    given_files = tuple(Attachment(f"f{n}", "application/x-f", each) for n, each in enumerate(files))
    given_images = tuple(Attachment(f"i{n}", "image/x-i", each, cid=f"i{n}") for n, each in enumerate(images))
    found = message(*given_files, *given_images, html=html, text=text)
    leaves = {each.get_filename() or each.get_content_type(): each for each in found.walk() if not each.is_multipart()}
    for sent in (*given_files, *given_images):
        assert data_of(leaves[sent.filename]) == sent.data
    for kind, sent_text in (("text/plain", text), ("text/html", html)):
        wanted = sent_text.replace("\r\n", "\n").replace("\r", "\n")
        assert data_of(leaves[kind]).decode().replace("\r\n", "\n") == wanted
