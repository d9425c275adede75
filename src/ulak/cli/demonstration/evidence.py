"""What was seen of a run from outside: answers, timelines, sockets, inboxes and the log of the fake vendors?

Plain values, gathered by the parts that touch the world and judged by ``judge``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Timeline = Mapping[str, Any]
"""The body of ``GET /v1/notifications/{id}/timeline``."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """One request that was answered with 202.

    ``sent`` is when it first went out (monotonic seconds), ``tries`` how often it was made until the
    answer came.
    """

    key: str
    id: str
    type: str
    reaches: frozenset[str]
    problems: int = 0
    sent: float = 0.0
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Frame:
    """One ``items`` or ``changed`` frame: the revision it follows, the one it leads to, and its items.

    ``items`` are (delivery id, revision); ``live`` is False while a socket that was opened anew catches
    up; ``fresh`` marks the first frame of a full sync, which takes back all that came before.
    """

    connection: int
    prev: int
    revision: int
    items: tuple[tuple[str, int], ...]
    live: bool = True
    fresh: bool = False


@dataclass(slots=True)
class SocketLog:
    """What one user's sockets received, in order, and what the user did (delivery id → ``seen``/``read``)."""

    user: str
    frames: list[Frame] = field(default_factory=list)
    acted: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Mail:
    """One message that the SMTP peer took, as parsed back: ids from its headers, addresses, language.

    ``spoken`` is the language that the text itself shows, ``None`` where it shows none; ``defects`` what
    the parser had to forgive.
    """

    delivery: str
    attempt: str
    envelope_to: str
    header_to: str
    language: str
    spoken: str | None
    subject: str
    defects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pushed:
    """One push that a fake service took: ids that it carries, the device that it went to, the language of its text."""

    delivery: str
    notification: str
    device: str
    spoken: str | None
    title: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the judge may look at.

    ``listed`` are all notification ids that the API lists; ``inboxes`` the delivery ids in the inboxes
    of users without a socket.
    """

    accepted: Sequence[Accepted]
    listed: Sequence[str]
    timelines: Mapping[str, Timeline]
    sockets: Sequence[SocketLog]
    inboxes: Mapping[str, Sequence[str]]
    mails: Sequence[Mail]
    pushes: Sequence[Pushed] = ()
