"""How does a list of addresses that must not be written to come in and go out as CSV?

One header line, then a line for each address: ``channel``, ``address`` and, where they differ from the default,
``scope`` (all), ``reason`` (manual), ``evidence``, ``expires_at`` (RFC 3339). A line that can't be used is told with
its number and never stops the others. Spreadsheets take a field that begins with ``=``, ``+``, ``-`` or ``@`` for a
formula, so such fields go out behind an apostrophe, which is taken away when they come in.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from ulak.core import values
from ulak.core.model import Channel

COLUMNS = ("channel", "address", "scope", "reason", "evidence", "expires_at")
REASONS = ("manual", "bounced", "complained", "unsubscribed", "soft_bounced")
MAX_FAULTS = 100
"""Lines at fault that are told one by one; the others are counted."""

MAX_EVIDENCE = 1_000
_FORMULA = tuple("=+-@\t\r'")


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One line that can be used."""

    channel: str
    address: str
    scope: str
    reason: str
    evidence: str | None
    expires_at: datetime | None


class Fault(msgspec.Struct, frozen=True, gc=False):
    """One line that can't: its number in the file, and what is wrong. Never the address."""

    line: int
    column: str
    detail: str


class Parsed(msgspec.Struct, frozen=True):
    """A file: what can be used, each address and scope once (the last line wins), and what can't."""

    entries: Sequence[Entry]
    faults: Sequence[Fault]
    rejected: int


class NotCsv(ValueError):
    """The file as a whole can't be read; the message says why."""


def read(data: bytes, now: datetime) -> Parsed:
    """Read a file in UTF-8; raises ``NotCsv``."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise NotCsv("it is not UTF-8") from None
    if "\0" in text:
        raise NotCsv("it holds a NUL character (U+0000)")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    found: dict[tuple[str, str, str], Entry] = {}
    faults: list[Fault] = []
    rejected = 0
    try:
        names = _names(next(lines, []))
        for fields in lines:
            if not fields:
                continue
            made = _entry(names, fields, lines.line_num, now)
            if isinstance(made, Entry):
                found[made.channel, made.address, made.scope] = made
                continue
            rejected += 1
            if len(faults) < MAX_FAULTS:
                faults.append(made)
    except csv.Error as error:
        raise NotCsv(f"line {lines.line_num}: {error}") from None
    return Parsed(list(found.values()), faults, rejected)


def write(rows: Iterable[Mapping[str, object]]) -> bytes:
    """A file that ``read`` takes."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_out(row[name]) for name in COLUMNS])
    return file.getvalue().encode("utf-8")


def _names(header: Sequence[str]) -> Sequence[str]:
    names = [name.strip().lower() for name in header]
    strangers = [name for name in names if name not in COLUMNS]
    if strangers or len(set(names)) < len(names) or not {"channel", "address"} <= set(names):
        raise NotCsv(f"line 1 must name the columns channel and address, and may name {', '.join(COLUMNS[2:])}")
    return names


def _entry(names: Sequence[str], fields: Sequence[str], line: int, now: datetime) -> Entry | Fault:
    if len(fields) != len(names):
        return Fault(line, "", f"{len(fields)} fields instead of {len(names)}")
    given = {name: _in(field) for name, field in zip(names, fields, strict=True)}
    read: dict[str, Any] = {}
    for column, reader in _READERS.items():
        try:
            read[column] = reader(given.get(column, ""), read)
        except values.Unfit as error:
            return Fault(line, column, error.message)
    entry = Entry(**read)
    if entry.expires_at is not None and entry.expires_at <= now:
        return Fault(line, "expires_at", "it has passed")
    return entry


def _word(text: str, known: Iterable[str]) -> str:
    if text not in known:
        raise values.Unfit("unknown_word", f"not one of {', '.join(known)}")
    return text


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return values.moment(datetime.fromisoformat(text))
    except ValueError:
        raise values.Unfit("invalid_time", "not a time such as 2026-12-31T00:00:00Z") from None


_READERS: Mapping[str, Callable[[str, Mapping[str, Any]], Any]] = {
    "channel": lambda text, _: _word(text.lower(), [channel.value for channel in Channel]),
    "address": lambda text, read: values.address(read["channel"], text),
    "scope": lambda text, _: values.identifier(text or "all"),
    "reason": lambda text, _: _word(text or "manual", REASONS),
    "evidence": lambda text, _: text[:MAX_EVIDENCE] or None,
    "expires_at": lambda text, _: _moment(text),
}
"""How each column is read: its text, and what was read before it."""


def _in(field: str) -> str:
    text = field.strip(" ")
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA) else text


def _out(value: object) -> str:
    text = value.isoformat() if isinstance(value, datetime) else "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
