"""Who hears of a notification, on which channel, when, and why (or why not)?

``plan`` walks a type's route for one user and decides each step once: the address, the choice of the
user, suppressions, the delay. What may still change before a send (cancel, seen, opt-out, expiry) is
checked again when the attempt row is inserted; this is the first word, not the last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from ulak.core import failover, suppression
from ulak.core.aftermath import STOP
from ulak.core.model import Account, Channel, Mark, NotificationType, Step, User
from ulak.core.preferences import allowed

BUCKETS = 16
"""Lines of tenants within a lane and bulkhead."""

_NAME = 75
"""Characters of a name that a decision shows: JSON may need six bytes for each, and two stand in a kilobyte."""

_encode = msgspec.json.Encoder().encode


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What is known of one recipient at planning time.

    ``choices`` are (category, channel, allowed); ``suppressed`` (channel, scope, reason) of the user's
    addresses; ``known`` says that the user is stored.
    """

    user: User
    known: bool
    choices: Sequence[tuple[str, str, bool]] = ()
    suppressed: Sequence[tuple[str, str, str]] = ()


class Planned(msgspec.Struct, frozen=True, gc=False):
    """One delivery to be inserted. ``delay`` is in seconds; ``settled`` means that it is already at its end."""

    id: UUID
    user: User
    channel: Channel
    target: str
    state: str
    reason: str | None
    lane: int
    bulkhead: str
    unless: Mark
    delay: float
    settled: bool
    decision: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What is the same for all recipients of one notification; ``avoid`` names accounts that can't send now."""

    type: NotificationType
    catalog: int
    lane: int
    accounts: Mapping[Channel, Sequence[Account]]
    only: Collection[Channel] | None = None
    avoid: Collection[str] = frozenset()

    @property
    def resend(self) -> bool:
        """Whether an unanswered send is sent again at its deadline, rather than left ``unresolved``."""
        return self.type.on_unknown != STOP

    @property
    def watched(self) -> bool:
        """Whether what the user does in the inbox can stop a later step."""
        return any(step.unless for step in self.type.route)


_Verdict = tuple[str, str | None, str, str, str | None]


def plan(policy: Policy, facts: Facts, ids: Iterator[UUID]) -> list[Planned]:
    """Decide every step of the route for one user."""
    planned = []
    for position, step in enumerate(policy.type.route):
        if policy.only is not None and step.channel not in policy.only:
            continue
        delivery = next(ids)
        state, reason, target, bulkhead, rule = _judge(policy, facts, step, delivery)
        settled = state in ("skipped", "suppressed")
        planned.append(
            Planned(
                id=delivery,
                user=facts.user,
                channel=step.channel,
                target=target,
                state=state,
                reason=reason,
                lane=policy.lane,
                bulkhead=bulkhead,
                unless=step.unless,
                delay=0.0 if settled else step.after,
                settled=settled or state == "accepted",
                decision=_decision(policy, facts, position, bulkhead, rule),
            )
        )
    return planned


def _judge(policy: Policy, facts: Facts, step: Step, delivery: UUID) -> _Verdict:
    """State, reason, target, bulkhead, and the rule that spoke."""
    target = _target(facts.user, step.channel)
    yes, row = allowed(facts.choices, policy.type.category, step.channel, policy.type.klass)
    rule = None if row is None else "/".join((row[0], row[1]))
    if not yes:
        return "skipped", "opted_out", target or "", step.channel, rule
    if step.channel is Channel.IN_APP:
        # The commit of the inbox item delivers it; only a later step needs the queue.
        return ("held" if step.after else "accepted"), None, "", "in_app/inbox", rule
    if target is None:
        return "skipped", "no_address", "", step.channel, rule
    forbidden = _suppressed(policy, facts, step.channel)
    if forbidden is not None:
        return "suppressed", forbidden[1], target, step.channel, forbidden[0]
    account = failover.first(policy.accounts.get(step.channel, ()), delivery, policy.avoid)
    if account is None:
        return "skipped", "no_account", target, step.channel, rule
    return ("held" if step.after else "pending"), None, target, account.bulkhead, rule


def _suppressed(policy: Policy, facts: Facts, channel: Channel) -> tuple[str, str] | None:
    """Scope and reason of the suppression that forbids this user's address of a channel, if one does."""
    if not facts.suppressed:
        return None
    rows = [(scope, reason) for of, scope, reason in facts.suppressed if of == channel]
    return suppression.forbidding(rows, policy.type.category, policy.type.klass)


def _target(user: User, channel: Channel) -> str | None:
    if channel is Channel.EMAIL:
        return user.email
    if channel is Channel.SMS:
        return user.phone
    return "" if channel is Channel.IN_APP else None


def _decision(policy: Policy, facts: Facts, position: int, bulkhead: str, rule: str | None) -> str:
    """The record that lets the decision be replayed: versions and what spoke, at most 1 kB."""
    record: dict[str, object] = {"catalog": policy.catalog, "step": position, "via": bulkhead[:_NAME]}
    if rule is not None:
        record["rule"] = rule[:_NAME]
    if not facts.known:
        record["user"] = "not stored"
    return _encode(record).decode()


def bucket(tenant: int) -> int:
    """The line that a tenant stands in."""
    return tenant % BUCKETS
