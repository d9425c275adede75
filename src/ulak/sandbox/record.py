"""What was received, exactly as it came, and nothing twice merged into one?

The record is a witness: it never de-duplicates. In memory the oldest messages go when ``cap_bytes`` is
passed; the optional log file keeps all. A line is appended to the log before the sender gets its answer, and
the file is synced to disk within a twentieth of a second. A log line is JSON: ``id``, ``at``, ``channel``
(``email`` or ``push``), ``connection``, ``seq`` (the message's number on it), ``from`` (of a push: the service),
``to`` (recipients joined by ``, ``; of a push: the device),
``answer`` (``sent``, ``late``, ``withheld``, or the code of a refusal that was sent although the message was taken)
and ``raw`` in base64, of a push the JSON of ``pushed.Pushed``.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import msgspec

CAP_BYTES = 256 * 1024 * 1024
SYNC_SECONDS = 0.05


@dataclass(slots=True)
class Received:
    """One message that was taken; ``answered`` tells whether the 250 was written to the connection."""

    id: int
    at: datetime
    connection: int
    seq: int
    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    channel: str = "email"
    answered: bool = False


class Record:
    """All that was received, in order of arrival, with ids that count up from 1."""

    def __init__(self, log: Path | None = None, cap_bytes: int = CAP_BYTES) -> None:
        self._kept: deque[Received] = deque()
        self._bytes = 0
        self._cap = cap_bytes
        self.total = 0
        self._log = None if log is None else os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._sync: asyncio.TimerHandle | None = None

    def add(
        self,
        connection: tuple[int, int],
        envelope: tuple[str, Sequence[str]],
        raw: bytes,
        answer: str,
        channel: str = "email",
    ) -> Received:
        """Keep a message; ``connection``: its id and the message's number on it; ``envelope``: sender, recipients."""
        self.total += 1
        received = Received(self.total, datetime.now(UTC), *connection, envelope[0], tuple(envelope[1]), raw, channel)
        self._kept.append(received)
        self._bytes += len(raw)
        while self._bytes > self._cap and len(self._kept) > 1:
            self._bytes -= len(self._kept.popleft().raw)
        if self._log is not None:
            self._append(self._log, received, answer)
        return received

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, number: int) -> Received | None:
        """The message of that id, if it is still kept."""
        return next(self.after(number - 1, 1), None) if self._first <= number <= self.total else None

    def after(self, since: int, limit: int) -> Iterator[Received]:
        """Up to ``limit`` kept messages with ids above ``since``, oldest first."""
        start = max(0, since + 1 - self._first)
        return islice(self._kept, start, start + limit)

    def latest(self, limit: int) -> Iterator[Received]:
        """Up to ``limit`` messages, newest first."""
        return islice(reversed(self._kept), limit)

    def clear(self) -> None:
        """Forget what is in memory; ids count on and the log stays."""
        self._kept.clear()
        self._bytes = 0

    def close(self) -> None:
        """Sync and close the log."""
        if self._sync is not None:
            self._sync.cancel()
        if self._log is not None:
            os.fsync(self._log)
            os.close(self._log)
            self._log = None

    @property
    def _first(self) -> int:
        return self.total - len(self._kept) + 1

    def _append(self, log: int, received: Received, answer: str) -> None:
        line = {
            "id": received.id,
            "at": received.at,
            "channel": received.channel,
            "connection": received.connection,
            "seq": received.seq,
            "from": received.sender,
            "to": ", ".join(received.recipients),
            "answer": answer,
            "raw": received.raw,
        }
        data = msgspec.json.encode(line) + b"\n"
        if os.write(log, data) != len(data):
            raise OSError("the sandbox's log was cut short; is the disk full?")
        if self._sync is None:
            self._sync = asyncio.get_running_loop().call_later(SYNC_SECONDS, self._start_sync)

    def _start_sync(self) -> None:
        self._sync = None
        if self._log is not None:
            asyncio.get_running_loop().run_in_executor(None, _sync_quietly, self._log)


def _sync_quietly(log: int) -> None:
    """Sync; the descriptor may have been closed meanwhile, which synced it."""
    try:
        os.fsync(log)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
