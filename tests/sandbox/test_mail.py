"""Can any octets be read as a mail without a crash?"""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ulak.sandbox.mail import parse

FIELDS = st.sampled_from(
    [
        b"Subject: =?utf-8?b?####?=\r\n",
        b"Subject: =?nope?q?x?=\r\n",
        b"Subject: =?utf-8?b?a?=\r\n",
        b"Subject: \xff\xfe\r\n",
        b"Content-Type: text/plain; charset=nope\r\n",
        b"Content-Type: multipart/mixed\r\n",
        b'Content-Type: multipart/mixed; boundary="b"\r\n',
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Transfer-Encoding: x-uuencode\r\n",
        b"Content-Type: text/plain; charset*=utf-8''%ff\r\n",
        b" folded\r\n",
        b"no field\r\n",
    ]
)


@given(st.lists(FIELDS, max_size=4).map(b"".join), st.binary(max_size=60))
@example(b"", b"")
@example(b"Subject: =?utf-8?b?####?=\r\n", b"")
def test_anything_can_be_read_and_told(head: bytes, body: bytes) -> None:
    for raw in (head + b"\r\n" + body, body, b"Content-Type: text/html\r\n\r\n" + body):
        mail = parse(raw)
        assert isinstance(mail.subject, str)
        msgspec.json.encode(mail)


@pytest.mark.parametrize(
    ("raw", "defect"),
    [
        (b"Date: x\r\n\r\n", "no from"),
        (b"From: a\r\nDate: x\r\nSubject: a\r\nSubject: b\r\n\r\n", "2 subject"),
        (
            b"From: a\r\nDate: x\r\nContent-Type: text/plain; charset=ascii\r\n\r\n\xff",
            "text/plain is not of its charset",
        ),
    ],
)
def test_defects_are_told(raw: bytes, defect: str) -> None:
    assert defect in parse(raw).defects
