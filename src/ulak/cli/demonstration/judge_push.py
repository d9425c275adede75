"""Did pushes reach each device of their user, once, in his language, and nobody else?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from ulak.cli.demonstration.case import TAKEN, Fault, Row, late, stopped, unknowns
from ulak.cli.demonstration.evidence import Pushed
from ulak.cli.demonstration.people import Person
from ulak.cli.demonstration.project import Leg

_PUSH = "push"


def parts(leg: Leg, person: Person) -> int:
    """How many deliveries a step makes for a person: one for each device; without any, one that says so."""
    return max(1, len(person.devices)) if leg.channel == _PUSH else 1


def push(row: Row, pushes: Sequence[Pushed], acts: Mapping[str, str]) -> Iterator[Fault]:
    """The end of one delivery is true."""
    state, reason = str(row.delivery["state"]), str(row.delivery.get("reason") or "")
    if not row.person.devices:
        if pushes:
            yield Fault(False, row.name, "was sent to somebody without a device")
        if (state, reason) != ("skipped", "no_address") and not stopped(row, state, reason, acts):
            yield Fault(False, row.name, f"is {state} ({reason}), and there is no device")
        return
    if state in TAKEN and not pushes:
        yield Fault(True, row.name, f"is {state} and no push service ever saw it")
    yield from late(row)
    if state not in TAKEN and not stopped(row, state, reason, acts):
        yield Fault(True, row.name, f"ended {state} ({reason}); nothing stood in its way")


def shown(arrived: Mapping[str, Sequence[Pushed]], rows: Sequence[Row]) -> Iterator[Fault]:
    """Every push that arrived is one of ours, on a device of the right person, and not once too often."""
    known = {row.id: row for row in rows if row.leg.channel == _PUSH}
    taken: dict[tuple[str, str], list[str]] = defaultdict(list)
    for delivery, pushes in arrived.items():
        row = known.get(delivery)
        if row is None:
            yield Fault(False, delivery or "a push without our id", "arrived and belongs to no delivery")
            continue
        taken[row.accepted.id, row.person.id].append(pushes[0].device)
        for one in pushes:
            yield from _one(one, row, pushes[0].device)
        if len(pushes) - 1 > unknowns(row.delivery):
            left = unknowns(row.delivery)
            yield Fault(False, row.name, f"arrived {len(pushes)} times with {left} calls left unanswered")
    for (notification, user), devices in taken.items():
        if len(set(devices)) < len(devices):
            yield Fault(False, notification, f"went to one device of {user} in several deliveries")


def _one(one: Pushed, row: Row, device: str) -> Iterator[Fault]:
    if one.device not in row.person.devices:
        yield Fault(False, row.name, f"went to {one.device}, which is another's")
    if one.device != device:
        yield Fault(False, row.name, f"went to {device}, then to {one.device}")
    if one.notification != row.accepted.id:
        yield Fault(False, row.name, f"tells the app of {one.notification or 'no notification'}")
    if one.spoken != row.person.language:
        yield Fault(
            False, row.name, f"is written in {one.spoken or 'no language of ours'}; {row.person.language} was due"
        )
    if not one.title.strip():
        yield Fault(False, row.name, "has no title")
