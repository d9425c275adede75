"""How are the values of a TOML table read, so that every mistake is told at once and in plain words?

A table is described by ``Field`` rows; the same rows make the reference page. ``read`` never stops at
the first mistake: each one becomes a ``Problem`` and the reading goes on.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a project folder: where it stands, what it is, and what to do."""

    file: str
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}: {self.path}" if self.path else self.file
        return f"{where}: {self.message}" + (f" ({self.hint})" if self.hint else "")


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a table. ``read`` turns the TOML value into ours or raises ``ValueError``."""

    key: str
    read: Callable[[object], Any]
    doc: str
    required: bool = False
    default: Any = None
    shown: str = ""


DURATION_UNITS: Mapping[str, int] = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_DURATION = 366 * 86400.0
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])\Z")


def duration(value: object) -> float:
    """Seconds from ``"30s"``, ``"10m"``, ``"24h"``, ``"7d"`` or a plain number of seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    else:
        match = _DURATION.match(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError('must be a duration such as "30s", "10m", "24h" or "7d"')
        seconds = float(match[1]) * DURATION_UNITS[match[2]]
    if not 0 <= seconds <= MAX_DURATION:
        raise ValueError("must be between 0 seconds and 366 days")
    return seconds


def between(low: float, high: float, unit: str = "") -> Callable[[object], float]:
    """Read a duration within bounds, in seconds."""

    def read_bounded(value: object) -> float:
        seconds = duration(value)
        if not low <= seconds <= high:
            raise ValueError(f"must be between {low:g} and {high:g} seconds{unit}")
        return seconds

    return read_bounded


def whole(low: int, high: int) -> Callable[[object], int]:
    """Read a whole number within bounds."""

    def read_whole(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return read_whole


def text(value: object) -> str:
    """Read a string that is not empty, without control characters, of at most 1,000 characters."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a string that is not empty")
    if len(value) > 1000 or any(ord(char) < 32 or ord(char) == 127 for char in value):
        raise ValueError("must be one line of at most 1,000 characters")
    return value


def source(value: object) -> str:
    """Read a template's source: a string that is not empty, of at most 8,000 characters."""
    if not isinstance(value, str) or not value.strip() or len(value) > 8000:
        raise ValueError("must be a string that is not empty, of at most 8,000 characters")
    return value


_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}\Z")


def name(value: object) -> str:
    """Read a name: letters, digits, ``_``, ``-``, ``.``, starting with a letter, at most 100."""
    if not isinstance(value, str) or _NAME.match(value) is None:
        raise ValueError("must be a name: a letter, then letters, digits, '_', '-' or '.', at most 100 in all")
    return value


def one_of(choices: Iterable[str]) -> Callable[[object], str]:
    """Read one word of a closed list."""
    words = tuple(choices)

    def read_choice(value: object) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise ValueError(f"must be one of {', '.join(words)}{did_you_mean(value, words)}")

    return read_choice


def did_you_mean(value: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """``; did you mean 'x'?``, or nothing when no known word is that close."""
    close = difflib.get_close_matches(str(value)[:100], list(known), n=1, cutoff=cutoff)
    return f"; did you mean '{close[0]}'?" if close else ""


def read(
    table: object, fields: Iterable[Field], file: str, path: str, problems: list[Problem], *, more: bool = False
) -> dict[str, Any]:
    """Read one table by its description; ``more`` lets unknown keys through, unless one looks misspelt.

    Every field gets a value (its default where it is missing or wrong); mistakes go to ``problems``.
    """
    known = {field.key: field for field in fields}
    values = {key: field.default for key, field in known.items()}
    if not isinstance(table, Mapping):
        problems.append(Problem(file, path, "must be a table", f"write [{path}] and one key a line"))
        return values
    for key, value in table.items():
        at = f"{path}.{key}" if path else str(key)
        if key not in known:
            misspelt = did_you_mean(key, known, 0.8 if more else 0.6).removeprefix("; ")
            if more and not misspelt:
                values[key] = value
            else:
                problems.append(Problem(file, at, "unknown key", misspelt or f"known keys: {', '.join(known)}"))
            continue
        try:
            values[key] = known[key].read(value)
        except ValueError as error:
            message, _, hint = str(error).partition("; ")
            problems.append(Problem(file, at, message, hint))
    missing = [key for key, field in known.items() if field.required and key not in table]
    problems += [Problem(file, f"{path}.{key}" if path else key, "is missing", known[key].doc) for key in missing]
    return values
