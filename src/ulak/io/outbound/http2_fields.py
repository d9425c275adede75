"""How does a request become a header block of HTTP/2?

By HPACK (RFC 7541) without a dynamic table: names come from the static table where it has them, values go as they
are. A block means the same whatever was sent before it, so that it can be made before it is known on which connection
it leaves, and made once for all tries. Apple asks for it anyway: ``:path``, ``authorization`` and the ids are to be
literals without indexing (Apple, "Sending notification requests to APNs"). ``authorization`` is marked as never to be
indexed by anybody on the way either (RFC 7541 §7.1.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ulak.io.outbound.http import OWN_HEADERS
from ulak.providers.contract import HttpRequest, Refused

_STATIC = {
    ":authority": 1,
    ":path": 4,
    "accept": 19,
    "authorization": 23,
    "content-length": 28,
    "content-type": 31,
    "user-agent": 58,
}
"""Positions of names in the static table (RFC 7541, appendix A) that our requests use."""

_SECRET = frozenset({"authorization", "cookie", "proxy-authorization"})
_METHODS = {"GET": b"\x82", "POST": b"\x83"}
"""Fields of the static table that are whole."""
_HTTPS = b"\x87"
_NO_TABLE = b"\x20"
"""From here on the dynamic table has no room (RFC 7541 §6.3)."""
_NAMES = 256

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?\Z")
"""A field's value without space at its ends (RFC 9113 §8.2.1)."""
_TARGET = re.compile(r"/[!-\"$-\[\]-~]*\Z")
"""A path with its query: printable, no space, fragment or backslash."""


def integer(value: int, bits: int, first: int) -> bytes:
    """A number after the high bits ``first`` of an octet whose low ``bits`` are free (RFC 7541 §5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    out = bytearray((first | most,))
    value -= most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    out.append(value)
    return bytes(out)


_SIZES = tuple(integer(size, 7, 0) for size in range(4_096))
"""The lengths of strings that are not Huffman-coded."""


def _text(value: bytes) -> bytes:
    size = len(value)
    return (_SIZES[size] if size < len(_SIZES) else integer(size, 7, 0)) + value


def _named(name: str) -> bytes:
    """The head of a literal that is not indexed: how it is to be treated, and its name (RFC 7541 §6.2.2, §6.2.3)."""
    first = 0x10 if name in _SECRET else 0
    index = _STATIC.get(name)
    return integer(index, 4, first) if index else bytes((first,)) + _text(name.encode("ascii"))


class Fields:
    """Makes header blocks, and remembers the names that have been checked."""

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}
        self._authority = _named(":authority")
        self._path = _named(":path")
        self._length = _named("content-length")

    def block(self, request: HttpRequest, authority: bytes, target: str) -> bytes | Refused:
        """The block of one request; ``target`` is its path and query."""
        method = _METHODS.get(request.method)
        if method is None:
            if not _TOKEN.match(request.method):
                return Refused("method", "the method is no token")
            method = integer(2, 4, 0) + _text(request.method.encode("ascii"))
        if not _TARGET.match(target):
            return Refused("url", "the path has characters that it must not have")
        parts = [method, _HTTPS, self._authority, _text(authority), self._path, _text(target.encode("ascii"))]
        for name, value in request.headers:
            head = self._known.get(name) or self._learn(name)
            if not isinstance(head, bytes):
                return head
            if not _VALUE.match(value):
                return Refused("header", "a header field has characters that it must not have")
            parts += (head, _text(value.encode("latin-1")))
        if request.body:
            parts += (self._length, _text(str(len(request.body)).encode("ascii")))
        return b"".join(parts)

    def _learn(self, name: str) -> bytes | Refused:
        """Check a name that was not seen before."""
        if not _TOKEN.match(name):
            return Refused("header", "a header field has characters that it must not have")
        lower = name.lower()
        if lower in OWN_HEADERS:
            return Refused("header", f"{lower} belongs to the connection")
        head = _named(lower)
        if len(self._known) < _NAMES:
            self._known[name] = head
        return head


class ReadyBlocks:
    """Stands where h2 has its encoder, and gives it the block that has been made already (``block``).

    A peer that shrinks the dynamic table has to be told so at the start of the next block (RFC 9113 §4.3.1).
    """

    def __init__(self) -> None:
        self.block = b""
        self._size = 4_096
        self._told = False

    @property
    def header_table_size(self) -> int:
        """What the peer allows; none of it is used."""
        return self._size

    @header_table_size.setter
    def header_table_size(self, size: int) -> None:
        self._size = size
        self._told = False

    def encode(self, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The block of the request that is being sent; ``headers`` are a stand-in."""
        del headers
        if self._told:
            return self.block
        self._told = True
        return _NO_TABLE + self.block
