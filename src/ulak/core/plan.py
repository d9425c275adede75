"""Who hears of a notification, on which channel, when, and why (or why not)?

``plan`` walks a type's route for one user and decides each step once: the address, the choice of the
user, suppressions, the delay. A step on push is decided for each device of the user. What may still change before a
send (cancel, seen, opt-out, expiry, devices) is checked again when the attempt row is inserted; this is the first
word, not the last.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from ulak.core import failover, suppression
from ulak.core.aftermath import STOP
from ulak.core.device import STALE, AddressKind, fits
from ulak.core.model import Account, Channel, Class, Mark, NotificationType, Step, User
from ulak.core.preferences import allowed

BUCKETS = 16
"""Lines of tenants within a lane and bulkhead."""

_NAME = 72
"""Characters of a name that a decision shows: JSON may need six bytes for each, and two stand in a kilobyte."""

_SHORT = 20
"""Of what a device is: both its words are from closed lists."""

_encode = msgspec.json.Encoder().encode


class Reachable(msgspec.Struct, frozen=True, gc=False):
    """A device of the recipient, without its address.

    ``account`` is the one that its subscription belongs to, if any; ``disabled`` says that it is in quarantine or past
    its own end; ``unseen`` is for how many seconds its app was not heard of.
    """

    id: str
    kind: AddressKind
    app: str = ""
    platform: str = ""
    account: str = ""
    disabled: bool = False
    unseen: float = 0.0


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What is known of one recipient at planning time.

    ``choices`` are (category, channel, allowed); ``suppressed`` (channel, scope, reason) of the user's
    addresses; ``known`` says that the user is stored. ``devices`` are looked up only where a route pushes.
    """

    user: User
    known: bool
    choices: Sequence[tuple[str, str, bool]] = ()
    suppressed: Sequence[tuple[str, str, str]] = ()
    devices: Sequence[Reachable] = ()


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

    @property
    def pushes(self) -> bool:
        """Whether the devices of its recipients matter."""
        steps = (step.channel for step in self.type.route)
        return any(each is Channel.PUSH and (self.only is None or each in self.only) for each in steps)


_Verdict = tuple[str, str | None, str, str, str | None]


def plan(policy: Policy, facts: Facts, ids: Iterator[UUID]) -> list[Planned]:
    """Decide every step of the route for one user, on push for each device."""
    planned: list[Planned] = []
    for position, step in enumerate(policy.type.route):
        if policy.only is not None and step.channel not in policy.only:
            continue
        devices = facts.devices if step.channel is Channel.PUSH else ()
        planned.extend(_planned(policy, facts, (position, step), one, next(ids)) for one in devices or (None,))
    return planned


def _planned(
    policy: Policy, facts: Facts, place: tuple[int, Step], device: Reachable | None, delivery: UUID
) -> Planned:
    """One step of the route (with its position), for one device where it pushes."""
    position, step = place
    state, reason, target, bulkhead, rule = _judge(policy, facts, step, device, delivery)
    settled = state in ("skipped", "suppressed")
    return Planned(
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
        decision=_decision(policy, facts, (position, bulkhead, rule), device),
    )


def _judge(policy: Policy, facts: Facts, step: Step, device: Reachable | None, delivery: UUID) -> _Verdict:
    """State, reason, target, bulkhead, and the rule that spoke."""
    target = _target(facts.user, step.channel) if device is None else device.id
    yes, row = allowed(facts.choices, policy.type.category, step.channel, policy.type.klass)
    rule = None if row is None else "/".join((row[0], row[1]))
    if not yes:
        return "skipped", "opted_out", target or "", step.channel, rule
    if step.channel is Channel.IN_APP:
        # The commit of the inbox item delivers it; only a later step needs the queue.
        return ("held" if step.after else "accepted"), None, "", "in_app/inbox", rule
    why = _unusable(policy, target, device)
    if why is not None or target is None:
        return "skipped", why, target or "", step.channel, rule
    forbidden = _suppressed(policy, facts, step.channel)
    if forbidden is not None:
        return "suppressed", forbidden[1], target, step.channel, forbidden[0]
    account = failover.first(_accounts(policy, step.channel, device), delivery, policy.avoid)
    if account is None:
        return "skipped", "no_account", target, step.channel, rule
    return ("held" if step.after else "pending"), None, target, account.bulkhead, rule


def _unusable(policy: Policy, target: str | None, device: Reachable | None) -> str | None:
    """Why nothing can be sent there, if so. What is critical is tried on a device that was long not heard of."""
    if target is None:
        return "no_address"
    if device is None:
        return None
    if device.disabled:
        return "device_disabled"
    stale = device.unseen >= STALE.total_seconds() and policy.type.klass is not Class.CRITICAL
    return "device_stale" if stale else None


def _accounts(policy: Policy, channel: Channel, device: Reachable | None) -> Sequence[Account]:
    """The accounts that can send it: all of the channel, or those that reach the device."""
    accounts = policy.accounts.get(channel, ())
    if device is None:
        return accounts
    return [each for each in accounts if fits(each, device.kind, device.app, device.account)]


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


def _decision(policy: Policy, facts: Facts, spoken: tuple[int, str, str | None], device: Reachable | None) -> str:
    """The record that lets the decision be replayed: versions and what spoke, at most 1 kB."""
    position, bulkhead, rule = spoken
    record: dict[str, object] = {"catalog": policy.catalog, "step": position, "via": bulkhead[:_NAME]}
    if device is not None:
        record["device"] = f"{device.kind}/{device.platform}"[:_SHORT]
    if rule is not None:
        record["rule"] = rule[:_NAME]
    if not facts.known:
        record["user"] = "not stored"
    return _encode(record).decode()


def bucket(tenant: int) -> int:
    """The line that a tenant stands in."""
    return tenant % BUCKETS
