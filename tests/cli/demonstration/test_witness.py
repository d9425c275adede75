"""Is a mail read back from the sandbox's log as it was sent, faults included?"""

from __future__ import annotations

import base64
import json
from email.message import EmailMessage
from pathlib import Path

import pytest

from ulak.cli.demonstration.evidence import Pushed
from ulak.cli.demonstration.project import MARKS, PUSH_MARKS, example
from ulak.cli.demonstration.witness import mails, pushes, read, spoken


def message(text: str, html: str | None = None) -> EmailMessage:
    made = EmailMessage()
    made["To"] = "Efe <Efe@Example.com>"
    made["Subject"] = "Yeni sürüm ✨"
    made["X-Ulak-Delivery"] = "dlv_1"
    made["X-Ulak-Attempt"] = "att_1_1"
    made.set_content(text)
    if html is not None:
        made.add_alternative(html, subtype="html")
    made["Content-Language"] = "tr"
    return made


def row(raw: bytes, to: str = "efe@example.com") -> dict[str, str]:
    return {"channel": "email", "to": to, "raw": base64.b64encode(raw).decode()}


def test_a_message_is_read_back_whole() -> None:
    mail = read(row(message(f"{MARKS['tr']} …", f"<p>{MARKS['tr']} …</p>").as_bytes()))
    assert (mail.delivery, mail.attempt) == ("dlv_1", "att_1_1")
    assert (mail.envelope_to, mail.header_to) == ("efe@example.com", "efe@example.com")
    assert (mail.language, mail.spoken, mail.subject) == ("tr", "tr", "Yeni sürüm ✨")
    assert mail.defects == ()


@pytest.mark.parametrize(
    ("text", "html", "language"),
    [
        (MARKS["en"], None, "en"),
        (MARKS["en"], MARKS["en"], "en"),
        (MARKS["en"], MARKS["tr"], None),
        (MARKS["en"], "nothing", None),
        ("nothing", None, None),
        (MARKS["en"].replace(" ", "\n"), None, "en"),
    ],
)
def test_a_language_is_heard_only_where_all_parts_agree(text: str, html: str | None, language: str | None) -> None:
    assert spoken(message(text, html)) == language


def test_what_the_parser_forgives_is_told() -> None:
    broken = b"To: efe@example.com\r\nContent-Type: multipart/alternative; boundary=x\r\n\r\nno parts\r\n"
    assert read(row(broken)).defects


def test_the_log_is_read_with_its_doubles(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    lines = [row(message(MARKS["en"]).as_bytes())] * 2
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [mail.delivery for mail in mails(log)] == ["dlv_1", "dlv_1"]


def test_pushes_are_read_beside_mails_with_the_language_of_their_text(tmp_path: Path) -> None:
    taken = {"device": "apns-1", "delivery": "dlv_1", "notification": "ntf_1", "title": "Yeni", "payload": {}}
    rows = [{"channel": "push", "raw": base64.b64encode(json.dumps(taken | more).encode()).decode()} for more in (
        {"body": f"{PUSH_MARKS['tr']} …"},
        {"body": f"… {PUSH_MARKS['en']}"},
    )]  # fmt: skip
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in [*rows, row(message(MARKS["en"]).as_bytes())]))
    first = Pushed("dlv_1", "ntf_1", "apns-1", "tr", "Yeni")
    assert list(pushes(log)) == [first, Pushed("dlv_1", "ntf_1", "apns-1", None, "Yeni")]
    assert len(list(mails(log))) == 1


@pytest.mark.parametrize("language", PUSH_MARKS)
def test_every_push_template_of_the_example_begins_as_its_language_does(language: str) -> None:
    files = sorted(example().glob(f"templates/*/push.{language}.txt"))
    assert len(files) > 3
    for file in files:
        body = file.read_text("utf-8").split("+++\n", 2)[2]
        lines = [line for line in body.splitlines() if not line.startswith("{% set")]
        assert lines[0].startswith(PUSH_MARKS[language]), file
