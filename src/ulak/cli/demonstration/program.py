"""What will be sent in a run, to whom, under which key, and where will the node be killed?

All of it is settled by the events and the seed before the first process starts.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ulak.cli.demonstration.people import Person, cast, logins, organisations
from ulak.cli.demonstration.project import Kind

STAGES = (
    "attempt.after_reply",
    "accept.after_commit",
    "plan.before_commit",
    "attempt.after_begin",
    "accept.before_commit",
    "receipts.before_commit",
    "plan.after_commit",
    "attempt.after_finish",
    "receipts.after_commit",
)
"""Where a node can be killed, the most telling first (between SMTP's 250 and the commit)."""

WATCHERS = 2
SECURITY = "security"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: its name and payload."""

    name: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Post:
    """One request to be made, and the users that it has to reach."""

    key: str
    type: str
    body: Mapping[str, Any]
    reaches: frozenset[str]


@dataclass(frozen=True, slots=True)
class Kill:
    """One death of the node: at the ``count``-th pass of a failpoint."""

    failpoint: str
    count: int


@dataclass(frozen=True, slots=True)
class Program:
    """A whole run: who takes part, which topics there are, what is sent, where the node dies."""

    people: tuple[Person, ...]
    topics: Mapping[str, tuple[str, ...]]
    posts: tuple[Post, ...]
    kills: tuple[Kill, ...]


class BadEvents(Exception):
    """The events' file can't be used; the text names the line."""


def read_events(path: Path) -> tuple[Event, ...]:
    """Read one ``{"event": name, "payload": {…}}`` a line; raises ``BadEvents``."""
    events = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            events.append(Event(str(row["event"]), dict(row["payload"])))
        except (ValueError, KeyError, TypeError) as error:
            raise BadEvents(f'{path}, line {number}: not {{"event": …, "payload": {{…}}}} ({error})') from None
    if not events:
        raise BadEvents(f"{path} holds no events")
    return tuple(events)


def plan(
    events: Sequence[Event], kinds: Mapping[str, Kind], *, repeat: int = 1, kills: int = 0, seed: int = 0
) -> Program:
    """Lay out a run; raises ``BadEvents`` for an event that the project has no type for."""
    unknown = sorted({event.name for event in events} - set(kinds))
    if unknown:
        raise BadEvents(f"the project has no type for: {', '.join(unknown)}")
    payloads = [event.payload for event in events]
    groups = organisations(payloads)
    names = {name for payload in payloads for name in logins(payload)} - groups
    muted = sorted({kind.category for kind in kinds.values() if _mutable(kind)})
    people = cast(names, muted, seed) + _buyers(payloads)
    topics = _topics(events, groups, people, seed)
    posts = tuple(_posts(events, people, topics, repeat, seed))
    return Program(people, topics, posts, _kills(kills, len(posts), seed))


def _mutable(kind: Kind) -> bool:
    return kind.klass != "critical" and any(leg.channel == "email" for leg in kind.route)


def _buyers(payloads: Sequence[Mapping[str, Any]]) -> tuple[Person, ...]:
    """Whoever pays is no user of ours: known to one notification only, by an inline address."""
    from ulak.cli.demonstration.people import Habit

    found = sorted({name for payload in payloads if (name := _buyer(payload))})
    return tuple(
        Person(f"billing:{name}", f"billing-{name.lower()}@example.com", "tr", Habit.AWAY, inline=True)
        for name in found
    )


def _buyer(payload: Mapping[str, Any]) -> str | None:
    purchase = payload.get("marketplace_purchase")
    account = purchase.get("account") if isinstance(purchase, dict) else None
    login = account.get("login") if isinstance(account, dict) else None
    return login if isinstance(login, str) and login else None


def _topics(
    events: Sequence[Event], groups: frozenset[str], people: Sequence[Person], seed: int
) -> dict[str, tuple[str, ...]]:
    """One topic an organisation with the members that the events name (often none), and one for security."""
    known = {person.id for person in people if not person.inline}
    members: dict[str, set[str]] = {f"org:{group}": set() for group in sorted(groups)}
    for event in events:
        if event.name in {"membership", "organization", "member"}:
            topic = _topic(event.payload)
            if topic in members:
                joined = [event.payload.get("member"), (event.payload.get("membership") or {}).get("user")]
                members[topic] |= {name for name in logins(joined) if name in known}
    dice = random.Random(f"topics/{seed}")  # a repeatable run, not a secret
    guards = dice.sample(sorted(known), min(3, len(known)))
    return {name: tuple(sorted(who)) for name, who in members.items()} | {SECURITY: tuple(sorted(guards))}


def _topic(payload: Mapping[str, Any]) -> str:
    organisation = payload.get("organization")
    return f"org:{organisation['login']}" if isinstance(organisation, dict) and organisation.get("login") else ""


def _posts(
    events: Sequence[Event], people: Sequence[Person], topics: Mapping[str, tuple[str, ...]], repeat: int, seed: int
) -> Iterator[Post]:
    known = {person.id: person for person in people}
    stored = sorted(person.id for person in people if not person.inline)
    for turn in range(repeat):
        for index, event in enumerate(events):
            dice = random.Random(f"watchers/{seed}/{turn}/{index}")  # a repeatable run
            watchers = dice.sample(stored, min(WATCHERS, len(stored)))
            users = sorted({name for name in logins(event.payload) if name in known} | set(watchers))
            audience = [topic] if (topic := _topic(event.payload)) in topics else []
            if not any(name in known for name in logins(event.payload)):
                audience.append(SECURITY)  # nobody is named: whoever guards hears of it
            yield _post(f"{seed}-{turn}-{index}", event, users, audience, known, topics)


def _post(
    key: str,
    event: Event,
    users: Sequence[str],
    audience: Sequence[str],
    known: Mapping[str, Person],
    topics: Mapping[str, tuple[str, ...]],
) -> Post:
    to: list[dict[str, Any]] = [{"user": user} for user in users]
    reaches = set(users)
    for topic in audience:
        to.append({"topic": topic})
        reaches |= set(topics[topic])
    buyer = known.get(f"billing:{_buyer(event.payload)}")
    if buyer is not None:
        to.append({"user": {"id": buyer.id, "email": buyer.email, "locale": buyer.locale}})
        reaches.add(buyer.id)
    body: dict[str, Any] = {"type": event.name, "to": to, "data": event.payload}
    sender = event.payload.get("sender")
    if isinstance(sender, dict) and isinstance(sender.get("login"), str):
        body["actor"] = sender["login"]
    return Post(key, event.name, body, frozenset(reaches))


def _kills(number: int, posts: int, seed: int) -> tuple[Kill, ...]:
    """Spread ``number`` deaths over all stages: each stage once, most telling first, before any twice."""
    dice = random.Random(f"kills/{seed}")  # a repeatable run, not a secret
    share = max(1, posts // (number + 1))
    stages = [STAGES[place % len(STAGES)] for place in range(number)]
    dice.shuffle(stages)
    return tuple(Kill(stage, dice.randint(1, max(1, _deepest(stage, share)))) for stage in stages)


def _deepest(stage: str, share: int) -> int:
    """How often a stage is surely passed while ``share`` notifications go by (commits are grouped)."""
    return min(24, share // 3) if stage.startswith("attempt.") else min(12, share // 6)
