"""What does a fake push service over HTTP/2 get and give?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from ulak.sandbox.push.faults import PushFault
from ulak.sandbox.pushed import Pushed
from ulak.sandbox.vendor import Said


class Call(msgspec.Struct, frozen=True):
    """One request over HTTP/2; ``fields`` as they came, without pseudo-fields, names in lower case."""

    method: str
    path: str
    fields: Sequence[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str | None:
        """The first value of a field."""
        return next((value for key, value in self.fields if key == name), None)


class Ruling(msgspec.Struct, frozen=True):
    """What a service makes of a request.

    ``pushed`` is the push that it takes; ``proves`` says that the caller has shown who he is, so that the connection
    may carry more streams; ``device`` is the name of the device that was meant, empty for an unknown one.
    """

    said: Said
    pushed: Pushed | None = None
    proves: bool = False
    device: str = ""
    service: str = ""


@dataclass(slots=True)
class Line:
    """What a service remembers of one connection: whether it proved itself, and whether it is used up."""

    proven: bool = False
    spoiled: bool = False


class Service(Protocol):
    """The face of a fake service."""

    @property
    def name(self) -> str:
        """As faults call it."""

    @property
    def streams(self) -> tuple[int, int]:
        """How many streams at once: before a connection has proved itself, and after."""

    def judge(self, call: Call, line: Line, now: datetime) -> Ruling:
        """What becomes of a request, but for faults."""

    def reply(self, fault: PushFault, now: datetime) -> Said:
        """What a fault of kind ``reply`` says, in this service's own form."""


def plain(fault: PushFault) -> Said:
    """A reply as the fault has it, word for word."""
    return Said(fault.status, fault.body.encode(), tuple(fault.headers.items()))
