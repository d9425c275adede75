"""What did the fake vendors take, read back from their own log?

The sandbox writes one JSON object a line for each message or push that it took, and never removes a double.
Each message is parsed with the standard library alone, not with the code that built it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parseaddr
from pathlib import Path
from typing import Any

from ulak.cli.demonstration.evidence import Mail, Pushed
from ulak.cli.demonstration.project import MARKS, PUSH_MARKS


def mails(log: Path) -> Iterator[Mail]:
    """Every message in the sandbox's log, in the order of arrival."""
    return (read(row) for row in _rows(log, "email"))


def pushes(log: Path) -> Iterator[Pushed]:
    """The same for pushes."""
    return (_pushed(json.loads(base64.b64decode(row["raw"]))) for row in _rows(log, "push"))


def _rows(log: Path, channel: str) -> Iterator[Mapping[str, Any]]:
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["channel"] == channel:
                yield row


def _pushed(push: Mapping[str, Any]) -> Pushed:
    said = str(push.get("body", ""))
    return Pushed(
        delivery=str(push.get("delivery", "")),
        notification=str(push.get("notification", "")),
        device=str(push["device"]),
        spoken=next((language for language, mark in PUSH_MARKS.items() if said.startswith(mark)), None),
        title=str(push.get("title", "")),
    )


def read(row: Mapping[str, Any]) -> Mail:
    """One line of the log as a mail."""
    message = BytesParser(EmailMessage, policy=policy.default).parsebytes(base64.b64decode(row["raw"]))
    return Mail(
        delivery=str(message.get("X-Ulak-Delivery", "")).strip(),
        attempt=str(message.get("X-Ulak-Attempt", "")).strip(),
        envelope_to=str(row["to"]).lower(),
        header_to=parseaddr(str(message.get("To", "")))[1].lower(),
        language=str(message.get("Content-Language", "")).strip(),
        spoken=spoken(message),
        subject=str(message.get("Subject", "")),
        defects=tuple(sorted({type(defect).__name__ for part in message.walk() for defect in _defects(part)})),
    )


def spoken(message: EmailMessage) -> str | None:
    """The language of the closing paragraph, where text and HTML agree on one."""
    heard = set()
    for kind in ("plain", "html"):
        part = message.get_body(preferencelist=(kind,))
        if part is None:
            continue
        text = " ".join(part.get_content().split())
        heard.add(next((language for language, mark in MARKS.items() if mark in text), None))
    return heard.pop() if len(heard) == 1 else None


def _defects(part: Any) -> Iterator[Exception]:
    yield from part.defects
    for value in part.values():
        yield from value.defects
