"""What does a judge of a run look at, one by one, and what does he find?

A delivery with all that belongs to it, the faults that are held against it, and what these come to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ulak.cli.demonstration.evidence import Accepted
from ulak.cli.demonstration.people import Person
from ulak.cli.demonstration.project import Kind, Leg

TAKEN = frozenset({"accepted", "delivered"})
SETTLED = TAKEN | {"failed", "bounced", "skipped", "suppressed", "expired", "cancelled", "unresolved", "dead"}

SLACK = timedelta(seconds=1)
"""A mark's time is that of its transaction's begin, and it forbids from its commit on."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that should not be: ``lost`` or wrong, about what, and why it is held against the run."""

    lost: bool
    subject: str
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge found.

    ``ends`` counts deliveries by channel, state and reason, ``passed_on`` calls after which another account went on.
    """

    accepted: int
    ends: Mapping[tuple[str, str, str], int]
    faults: tuple[Fault, ...]
    duplicates: int
    unknown: int
    passed_on: int = 0

    @property
    def lost(self) -> int:
        """How many things were lost."""
        return sum(fault.lost for fault in self.faults)

    @property
    def passed(self) -> bool:
        """Whether everything is accounted for."""
        return not self.faults

    @property
    def deliveries(self) -> dict[str, dict[str, int]]:
        """Deliveries counted by channel and state."""
        counted: dict[str, dict[str, int]] = {}
        for (channel, state, _), number in sorted(self.ends.items()):
            counted.setdefault(channel, {}).setdefault(state, 0)
            counted[channel][state] += number
        return counted


@dataclass(frozen=True, slots=True)
class Row:
    """One delivery of a timeline with the notification, person and step that it belongs to."""

    accepted: Accepted
    delivery: Mapping[str, Any]
    person: Person
    leg: Leg
    kind: Kind
    item: Mapping[str, Any] | None
    """The inbox item of the same notification and user, where there is one."""

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.delivery["id"])

    @property
    def name(self) -> str:
        """How a fault speaks of it."""
        return f"{self.id} ({self.accepted.type}, {self.leg.channel} to {self.person.id})"


def stopped(row: Row, state: str, reason: str, acts: Mapping[str, str]) -> bool:
    """Whether the user's own act in the inbox rightly stopped this step (who reads has seen)."""
    act = acts.get(str(row.item["id"])) if row.item is not None else None
    return state == "skipped" and reason == row.leg.unless and act in {row.leg.unless, "read"}


def marked(row: Row) -> datetime | None:
    """When the user did what stops this step (read implies seen), by the inbox item's own times."""
    wanted = {"read": ("read_at",), "seen": ("seen_at", "read_at")}.get(row.leg.unless, ())
    item = row.item or {}
    return min((datetime.fromisoformat(item[name]) for name in wanted if item.get(name)), default=None)


def late(row: Row) -> Iterator[Fault]:
    """No call may begin after the mark that forbids it."""
    at = marked(row)
    for attempt in row.delivery.get("attempts") or ():
        if at is not None and datetime.fromisoformat(attempt["started_at"]) > at + SLACK:
            yield Fault(False, row.name, f"attempt {attempt['n']} began after the user had {row.leg.unless} it")


def unknowns(delivery: Mapping[str, Any]) -> int:
    """How many calls of a delivery were never answered."""
    outcomes = [attempt.get("outcome") for attempt in delivery.get("attempts") or ()]
    return sum(outcome is not None and outcome.get("kind") == "unknown" for outcome in outcomes)
