"""What did the sender of a form say? Both encodings that a form may have, read strictly and within bounds.

RFC 8058 §3.1: a mail program posts ``List-Unsubscribe=One-Click`` as ``multipart/form-data`` or
``application/x-www-form-urlencoded``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl

Fields = Sequence[tuple[str, str]]

MAX_FIELDS = 2_000
ONE_CLICK = ("List-Unsubscribe", "One-Click")

_BOUNDARY = re.compile(r"""boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))""", re.IGNORECASE)
_NAME = re.compile(
    rb"""^content-disposition:\s*form-data\s*;.*?\bname="?([^";\r\n]{1,100})""", re.IGNORECASE | re.MULTILINE
)


def read(content_type: bytes | None, body: bytes) -> Fields | None:
    """The fields of a form in order; None when it is none."""
    kind = (content_type or b"").decode("latin-1")
    media = kind.partition(";")[0].strip().lower()
    try:
        if media == "multipart/form-data":
            return _parts(kind, body)
        if media == "application/x-www-form-urlencoded":
            text = body.decode("utf-8")
            return parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=MAX_FIELDS)
    except ValueError:  # no UTF-8, no pairs, too many of them
        pass
    return None


def _parts(kind: str, body: bytes) -> Fields | None:
    found = _BOUNDARY.search(kind)
    if found is None:
        return None
    fence = b"--" + (found[1] or found[2]).encode("latin-1")
    parts = (b"\r\n" + body).split(b"\r\n" + fence)
    if len(parts) < 3 or not parts[-1].startswith(b"--") or len(parts) > MAX_FIELDS:
        return None
    fields = []
    for part in parts[1:-1]:
        head, gap, value = part.partition(b"\r\n\r\n")
        name = _NAME.search(head.lstrip(b"\r\n"))
        if not gap or name is None:
            return None
        fields.append((name[1].decode(), value.decode()))
    return fields
