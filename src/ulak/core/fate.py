"""What follows for devices from what calls said of them?

Results are written in groups, and several of a group may speak of the same device: they are folded into one change of
its row. A change holds for the address and the registration that the calls saw; a newer registration wins over it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from ulak.core.device import Device, Fate
from ulak.core.outcome import Kind, Outcome

DISABLES = frozenset({Fate.DEAD, Fate.DOUBTED, Fate.STRIKE})
"""Fates that put a device into quarantine, a strike when it is one too many."""

BUSY = 60.0
"""Seconds for which a device is left alone where the service does not say how long."""

LONGEST = 86_400.0
"""The longest such wait that is believed, in seconds."""

EVIDENCE = 300
"""Characters of what is kept about a refusal."""


class Told(msgspec.Struct, frozen=True, gc=False):
    """What one call said of a device, which is as the call saw it.

    ``fate`` is None where it said nothing of the device itself; ``wait`` is in seconds; ``dead_since`` is when the
    service says that the address died; ``evidence`` is free of addresses.
    """

    device: Device
    account: str
    kind: Kind
    reason: str
    fate: Fate | None = None
    wait: float = BUSY
    dead_since: datetime | None = None
    evidence: str = ""


class Change(msgspec.Struct, frozen=True, gc=False):
    """One change of a device's row.

    ``resets`` forgets earlier strikes, then ``strikes`` are added; ``flips`` tries the other environment; ``wait`` is
    seconds to leave it alone. ``dies`` puts it into quarantine, with ``dead_since`` only if it has not registered
    after that. ``last`` says who was told so, and in which words.
    """

    tenant: int
    device: Device
    last: Told
    resets: bool
    strikes: int
    flips: bool
    wait: float | None
    dies: bool
    dead_since: datetime | None


def told(device: Device, outcome: Outcome, account: str, delivery: str) -> Told:
    """What an outcome says of its device; a success after strikes ends them. ``delivery`` goes into the evidence."""
    fate = outcome.device
    if fate is None and outcome.kind is Kind.ACCEPTED and device.strikes:
        fate = Fate.ALIVE
    wait = BUSY if outcome.wait is None else min(max(outcome.wait, 0.0), LONGEST)
    evidence = _evidence(device, outcome, delivery) if fate in DISABLES else ""
    return Told(device, account, outcome.kind, outcome.reason, fate, wait, outcome.dead_since, evidence)


def _evidence(device: Device, outcome: Outcome, delivery: str) -> str:
    """Reason, the service's words, the delivery; whatever the service repeats of the address is taken out."""
    said = outcome.detail.replace("\0", "")
    for secret in (device.address, device.p256dh, device.auth):
        said = said.replace(secret, "<address>") if secret else said
    end = f" ({delivery})"
    return f"{outcome.reason}: {said}"[: EVIDENCE - len(end)] + end


def folded(items: Iterable[tuple[int, Told]]) -> list[Change]:
    """One change for each tenant's device and registration that something was said of, in the order of their rows."""
    groups: dict[tuple[int, str, datetime, str], list[Told]] = {}
    for tenant, each in items:
        if each.fate is not None:
            device = each.device
            groups.setdefault((tenant, device.id, device.registered_at, device.address), []).append(each)
    return [_change(key[0], groups[key]) for key in sorted(groups)]


def _change(tenant: int, group: list[Told]) -> Change:
    resets, strikes = False, 0
    for each in group:
        if each.fate is Fate.ALIVE:
            resets, strikes = True, 0
        strikes += each.fate is Fate.STRIKE
    deaths = [each for each in group if each.fate in (Fate.DEAD, Fate.DOUBTED)]
    dates = [each.dead_since for each in deaths if each.dead_since is not None]
    last = next(reversed(deaths or [each for each in group if each.fate is Fate.STRIKE] or group))
    return Change(
        tenant=tenant,
        device=last.device,
        last=last,
        resets=resets,
        strikes=strikes,
        flips=any(each.fate is Fate.OTHER_ENVIRONMENT for each in group),
        wait=max((each.wait for each in group if each.fate is Fate.BUSY), default=None),
        dies=bool(deaths),
        dead_since=max(dates) if dates and len(dates) == len(deaths) else None,
    )
