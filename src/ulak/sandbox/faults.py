"""What goes wrong next in the sandbox, at which stage, for whom, and how often?

A fault is armed by a JSON object:

``at``         ``connect`` ``ehlo`` ``starttls`` ``auth`` ``mail`` ``rcpt`` ``data`` (instead of the command's own
               reply), ``body`` (content has begun, its end has not come) or ``end`` (the final dot was read)
``do``         ``reply`` (with ``code`` and ``text``), ``drop`` the connection, or ``stall`` for ``seconds``
               (for ever without it) and then go on as if nothing had happened
``to``         only for recipients that fit this pattern (``*`` and ``?``, case ignored); from ``rcpt`` on
``skip``       leave the first so many chances alone (0)
``times``      go off at most so often (for ever without it)
``every``      go off only at every so-many-th chance (1)
``take``       at ``end``: whether the message counts as taken; true for ``drop`` and ``stall`` (taken, but the
               answer is lost or late), false for ``reply``
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from ulak.sandbox.armed import Armed, meant

E = TypeVar("E", bound=StrEnum)


TEXT = "4.3.0 fault asked for"


class At(StrEnum):
    """Where in a session a fault goes off."""

    CONNECT = "connect"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    END = "end"


class Do(StrEnum):
    """What happens then."""

    REPLY = "reply"
    DROP = "drop"
    STALL = "stall"


_WITH_RECIPIENT = frozenset({At.RCPT, At.DATA, At.BODY, At.END})


@dataclass(frozen=True, slots=True)
class Fault:
    """One armed fault; the module's docstring says what each field does."""

    at: At
    do: Do
    code: int = 451
    text: str = TEXT
    seconds: float | None = None
    to: str | None = None
    skip: int = 0
    times: int | None = None
    every: int = 1
    take: bool = False


class FaultBook(Armed[Fault]):
    """The armed faults, in order; the first that fits goes off."""

    def due(self, at: At, recipients: Sequence[str] = ()) -> Fault | None:
        """The fault that goes off now, if any; counts the chance."""
        return self.first(lambda fault: fault.at is at and meant(fault.to, recipients))


def decode(given: object) -> list[Fault]:
    """Faults from JSON: one object or a list of them; raises ``ValueError`` naming the key."""
    items = given if isinstance(given, list) else [given]
    return [_decode_one(item) for item in items]


def _decode_one(item: object) -> Fault:
    if not isinstance(item, Mapping):
        raise ValueError("a fault is a JSON object")  # noqa: TRY004 - a value from outside is wrong, not a type
    unknown = set(item) - set(Fault.__dataclass_fields__)
    if unknown:
        raise ValueError(f"{min(unknown)}: unknown key")
    at = _one_of(At, item, "at")
    do = _one_of(Do, item, "do")
    if item.get("to") is not None and at not in _WITH_RECIPIENT:
        raise ValueError("to: the recipient is not known before rcpt")
    if at is At.BODY and do is Do.REPLY:
        raise ValueError("do: no reply is due at body")
    text = item.get("text", TEXT)
    if not isinstance(text, str) or re.search(r"[^ -~]", text):
        raise ValueError("text: must be one line of ASCII")
    return Fault(
        at=at,
        do=do,
        code=_whole(item, "code", 451, 200, 599),
        text=text,
        seconds=_seconds(item),
        to=None if item.get("to") is None else str(item["to"]),
        skip=_whole(item, "skip", 0, 0, 10**9),
        times=None if item.get("times") is None else _whole(item, "times", 1, 0, 10**9),
        every=_whole(item, "every", 1, 1, 10**9),
        take=bool(item.get("take", at is At.END and do is not Do.REPLY)),
    )


def _one_of(kind: type[E], item: Mapping[str, object], key: str) -> E:
    try:
        return kind(str(item.get(key)))
    except ValueError:
        raise ValueError(f"{key}: must be one of {', '.join(kind)}") from None


def _whole(item: Mapping[str, object], key: str, default: int, least: int, most: int) -> int:
    value = item.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{key}: must be a whole number from {least} to {most}")
    return value


def _seconds(item: Mapping[str, object]) -> float | None:
    value = item.get("seconds")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3_600:
        raise ValueError("seconds: must be between 0 and 3600")
    return float(value)
