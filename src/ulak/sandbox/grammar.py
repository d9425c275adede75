"""Which words of a client are proper SMTP, and which text of a message is?"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error

TEXT_LINE = 998

_EHLO = re.compile(rb"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.?)+\Z|\[(?:IPv6:)?[0-9A-Fa-f:.]+\]\Z")
_PATH = re.compile(rb"(FROM|TO):<([!-;=?-~]{0,254})>((?: [A-Za-z0-9-]+(?:=[!-<>-~]+)?)*)\Z", re.IGNORECASE)
_BOX = re.compile(rb"[^@]{1,64}@[^@]{1,254}\Z")

Refusal = tuple[int, str]


def is_name(text: bytes) -> bool:
    """Whether a client may introduce itself so: a domain or an address literal (RFC 5321 §4.1.1.1)."""
    return len(text) <= 255 and _EHLO.match(text) is not None


def path(text: bytes, keyword: bytes) -> tuple[str, list[bytes]] | None:
    """Address and parameters of ``FROM:<…> …`` or ``TO:<…> …``; only a sender may be empty."""
    match = _PATH.match(text)
    if match is None or match[1].upper() != keyword:
        return None
    if _BOX.match(match[2]) is None and (match[2] or keyword == b"TO"):
        return None
    return match[2].decode("ascii"), match[3].upper().split()


def sender_parameters(parameters: list[bytes], max_size: int, *, may_auth: bool) -> bool | Refusal:
    """Whether MAIL announces eight-bit text, or why its parameters are refused."""
    eight_bit = False
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name == b"SIZE" and re.fullmatch(rb"[0-9]{1,20}", value):
            if int(value) > max_size:
                return 552, "5.3.4 message too big"
        elif name == b"BODY" and value in {b"7BIT", b"8BITMIME"}:
            eight_bit = value == b"8BITMIME"
        elif name != b"AUTH" or not may_auth:
            return 555, "5.5.4 unknown parameter"
    return eight_bit


def text_refusal(text: bytes, *, eight_bit: bool) -> Refusal | None:
    """Why the text of a message, still dot-stuffed, is refused; None for proper text."""
    ends = text.count(b"\r\n")
    if text.count(b"\n") != ends or text.count(b"\r") != ends:
        return 554, "5.6.0 bare carriage return or line feed"
    if b"\0" in text:
        return 554, "5.6.0 NUL"
    if not text.isascii() and (not eight_bit or not text.partition(b"\r\n\r\n")[0].isascii()):
        return 554, "5.6.1 eight-bit text that was not announced, or in the header"
    if not lines_fit(unstuffed(text), TEXT_LINE):
        return 554, "5.6.0 a line is longer than 998 octets"
    return None


def lines_fit(text: bytes, longest: int) -> bool:
    """Whether no line, its CRLF apart, is longer than ``longest`` octets."""
    start = 0
    while len(text) - start > longest + 2:
        # From the start of a line, the last line end within reach is the start of another.
        start = text.rfind(b"\n", start, start + longest + 2) + 1
        if start == 0:
            return False
    return True


def unstuffed(text: bytes) -> bytes:
    """The text without the dots that were added to lines which open with one (RFC 5321 §4.5.2)."""
    if b"\n." not in text and not text.startswith(b"."):
        return text
    return (b"\r\n" + text).replace(b"\r\n.", b"\r\n")[2:]


def decode_base64(text: bytes) -> bytes:
    """The octets, or none for what is not base64."""
    try:
        return b64decode(text, validate=True)
    except Base64Error:
        return b""
