"""How do text, HTML, images and files stand in one message body?

As RFC 2046 nests them, each level only where there is something for it:
``mixed(alternative(text, related(html, images…)), files…)``.

Every part is quoted-printable or base64, so no line of one can begin with an equals sign and then what our
boundaries go on with. File names are quoted where they are plain and RFC 2231 where not; a content type is
matched against a narrow grammar.
"""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp
from collections.abc import Sequence
from urllib.parse import quote

from ulak.core.content.email import MAX_ATTACHED, Attachment, ContentError, EmailContent
from ulak.core.front_matter import MAX_FILES

Fields = list[tuple[str, str]]
"""Header fields of a part, folded."""

_HIGH = bytes(range(0x80, 0x100))
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,80}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,80}\Z")
_COMPOSITE = re.compile(r"(?:multipart|message)/", re.IGNORECASE)
_CID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,69}\Z")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_+,.()-]+(?: [A-Za-z0-9_+,.()-]+)*\Z")
_PATH = re.compile(r"[/\\:]+")
_PIECE = 60
"""Characters of a file name in one piece of RFC 2231."""


def body(content: EmailContent, boundary: str) -> tuple[Fields, bytes]:
    """The fields that describe the content, and the content, which ends with a line end.

    Raises ``ContentError`` for files that can't be sent.
    """
    _check(content.attachments)
    inline = [file for file in content.attachments if file.cid is not None and content.html is not None]
    files = [file for file in content.attachments if file.cid is None or content.html is None]
    made = _part("plain", content.text)
    if content.html is not None:
        page = _part("html", content.html)
        if inline:
            parts = [page, *(_file(each, "inline") for each in inline)]
            page = _multipart('related;\r\n type="text/html"', f"=r_{boundary}", parts)
        made = _multipart("alternative", f"=_{boundary}", [made, page])
    if files:
        made = _multipart("mixed", f"=m_{boundary}", [made, *(_file(each, "attachment") for each in files)])
    head, octets = made
    return head, octets if head[0][1].startswith("multipart/") else octets + b"\r\n"


def file_name(text: str) -> str:
    """A file name that says nothing but a name: no path, no control character, at most 200 characters."""
    whole = utf8(_CONTROLS.sub(" ", text)).decode("utf-8")
    return " ".join(_PATH.sub("_", whole).split()).strip(". ")[-200:] or "file"


def _check(files: Sequence[Attachment]) -> None:
    if len(files) > MAX_FILES:
        raise ContentError("too_many_files", f"more than {MAX_FILES} files go with the message")
    if sum(len(file.data) for file in files) > MAX_ATTACHED:
        raise ContentError("too_big", f"the files have more than {MAX_ATTACHED // 1024 // 1024} MiB together")
    names = [file.cid for file in files if file.cid is not None]
    if len(set(names)) < len(names):
        raise ContentError("invalid_attachment", "two inline files have the same content id")


def _multipart(kind: str, boundary: str, parts: Sequence[tuple[Fields, bytes]]) -> tuple[Fields, bytes]:
    dash = b"--" + boundary.encode("ascii")
    pieces = []
    for head, octets in parts:
        lines = "".join([f"{name}: {value}\r\n" for name, value in head]).encode("ascii")
        # The line end before a boundary belongs to it.
        pieces += [dash, b"\r\n", lines, b"\r\n", octets, b"\r\n"]
    pieces += [dash, b"--\r\n"]
    return [("Content-Type", f'multipart/{kind};\r\n boundary="{boundary}"')], b"".join(pieces)


def _part(kind: str, text: str) -> tuple[Fields, bytes]:
    how, octets = encode(text)
    return [("Content-Type", f"text/{kind}; charset=utf-8"), ("Content-Transfer-Encoding", how)], octets


def _file(file: Attachment, disposition: str) -> tuple[Fields, bytes]:
    if _TYPE.match(file.content_type) is None:
        raise ContentError("invalid_attachment", "a file's content type must look like application/pdf")
    # A message in a message must not be base64 (RFC 2046 §5), and nobody needs to read one as such.
    kind = "application/octet-stream" if _COMPOSITE.match(file.content_type) else file.content_type.lower()
    head = [
        ("Content-Type", kind),
        ("Content-Transfer-Encoding", "base64"),
        ("Content-Disposition", f"{disposition}{_name_parameter(file_name(file.filename))}"),
    ]
    if file.cid is not None:
        if _CID.match(file.cid) is None:
            raise ContentError("invalid_attachment", "a content id must look like logo.1, in at most 70 characters")
        head.append(("Content-ID", f"<{file.cid}>"))
    return head, _base64(file.data)


def _name_parameter(name: str) -> str:
    """``filename`` of RFC 2183: a quoted string, or RFC 2231 in as many pieces as it takes."""
    if _PLAIN_NAME.match(name) is not None and len(name) <= _PIECE and "=?" not in name:
        return f';\r\n filename="{name}"'
    coded = quote(name, safe="")
    pieces: list[str] = []
    while coded:
        end = _PIECE
        # Never inside of an escape.
        end -= next((back for back in (1, 2) if coded[end - back : end - back + 1] == "%"), 0)
        pieces.append(coded[:end])
        coded = coded[end:]
    if len(pieces) == 1:
        return f";\r\n filename*=utf-8''{pieces[0]}"
    first, *more = pieces
    numbered = [f"filename*0*=utf-8''{first}", *(f"filename*{at}*={each}" for at, each in enumerate(more, 1))]
    return "".join([f";\r\n {each}" for each in numbered])


def encode(text: str) -> tuple[str, bytes]:
    """Quoted-printable or base64 of a text, whichever is smaller, with CRLF line ends."""
    data = utf8(text)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    size = len(data) + data.count(b"\n")
    base64_size = (size + 2) // 3 * 4 * 78 // 76
    high = len(data) - len(data.translate(None, _HIGH))
    if size + 2 * high <= base64_size:
        quoted = b2a_qp(data, istext=True).replace(b"\n", b"\r\n")
        if len(quoted) <= base64_size:
            return "quoted-printable", quoted
    return "base64", _base64(data.replace(b"\n", b"\r\n"))


def _base64(data: bytes) -> bytes:
    flat = b2a_base64(data, newline=False)
    return b"\r\n".join([flat[at : at + 76] for at in range(0, len(flat), 76)])


def utf8(text: str) -> bytes:
    """UTF-8, with U+FFFD where a lone surrogate stood."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")
