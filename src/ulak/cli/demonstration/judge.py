"""Is every accepted notification of a run accounted for, by what was seen from outside?

Pure: it gets the evidence, the cast and the project's own words, and returns a verdict. Two kinds of
fault: something is *lost* (not told, not settled, not where it must have arrived), or something is
*wrong* (told twice, to somebody else, in another language, after a no, with a hole in the revisions).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ulak.cli.demonstration.case import SETTLED, TAKEN, Fault, Row, Verdict, late, stopped, unknowns
from ulak.cli.demonstration.evidence import Accepted, Evidence, Mail, Pushed, SocketLog
from ulak.cli.demonstration.judge_push import parts, push, shown
from ulak.cli.demonstration.people import Person
from ulak.cli.demonstration.project import Kind


@dataclass(frozen=True, slots=True)
class _Seen:
    """What arrived where: mails and pushes by delivery, items by user, and what users did with which item."""

    mails: Mapping[str, Sequence[Mail]]
    pushes: Mapping[str, Sequence[Pushed]]
    items: Mapping[str, frozenset[str]]
    acts: Mapping[str, str]


def judge(evidence: Evidence, people: Sequence[Person], kinds: Mapping[str, Kind]) -> Verdict:
    """Weigh a run."""
    cast = {person.id: person for person in people}
    faults: list[Fault] = list(_accepts(evidence))
    rows: list[Row] = []
    for accepted in evidence.accepted:
        found, missing = _rows(accepted, evidence, cast, kinds)
        rows += found
        faults += missing
    copies: dict[str, list[Mail]] = defaultdict(list)
    for mail in evidence.mails:
        copies[mail.delivery].append(mail)
    arrived: dict[str, list[Pushed]] = defaultdict(list)
    for one in evidence.pushes:
        arrived[one.delivery].append(one)
    acts = {item: act for log in evidence.sockets for item, act in log.acted.items()}
    seen = _Seen(copies, arrived, _received(evidence), acts)
    for row in rows:
        faults += _settled(row, seen)
    faults += _mails(copies, rows)
    faults += shown(arrived, rows)
    for log in evidence.sockets:
        faults += revisions(log)
    duplicates = sum(len(mails) - 1 for mails in copies.values()) + sum(len(some) - 1 for some in arrived.values())
    unknown = sum(unknowns(row.delivery) > 0 for row in rows)
    if duplicates > unknown:
        faults.append(
            Fault(False, "the run", f"{duplicates} duplicates, and {unknown} deliveries with an unknown call")
        )
    return Verdict(
        accepted=len(evidence.accepted),
        ends=Counter(
            (row.leg.channel, str(row.delivery["state"]), str(row.delivery.get("reason") or "")) for row in rows
        ),
        faults=tuple(faults),
        duplicates=duplicates,
        unknown=unknown,
        passed_on=sum(_passed_on(row.delivery) for row in rows),
    )


def _passed_on(delivery: Mapping[str, Any]) -> int:
    outcomes = (attempt.get("outcome") or {} for attempt in delivery.get("attempts") or ())
    return sum(outcome.get("next_account") is not None for outcome in outcomes)


def _accepts(evidence: Evidence) -> Iterator[Fault]:
    """Each key made one notification, and nothing is listed that nobody was told of."""
    told = Counter(accepted.id for accepted in evidence.accepted)
    for number in (key for key, count in told.items() if count > 1):
        yield Fault(False, number, "two keys were answered with the same notification")
    for accepted in evidence.accepted:
        if accepted.problems:
            yield Fault(False, accepted.id, f"{accepted.problems} usable recipients were called unusable")
    for stranger in sorted(set(evidence.listed) - set(told)):
        yield Fault(False, stranger, "exists, but no request was answered with it: a retry was taken twice")
    for missing in sorted(set(told) - set(evidence.listed)):
        yield Fault(True, missing, "was accepted and is not in the list of notifications")


def _rows(
    accepted: Accepted, evidence: Evidence, cast: Mapping[str, Person], kinds: Mapping[str, Kind]
) -> tuple[list[Row], list[Fault]]:
    """Match a timeline with what was promised: each recipient, each step, once."""
    timeline = evidence.timelines.get(accepted.id)
    if timeline is None:
        return [], [Fault(True, accepted.id, "was accepted and has no timeline")]
    kind = kinds[accepted.type]
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for delivery in timeline["deliveries"]:
        found[str(delivery["user"]), str(delivery["channel"])].append(delivery)
    items = {str(other["user"]): other for other in timeline["deliveries"] if other["channel"] == "in_app"}
    rows, faults = [], []
    for user in sorted(accepted.reaches):
        for leg in kind.route:
            mine = found.pop((user, leg.channel), [])
            due = parts(leg, cast[user])
            if len(mine) < due:
                what = f"only {len(mine)} of {due} devices were" if mine else "nothing was"
                faults.append(Fault(True, accepted.id, f"{what} planned for {user} on {leg.channel}"))
            faults += [Fault(False, str(one["id"]), f"planned twice for {user} on {leg.channel}") for one in mine[due:]]
            rows += [Row(accepted, delivery, cast[user], leg, kind, items.get(user)) for delivery in mine]
    for (user, channel), strays in found.items():
        faults += [Fault(False, str(stray["id"]), f"{user} on {channel} was not asked for") for stray in strays]
    return rows, faults


def _received(evidence: Evidence) -> Mapping[str, frozenset[str]]:
    """Delivery ids that each user has really got, by socket or in the inbox."""
    got = {log.user: frozenset(item[0] for frame in log.frames for item in frame.items) for log in evidence.sockets}
    return got | {user: frozenset(ids) for user, ids in evidence.inboxes.items()}


def _settled(row: Row, seen: _Seen) -> Iterator[Fault]:
    """A delivery has an end, and the end is true."""
    state, reason = str(row.delivery["state"]), str(row.delivery.get("reason") or "")
    if state not in SETTLED:
        yield Fault(True, row.name, f"is not settled: {state} {reason}".rstrip())
        return
    if state not in TAKEN and not reason:
        yield Fault(False, row.name, f"ended {state} without a reason")
    if row.leg.channel == "in_app":
        yield from _inbox(row, state, reason, seen.items)
    elif row.leg.channel == "email":
        yield from _email(row, state, reason, seen)
    elif row.leg.channel == "push":
        yield from push(row, seen.pushes.get(row.id, ()), seen.acts)


def _inbox(row: Row, state: str, reason: str, received: Mapping[str, frozenset[str]]) -> Iterator[Fault]:
    if state not in TAKEN:
        yield Fault(True, row.name, f"ended {state} ({reason}); nothing stood in its way")
    elif row.id not in received.get(row.person.id, frozenset()):
        yield Fault(True, row.name, f"is {state} and never came to the user")


def _email(row: Row, state: str, reason: str, seen: _Seen) -> Iterator[Fault]:
    mails = seen.mails.get(row.id, ())
    if state in TAKEN and not mails:
        yield Fault(True, row.name, f"is {state} and the SMTP peer never saw it")
    forbidden = _forbidden(row.person, row.kind)
    if forbidden:
        expected_state, word = forbidden
        if mails:
            yield Fault(False, row.name, f"was sent although it was {word}")
        if state != expected_state and not stopped(row, state, reason, seen.acts):
            yield Fault(False, row.name, f"is {state} ({reason}) although it was {word}")
        return
    yield from late(row)
    if state in TAKEN or stopped(row, state, reason, seen.acts):
        return
    if state == "unresolved" and row.kind.klass == "marketing" and unknowns(row.delivery):
        return
    yield Fault(True, row.name, f"ended {state} ({reason}); nothing stood in its way")


def _forbidden(person: Person, kind: Kind) -> tuple[str, str] | None:
    """Why this person must get no email of this kind: the state that says so, and a word for it."""
    if kind.category in person.muted:
        return "skipped", "opted out of"
    if person.email is None:
        return "skipped", "without an address"
    return ("suppressed", "suppressed") if person.suppressed else None


def _mails(copies: Mapping[str, Sequence[Mail]], rows: Sequence[Row]) -> Iterator[Fault]:
    """Every message that arrived is one of ours, to the right address, in the right language, not once too often."""
    known = {row.id: row for row in rows if row.leg.channel == "email"}
    for delivery, mails in copies.items():
        row = known.get(delivery)
        if row is None:
            yield Fault(False, delivery or "a message without our id", "arrived and belongs to no delivery")
            continue
        for mail in mails:
            yield from _mail(mail, row)
        if len(mails) - 1 > unknowns(row.delivery):
            yield Fault(
                False, row.name, f"arrived {len(mails)} times with {unknowns(row.delivery)} calls left unanswered"
            )


def _mail(mail: Mail, row: Row) -> Iterator[Fault]:
    address = row.person.email
    if mail.envelope_to != address or mail.header_to != address:
        yield Fault(False, row.name, f"went to {mail.envelope_to} (To: {mail.header_to}) instead of {address}")
    wanted = row.person.language
    if mail.language.partition("-")[0] != wanted:
        yield Fault(False, row.name, f"calls its language {mail.language or 'nothing'}; {wanted} was due")
    if mail.spoken != wanted:
        yield Fault(False, row.name, f"is written in {mail.spoken or 'no language of ours'}; {wanted} was due")
    if mail.defects:
        yield Fault(False, row.name, f"is malformed: {', '.join(mail.defects)}")
    if not mail.subject.strip():
        yield Fault(False, row.name, "has no subject")
    attempts = {f"att_{row.id.removeprefix('dlv_')}_{attempt['n']}" for attempt in row.delivery.get("attempts") or ()}
    if mail.attempt not in attempts:
        yield Fault(False, row.name, f"arrived as {mail.attempt or 'no attempt'}, which its timeline does not hold")


def revisions(log: SocketLog) -> Iterator[Fault]:
    """A user's frames form one chain of revisions over all connections: no hole, nothing twice."""
    at = 0
    seen: set[tuple[str, int]] = set()
    for frame in log.frames:
        if frame.fresh:
            if at:
                yield Fault(False, f"socket of {log.user}", f"was sent back to the beginning from revision {at}")
            at, seen = 0, set()
        if frame.prev != at:
            what = "a hole" if frame.prev > at else "a step back"
            yield Fault(
                frame.prev > at, f"socket of {log.user}", f"{what} in the revisions: {at} was followed by {frame.prev}"
            )
        for item, revision in frame.items:
            if (item, revision) in seen:
                yield Fault(False, f"socket of {log.user}", f"{item} came twice at revision {revision}")
            seen.add((item, revision))
        at = frame.revision
    yield from (Fault(False, f"socket of {log.user}", text) for text in log.complaints)
