"""What does a batch of plan work become: which users, which deliveries, which inbox items?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from ulak.core.ids import external
from ulak.core.loaded import Loaded
from ulak.core.model import Account, Channel, User
from ulak.core.plan import Planned, Policy, plan
from ulak.core.project import Catalog
from ulak.core.reasons import Reason
from ulak.core.render import RenderError
from ulak.core.work import PlanWork, unpack
from ulak.io.postgres import planning
from ulak.io.postgres.planning import Write
from ulak.io.postgres.pool import Connection

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def always(account: Account) -> bool:
    """Every account can send."""
    del account
    return True


_Pair = tuple[PlanWork, "User | str"]


@dataclass(frozen=True, slots=True)
class Looks:
    """What a batch is decided by besides the database.

    ``verdicts`` says by work id what has already stopped all of it; ``full`` which lanes of which
    bulkheads take no more; ``again`` that users may have been reached by another part of the audience;
    ``usable`` which accounts can send now.
    """

    verdicts: Mapping[int, str | None]
    new_id: Callable[[], UUID]
    full: Callable[[int, str], bool]
    again: bool
    usable: Callable[[Account], bool] = always
    items: dict[tuple[int, str | None], str] = field(default_factory=dict)
    """Inbox items that are the same for all users of a locale, by work id and locale."""


async def plan_batch(
    connection: Connection, works: Sequence[PlanWork], catalogs: Mapping[tuple[int, int], Loaded], looks: Looks
) -> list[Write]:
    """Decide everything for a batch inside the caller's transaction."""
    pairs = await _recipients(connection, works, again=looks.again)
    if not pairs:
        return []
    policies = {work.id: _policy(work, catalogs[work.tenant, work.catalog].catalog, looks.usable) for work in works}
    pushes = any(policy.pushes for policy in policies.values())
    known = await planning.facts(connection, [(work.tenant, user) for work, user in pairs], devices=pushes)
    ids = iter(looks.new_id, None)
    writes: list[Write] = []
    for (work, _), facts in zip(pairs, known, strict=True):
        policy = policies[work.id]
        loaded = catalogs[work.tenant, work.catalog]
        writes.extend(_write(work, policy, planned, loaded, looks) for planned in plan(policy, facts, ids))
    return writes


async def _recipients(connection: Connection, works: Sequence[PlanWork], *, again: bool) -> list[_Pair]:
    """The users of each piece of work, without those whom another part of the audience has reached.

    A list comes first and need not look, unless its planning has failed before.
    """
    pairs: list[_Pair] = []
    shared: list[_Pair] = []
    for work in works:
        if work.audience == "list":
            (shared if again else pairs).extend((work, user) for user in unpack(work.recipients or "[]"))
        else:
            shared += [(work, user) for user in await planning.members(connection, work)]
    if shared:
        keys = [(work.tenant, work.notification, u if isinstance(u, str) else u.id) for work, u in shared]
        reached = await planning.planned_before(connection, keys)
        pairs += [pair for position, pair in enumerate(shared) if position not in reached]
    return pairs


def _policy(work: PlanWork, catalog: Catalog, usable: Callable[[Account], bool]) -> Policy:
    kind = catalog.types[work.type]
    accounts = {step.channel: catalog.accounts_for(step.channel) for step in kind.route}
    only = frozenset(Channel(c) for c in work.channels) if work.channels else None
    avoid = frozenset(each.name for group in accounts.values() if len(group) > 1 for each in group if not usable(each))
    return Policy(kind, work.catalog, work.lane, accounts, only, avoid)


def _write(work: PlanWork, policy: Policy, planned: Planned, loaded: Loaded, looks: Looks) -> Write:
    kind = policy.type
    verdict = looks.verdicts.get(work.id)
    if verdict is not None and (planned.state == "accepted" or not planned.settled):
        state, _, reason = verdict.partition(":")
        planned = msgspec.structs.replace(planned, state=state, reason=reason, delay=0.0, settled=True)
    item, final = _item(work, policy, planned, loaded, looks)
    waits = final.delay > 0 or looks.full(final.lane, final.bulkhead)
    return Write(
        work.tenant,
        work.notification,
        kind.name,
        kind.category,
        kind.klass.value,
        policy.resend,
        work.expires_at,
        final,
        waits,
        item,
    )


def _item(
    work: PlanWork, policy: Policy, planned: Planned, loaded: Loaded, looks: Looks
) -> tuple[tuple[str, bool] | None, Planned]:
    """Render the inbox item of a delivery whose commit delivers it; a template's failure settles it."""
    if planned.channel is not Channel.IN_APP or planned.state != "accepted":
        return None, planned
    try:
        content = _content(work, policy, planned.user, loaded, looks)
    except RenderError:
        return None, msgspec.structs.replace(planned, state="failed", reason=Reason.RENDER_FAILED.value)
    return (content, policy.watched), planned


def _content(work: PlanWork, policy: Policy, user: User, loaded: Loaded, looks: Looks) -> str:
    """The rendered item as JSON: once for all users of a locale where the template doesn't look at the user."""
    key = (work.id, user.locale)
    made = looks.items.get(key)
    if made is None:
        made = _encode(loaded.renderer.in_app(policy.type, user.locale, context(work, user))).decode()
        if not loaded.renderer.personal(policy.type, user.locale):
            looks.items[key] = made
    return made


def context(work: PlanWork, user: User) -> dict[str, object]:
    """What a template sees."""
    return {
        "data": _decode(work.data),
        "user": {"id": user.id, "locale": user.locale, "timezone": user.timezone},
        "notification": {"id": external("ntf", work.notification), "type": work.type},
        "actor": work.actor,
    }
