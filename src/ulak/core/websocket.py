"""What do the bytes of one WebSocket say, and which bytes say it?

The server's side of RFC 6455 from the first frame on, without any I/O: ``Reader`` turns bytes into events,
the functions below turn messages into frames. No extension is ever agreed on, so that reserved bits are a
fault. A fault is an event, too, and the last one: nothing after it is read.

Text is checked while it arrives (§8.1): a message that can't become UTF-8 any more fails at once. A frame that
is too large fails at its head, before any of its payload is kept.
"""

from __future__ import annotations

import codecs
from enum import IntEnum
from typing import Final

import msgspec

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""What the server's answer to a handshake is made with (§1.3)."""

PROTOCOL_ERROR = 1002
INVALID_DATA = 1007
TOO_BIG = 1009
NO_CODE = 1005
"""Stands for a close frame without a code; never on the wire."""


class Opcode(IntEnum):
    """What a frame is (§5.2)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Event(msgspec.Struct, frozen=True, gc=False):
    """One message or control frame, or (``fault``) why no more can be read.

    ``text`` of a text message, of a close's reason or of a fault; ``data`` of a binary message, a ping or a
    pong; ``code`` of a close or a fault.
    """

    opcode: int
    text: str = ""
    data: bytes = b""
    code: int = 0
    fault: bool = False


class _Frame:
    """A frame whose head has been read: what is left of its payload."""

    __slots__ = ("final", "key", "left", "opcode")

    def __init__(self, opcode: int, final: bool, left: int, key: bytes) -> None:  # noqa: FBT001  # one bit of the head
        self.opcode = opcode
        self.final = final
        self.left = left
        self.key = key


class _Message:
    """A message that is not complete."""

    __slots__ = ("chunks", "decoder", "frames", "opcode", "size", "texts")

    def __init__(self, opcode: int) -> None:
        self.opcode = opcode
        self.decoder = codecs.getincrementaldecoder("utf-8")() if opcode == Opcode.TEXT else None
        self.texts: list[str] = []
        self.chunks: list[bytes] = []
        self.size = 0
        self.frames = 1

    def add(self, data: bytes, *, last: bool) -> None:
        """Take a part; raises ``UnicodeDecodeError`` as soon as it can't become text any more."""
        if self.decoder is not None:
            self.texts.append(self.decoder.decode(data, last))
        else:
            self.chunks.append(data)

    def event(self) -> Event:
        """The whole message."""
        if self.decoder is not None:
            return Event(Opcode.TEXT, "".join(self.texts))
        return Event(Opcode.BINARY, data=b"".join(self.chunks))


class Reader:
    """What one client sends. ``limit`` bounds a message in bytes, ``parts`` the frames that it may come in."""

    __slots__ = ("_at", "_data", "_frame", "_limit", "_message", "_over", "_parts")

    def __init__(self, limit: int, parts: int = 64) -> None:
        self._limit = limit
        self._parts = parts
        self._data = b""
        self._at = 0
        self._frame: _Frame | None = None
        self._message: _Message | None = None
        self._over = False

    @property
    def waiting(self) -> int:
        """Bytes that were fed and not read yet."""
        return len(self._data) - self._at

    def feed(self, data: bytes) -> None:
        """Take what has arrived; then call ``next`` until it returns None. After a close or a fault it is dropped."""
        if self._over:
            return
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0

    def next(self) -> Event | None:
        """The next event; None when more bytes are needed, or after a close or a fault."""
        return self._short() or self._any()

    # ------------------------------------------------------------------------------------ inside

    def _short(self) -> Event | None:
        """A text in one short frame that has come whole, as nearly all do; None: look closer."""
        data, at = self._data, self._at
        if len(data) - at < 6 or data[at] != 0x81 or not 0x80 <= data[at + 1] <= 0xFD:
            return None
        start = at + 6
        end = start + (data[at + 1] & 0x7F)
        if end > len(data) or end - start > self._limit or self._frame is not None or self._message is not None:
            return None
        self._at = end
        try:
            return Event(Opcode.TEXT, str(unmask(data[start:end], data[at + 2 : start]), "utf-8"))
        except UnicodeDecodeError:
            return self._fault(INVALID_DATA, "the text is not UTF-8")

    def _any(self) -> Event | None:
        while not self._over:
            frame = self._frame
            if frame is None:
                head = self._head()
                if head is None:
                    break
                if isinstance(head, Event):
                    return head
                frame = head
            if frame.opcode & 8:
                if self.waiting < frame.left:
                    self._frame = frame
                    break
                self._frame = None
                return self._control(frame, unmask(self._take(frame.left), frame.key))
            event = self._payload(frame)
            if event is not None:
                return event
            if self._frame is not None:
                break
        if self._at == len(self._data):
            self._data, self._at = b"", 0
        return None

    def _take(self, size: int) -> bytes:
        start = self._at
        self._at = start + size
        return self._data[start : start + size]

    def _head(self) -> _Frame | Event | None:
        """Read the head of the next frame, or find its fault; None when it is not complete."""
        data, at = self._data, self._at
        have = len(data) - at
        if have < 2:
            return None
        first, second = data[at], data[at + 1]
        opcode, final = first & 0x0F, bool(first & 0x80)
        wrong = self._wrong(first, second)
        if wrong is not None:
            return self._fault(PROTOCOL_ERROR, wrong)
        size, length = 2, second & 0x7F
        if length >= 126:
            size = 4 if length == 126 else 10
            if have < size:
                return None
            least = 126 if length == 126 else 65_536
            length = int.from_bytes(data[at + 2 : at + size], "big")
            if length < least:
                return self._fault(PROTOCOL_ERROR, "the length takes more bytes than it needs")
        if not opcode & 8:
            message = self._message
            if length + (message.size if message is not None else 0) > self._limit:
                return self._fault(TOO_BIG, f"more than {self._limit} bytes")
            if message is not None and message.frames >= self._parts:
                return self._fault(TOO_BIG, f"more than {self._parts} frames for one message")
        if have < size + 4:
            return None
        self._at = at + size + 4
        return _Frame(opcode, final, length, data[at + size : at + size + 4])

    def _wrong(self, first: int, second: int) -> str | None:
        """What the first two bytes of a frame say that they must not (§5.2, §5.4, §5.5)."""
        opcode = first & 0x0F
        if first & 0x70:
            return "reserved bits are set"
        if opcode not in _OPCODES:
            return "an opcode that does not exist"
        if not second & 0x80:
            return "a client's frame must be masked"
        if opcode & 8:
            return (
                "a control frame is in one piece, of at most 125 bytes" if not first & 0x80 or second > 0xFD else None
            )
        if (opcode == Opcode.CONTINUATION) != (self._message is not None):
            return "a message begins before the last is complete, or goes on before it begins"
        return None

    def _payload(self, frame: _Frame) -> Event | None:
        """Read what there is of a data frame; the event when it ends a message, or can't become one."""
        try:
            return self._part(frame)
        except UnicodeDecodeError:
            return self._fault(INVALID_DATA, "the text is not UTF-8")

    def _part(self, frame: _Frame) -> Event | None:
        size = min(frame.left, len(self._data) - self._at)
        whole = size == frame.left
        if whole and frame.final and self._frame is None and self._message is None:  # nearly always
            data = unmask(self._take(size), frame.key)
            return Event(1, str(data, "utf-8")) if frame.opcode == 1 else Event(2, data=data)
        if self._frame is None:
            self._begin(frame)
        message = self._message
        assert message is not None
        message.add(unmask(self._take(size), frame.key), last=whole and frame.final)
        message.size += size
        if not whole:
            turn = size % 4
            frame.key = frame.key[turn:] + frame.key[:turn]
            frame.left -= size
            return None
        self._frame = None
        if not frame.final:
            return None
        self._message = None
        return message.event()

    def _begin(self, frame: _Frame) -> None:
        self._frame = frame
        if self._message is None:
            self._message = _Message(frame.opcode)
        elif frame.opcode == Opcode.CONTINUATION:
            self._message.frames += 1

    def _control(self, frame: _Frame, data: bytes) -> Event:
        if frame.opcode != Opcode.CLOSE:
            return Event(frame.opcode, data=data)
        if not data:
            self._stop()
            return Event(Opcode.CLOSE, code=NO_CODE)
        try:
            reason = data[2:].decode()
        except UnicodeDecodeError:
            return self._fault(INVALID_DATA, "the reason of a close is not UTF-8")
        code = int.from_bytes(data[:2], "big")
        if len(data) == 1 or not may_be_said(code):
            return self._fault(PROTOCOL_ERROR, "a close code that must not be sent")
        self._stop()
        return Event(Opcode.CLOSE, reason, code=code)

    def _fault(self, code: int, text: str) -> Event:
        self._stop()
        return Event(Opcode.CLOSE, text, code=code, fault=True)

    def _stop(self) -> None:
        self._over = True
        self._data, self._at = b"", 0
        self._frame = self._message = None


_OPCODES = frozenset(Opcode)


def may_be_said(code: int) -> bool:
    """Whether a close frame may carry this code (§7.4; IANA's registry up to 1014)."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))


def unmask(data: bytes, key: bytes) -> bytes:
    """Each byte XOR that of the key in turn (§5.3); the same masks."""
    size = len(data)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")


def frame(opcode: int, payload: bytes) -> bytes:
    """One frame of a server: in one piece, not masked (§5.1)."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return bytes((0x80 | opcode, 126, size >> 8, size & 0xFF)) + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close; ``NO_CODE`` says none. The reason is cut to what fits (§5.5)."""
    if code == NO_CODE:
        return frame(Opcode.CLOSE, b"")
    text = reason.encode()[:123].decode(errors="ignore").encode()
    return frame(Opcode.CLOSE, code.to_bytes(2, "big") + text)


class Encoded:
    """JSON objects that many clients are sent: ``texts`` as they are, ``frame`` ready for a socket, made once."""

    __slots__ = ("frame", "texts")

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.frame = frame(Opcode.TEXT, self.text.encode())

    @property
    def text(self) -> str:
        """One object, or an array of several."""
        return self.texts[0] if len(self.texts) == 1 else f"[{','.join(self.texts)}]"
