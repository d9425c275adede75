"""Which nodes hold a user, or listeners of a topic?

Valkey keeps a hash for each such place, with a field for each node that holds it, and a lease for each node.
A field counts only while its node's lease stands; whoever looks up a place removes the fields of nodes
without one, in the same script, so that no node that comes back in that moment is removed.

A lease says ``1`` when all places of its node are in the hashes, ``0`` while they are being entered. A node
whose lease has gone (Valkey restarted, was flushed, or the node stood still too long) enters all of them
again. Entries expire by themselves unless their node renews them on a slow walk, which also mends what
Valkey evicted.

One Valkey primary is meant, not a cluster: scripts build the keys of leases.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from redis.asyncio import Redis

from ulak.io.bus import Kind, Place
from ulak.io.valkey.link import Pace

_CHUNK = 1_000
_MOST_CHANGES = 100_000
_LEASE = "ulak:lease:"

# KEYS places, ARGV boot and seconds: this node holds them. What is no hash is not ours, and would stand in the way of
# everything else for ever.
_HOLD = """
for _, place in ipairs(KEYS) do
    local kind = redis.call('TYPE', place).ok
    if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', place) end
    redis.call('HSET', place, ARGV[1], '')
    redis.call('EXPIRE', place, ARGV[2])
end
"""

# KEYS places, ARGV boot: it holds them no more.
_DROP = """
for _, place in ipairs(KEYS) do redis.pcall('HDEL', place, ARGV[1]) end
"""

# KEYS places, ARGV the prefix of leases and boots that live: the boots that hold each place, and those of the
# living that have not entered all their places. What is no hash, or names no boot, holds nothing.
_FIND = """
local lease, found, unsure = {}, {}, {}
local function leased(boot)
    if lease[boot] == nil then
        local found = string.match(boot, '^%d+$') and redis.pcall('GET', ARGV[1] .. boot)
        lease[boot] = type(found) == 'string' and found or ''
    end
    return lease[boot]
end
for i, place in ipairs(KEYS) do
    local here = {}
    for _, boot in ipairs(redis.pcall('HKEYS', place)) do
        if leased(boot) == '' then redis.call('HDEL', place, boot) else here[#here + 1] = boot end
    end
    found[i] = here
end
for i = 2, #ARGV do
    if leased(ARGV[i]) ~= '1' then unsure[#unsure + 1] = ARGV[i] end
end
return {found, unsure}
"""


def _key(place: Place) -> bytes:
    kind, tenant, name = place
    return f"ulak:{kind}:{tenant}:{name}".encode("utf-8", "replace")


def _lease(boot: int) -> str:
    return f"{_LEASE}{boot}"


class Directory:
    """The places of one node, and what is still to be written of them. Used by one task at a time."""

    def __init__(self, boot: int, pace: Pace) -> None:
        self._boot = boot
        self._pace = pace
        self._held: dict[Place, None] = {}
        self._changes: dict[Place, bool] = {}
        self._leased = False
        self._overflowed = False
        self._walk: Iterator[Place] = iter(())
        self._step = 0
        self.lookups = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def changed(self) -> bool:
        """Whether something is to be written."""
        return bool(self._changes)

    def hold(self, kind: Kind, tenant: int, name: str) -> None:
        """This node holds the place, soon."""
        place = (kind, tenant, name)
        self._held[place] = None
        self._change(place, holds=True)

    def drop(self, kind: Kind, tenant: int, name: str) -> None:
        """It holds it no more, soon."""
        place = (kind, tenant, name)
        self._held.pop(place, None)
        self._change(place, holds=False)

    def _change(self, place: Place, *, holds: bool) -> None:
        if len(self._changes) >= _MOST_CHANGES:  # Valkey has been away for long: better to enter all anew
            self._changes.clear()
            self._overflowed = True
        self._changes[place] = holds

    # ------------------------------------------------------------------------------------ its own places

    async def flush(self, client: Redis) -> list[Place]:
        """Write the changes; returns the places that others know from now on. Raises ``link.ERRORS``."""
        if not self._leased or self._overflowed:
            return []  # ``renew`` is to enter everything
        changes, self._changes = self._changes, {}
        try:
            await self._enter(client, held := [place for place, holds in changes.items() if holds])
            await self._remove(client, (place for place, holds in changes.items() if not holds))
        except BaseException:
            self._changes = changes | self._changes
            raise
        return held

    async def renew(self, client: Redis) -> bool:
        """Renew the lease, and some entries. True when all had to be entered anew. Raises ``link.ERRORS``."""
        lease = _lease(self._boot)
        if self._leased and not self._overflowed and await client.set(lease, "1", ex=self._pace.lease, xx=True):
            await self._walk_on(client)
            return False
        self._leased = self._overflowed = False
        await client.set(lease, "0", ex=self._pace.lease)
        changes, self._changes = self._changes, {}
        gone = (place for place, holds in changes.items() if not holds)
        try:
            await self._remove(client, gone)
            await self._enter(client, list(self._held), lease)
        except BaseException:
            self._changes = changes | self._changes
            raise
        await client.set(lease, "1", ex=self._pace.lease)
        self._leased = True
        self._walk, self._step = iter(()), 0
        return True

    async def leave(self, client: Redis) -> None:
        """Give up the lease: from now on no entry of this node counts. Raises ``link.ERRORS``."""
        self._leased = False
        await client.delete(_lease(self._boot))

    async def _enter(self, client: Redis, places: Iterable[Place], lease: str | None = None) -> None:
        script = client.register_script(_HOLD)
        for keys in _chunks(places):
            await script(keys, [self._boot, self._pace.entry])
            if lease is not None:  # many places take a while
                await client.expire(lease, self._pace.lease)

    async def _remove(self, client: Redis, places: Iterable[Place]) -> None:
        script = client.register_script(_DROP)
        for keys in _chunks(places):
            await script(keys, [self._boot])

    async def _walk_on(self, client: Redis) -> None:
        """Renew as many entries as are due in one beat."""
        some = list(islice(self._walk, self._step))
        if some:
            await self._enter(client, (place for place in some if place in self._held))
        else:
            self._walk = iter(list(self._held))
            self._step = math.ceil(len(self._held) * self._pace.beat / self._pace.walk)

    # ------------------------------------------------------------------------------------ everybody's places

    async def find(
        self, client: Redis, places: Sequence[Place], alive: Sequence[int] = ()
    ) -> tuple[Mapping[Place, Sequence[int]], Sequence[int]]:
        """Which nodes hold each place, this one left out; and which of ``alive`` may hold more than is entered.

        Raises ``link.ERRORS``.
        """
        script = client.register_script(_FIND)
        holders: dict[Place, Sequence[int]] = {}
        unsure: Sequence[bytes] = ()
        for start in range(0, max(1, len(places)), _CHUNK):
            chunk = places[start : start + _CHUNK]
            found, unsure = await script([_key(place) for place in chunk], [_LEASE, *alive])
            self.lookups += 1
            for place, boots in zip(chunk, found, strict=True):
                holders[place] = [boot for boot in map(int, boots) if boot != self._boot]
        return holders, [int(boot) for boot in unsure]


def _chunks(places: Iterable[Place]) -> Iterator[list[bytes]]:
    keys = map(_key, places)
    while chunk := list(islice(keys, _CHUNK)):
        yield chunk
