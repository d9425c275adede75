"""Which devices does a user have, and how does an app register its own?"""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ulak.core import registration
from ulak.core.device import STALE, AddressKind
from ulak.core.ids import external, new_id
from ulak.edge.api import problem, wire
from ulak.edge.api.http import Response, answer
from ulak.edge.api.query import fit_query
from ulak.edge.api.router import Call
from ulak.io.postgres.pool import Row

_ENTROPY = 10


class DeviceQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """Which app is meant, where several apps of a user have the same id of an installation."""

    app: str | None = None


async def listed(call: Call) -> Response:
    """A user's devices, at most 32; the addresses are never shown."""
    rows = await call.deps.devices.of_user(call.tenant, call.params["user"])
    return answer(wire.DeviceList([_shown(row, call.now) for row in rows]))


async def get(call: Call) -> Response:
    """One device; where several apps use its id and none is named, the one heard of last."""
    q: DeviceQuery = call.query
    app = fit_query("app", q.app)
    rows = await call.deps.devices.of_user(call.tenant, call.params["user"], call.params["device"], app)
    if not rows:
        raise problem.not_found("device")
    return answer(_shown(rows[0], call.now))


async def put(call: Call) -> Response:
    """Say that the user's device has this address and lives; to be repeated at each start of the app.

    An address that another user registered moves to this one. The device comes out of quarantine.
    """
    return answer(await _register(call, call.params["user"]))


async def remove(call: Call) -> Response:
    """From the answer on nothing is sent to it. Without `app`, every app's device of this id is logged out."""
    return await _remove(call, call.params["user"])


async def own(call: Call) -> Response:
    """The user's devices, and the keys that a browser can subscribe with."""
    rows = await call.deps.devices.of_user(call.tenant, call.user)
    servers = call.deps.application_servers(call.tenant)
    keys = [wire.ApplicationServerAnswer(server.account, server.key, server.apps) for server in servers]
    return answer(wire.OwnDevices([_shown(row, call.now, own=True) for row in rows], keys))


async def put_device(call: Call) -> Response:
    """Say that this device has this address and lives; to be repeated at each start of the app.

    An address that another user registered moves to this one. The device comes out of quarantine.
    """
    return answer(await _register(call, call.user, own=True))


async def remove_device(call: Call) -> Response:
    """From the answer on nothing is sent to it. Without `app`, every app's device of this id is logged out."""
    return await _remove(call, call.user)


async def _register(call: Call, user: str, *, own: bool = False) -> wire.DeviceAnswer:
    servers = call.deps.application_servers(call.tenant)
    wanted = registration.read(call.body, registration.Place(user, call.params["device"]), servers, call.now)
    fresh = external("dev", new_id(int(call.now.timestamp() * 1000), call.deps.entropy(_ENTROPY)))
    return _shown(await call.deps.devices.register(call.tenant, wanted, fresh), call.now, own=own)


async def _remove(call: Call, user: str) -> Response:
    q: DeviceQuery = call.query
    if not await call.deps.devices.remove(call.tenant, user, call.params["device"], fit_query("app", q.app)):
        raise problem.not_found("device")
    return Response(204)


def _shown(row: Row, now: datetime, *, own: bool = False) -> wire.DeviceAnswer:
    """A device as it may be seen; an end user is not shown what a service said to our account."""
    disabled = _disabled(row, now, own=own)
    stale = now - row["seen_at"] > STALE
    return wire.DeviceAnswer(
        device=row["name"],
        id=row["id"],
        kind=row["kind"],
        app=row["app"] or None,
        platform=row["platform"],
        environment=row["environment"] if row["kind"] == AddressKind.APNS else None,
        app_version=row["app_version"] or None,
        model=row["model"] or None,
        state="disabled" if disabled is not None else "stale" if stale else "active",
        disabled=disabled,
        address_hash=row["short"].hex(),
        created_at=row["created_at"],
        registered_at=row["registered_at"],
        seen_at=row["seen_at"],
        expires_at=row["expires_at"],
    )


def _disabled(row: Row, now: datetime, *, own: bool) -> wire.DisabledAnswer | None:
    if row["disabled_at"] is not None:
        told = (None, None) if own else (row["disabled_by"], row["evidence"])
        return wire.DisabledAnswer(row["disabled_why"] or "disabled", row["disabled_at"], *told)
    if row["expires_at"] is not None and row["expires_at"] <= now:
        return wire.DisabledAnswer("subscription_expired", row["expires_at"], None, None)
    return None
