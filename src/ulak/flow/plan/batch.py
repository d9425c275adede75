"""What does a batch of plan work become: which users, which deliveries, which inbox items?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import msgspec

from ulak.core.ids import external
from ulak.core.loaded import Loaded
from ulak.core.model import Channel, User
from ulak.core.plan import Facts, Planned, Policy, plan
from ulak.core.project import Catalog
from ulak.core.reasons import Reason
from ulak.core.render import RenderError
from ulak.core.work import PlanWork, unpack
from ulak.io.postgres import planning
from ulak.io.postgres.planning import Write
from ulak.io.postgres.pool import Connection

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


_Pair = tuple[PlanWork, "User | str"]


async def plan_batch(
    connection: Connection,
    works: Sequence[PlanWork],
    catalogs: Mapping[tuple[int, int], Loaded],
    new_id: Callable[[], UUID],
    full: Callable[[int, str], bool],
) -> list[Write]:
    """Decide everything for a batch inside the caller's transaction."""
    pairs = await _recipients(connection, works)
    if not pairs:
        return []
    known = await planning.facts(connection, [(work.tenant, user) for work, user in pairs])
    ids = iter(new_id, None)
    policies = {work.id: _policy(work, catalogs[work.tenant, work.catalog].catalog) for work in works}
    writes: list[Write] = []
    for (work, _), facts in zip(pairs, known, strict=True):
        loaded = catalogs[work.tenant, work.catalog]
        writes.extend(_writes(work, policies[work.id], facts, loaded, ids, full))
    return writes


async def _recipients(connection: Connection, works: Sequence[PlanWork]) -> list[_Pair]:
    """The users of each piece of work, without those whom another part of the audience has reached."""
    pairs: list[_Pair] = []
    shared: list[_Pair] = []
    for work in works:
        if work.audience == "list":
            pairs += [(work, user) for user in unpack(work.recipients or "[]")]
        else:
            shared += [(work, user) for user in await planning.members(connection, work)]
    if shared:
        keys = [(work.tenant, work.notification, str(user)) for work, user in shared]
        reached = await planning.planned_before(connection, keys)
        pairs += [pair for position, pair in enumerate(shared) if position not in reached]
    return pairs


def _policy(work: PlanWork, catalog: Catalog) -> Policy:
    kind = catalog.types[work.type]
    accounts = {step.channel: catalog.accounts_for(step.channel) for step in kind.route}
    only = frozenset(Channel(c) for c in work.channels) if work.channels else None
    return Policy(kind, work.catalog, work.lane, accounts, only)


def _writes(
    work: PlanWork,
    policy: Policy,
    facts: Facts,
    loaded: Loaded,
    ids: Iterator[UUID],
    full: Callable[[int, str], bool],
) -> Iterator[Write]:
    kind = policy.type
    for planned in plan(policy, facts, ids):
        item, final = _item(work, policy, planned, loaded)
        waits = final.delay > 0 or full(final.lane, final.bulkhead)
        yield Write(
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


def _item(work: PlanWork, policy: Policy, planned: Planned, loaded: Loaded) -> tuple[tuple[str, bool] | None, Planned]:
    """Render the inbox item of a delivery whose commit delivers it; a template's failure settles it."""
    if planned.channel is not Channel.IN_APP or planned.state != "accepted":
        return None, planned
    try:
        content = loaded.renderer.in_app(policy.type, planned.user.locale, context(work, planned.user))
    except RenderError:
        return None, replace(planned, state="failed", reason=Reason.RENDER_FAILED.value)
    return (_encode(content).decode(), policy.watched), planned


def context(work: PlanWork, user: User) -> dict[str, object]:
    """What a template sees."""
    return {
        "data": _decode(work.data),
        "user": {"id": user.id, "locale": user.locale},
        "notification": {"id": external("ntf", work.notification), "type": work.type},
        "actor": work.actor,
    }
