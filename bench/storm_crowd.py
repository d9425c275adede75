"""How does a crowd of users go through a storm: tokens, sockets over several nodes, and at the end the account?"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from bench.storm_fleet import Fleet, Guest
from bench.storm_judge import Seen, Verdict, judge
from bench.storm_nodes import Nodes

STILL = 20.0
"""Seconds in which nothing moves any more: then what is missing is lost."""


@dataclass(slots=True)
class Crowd:
    """``users`` with a socket each, on nodes chosen by ``fleet.pick``."""

    nodes: Nodes
    fleet: Fleet
    users: Sequence[str]

    @classmethod
    async def gather(cls, nodes: Nodes, number: int) -> Crowd:
        """Users ``u0``, ``u1``, … with tokens; they come when told to, each to a random node."""
        users = [f"u{i}" for i in range(number)]
        fleet = Fleet(lambda _: random.choice(nodes.urls()))
        fleet.add(await tokens(nodes, users))
        return cls(nodes, fleet, users)

    async def come(self, within: float = 60.0, spread: float = 0.0) -> float:
        """Everybody comes, spread over so many seconds; how long it took until all were in."""
        began = time.monotonic()
        for number, guest in enumerate(self.fleet.guests):
            guest.come(spread * number / len(self.fleet.guests))
        await self.all_in(within)
        return time.monotonic() - began

    async def all_in(self, within: float = 60.0) -> None:
        """Wait until everybody holds what there was when his connection began; raises ``TimeoutError``."""
        await until(
            lambda: self.fleet.up == len(self.users), within, lambda: f"{self.fleet.up} of {len(self.users)} in"
        )

    async def again(self, within: float = 60.0) -> None:
        """Cut every connection and have everybody resume, so that what was missed shows in its place."""
        for guest in self.fleet.guests:
            guest.up_at = 0.0
            if guest.wire is not None:
                guest.wire.abort()
        await self.recovered(within)

    async def recovered(self, within: float) -> None:
        """Wait until everybody has been welcomed since ``up_at`` was set to 0, and holds all."""
        await until(lambda: all(guest.up_at for guest in self.fleet.guests), within, lambda: "not all came again")

    async def verdict(self, accepted: Mapping[str, Sequence[str]], within: float = 60.0) -> Verdict:
        """Wait for what is still on its way, have everybody resume once more, and judge."""
        await self._arrived(accepted, within)
        await self.again(within)
        return self.judged(accepted)

    def judged(self, accepted: Mapping[str, Sequence[str]]) -> Verdict:
        """The account as it is now."""
        seen = {guest.user: Seen(guest.log, guest.items) for guest in self.fleet.guests}
        return judge(accepted, seen)

    async def _arrived(self, accepted: Mapping[str, Sequence[str]], within: float) -> None:
        """Until nothing is missing, or nothing has moved for a while."""
        end, moved, heard = time.monotonic() + within, time.monotonic(), -1
        while self.missing(accepted) and time.monotonic() < min(end, moved + STILL):
            if self.fleet.heard != heard:
                heard, moved = self.fleet.heard, time.monotonic()
            await asyncio.sleep(0.2)

    def missing(self, accepted: Mapping[str, Sequence[str]]) -> int:
        """How many items have not come yet."""
        found = 0
        for guest in self.fleet.guests:
            wanted = accepted.get(guest.user)
            if wanted:
                found += len(set(wanted).difference(guest.items.values()))
        return found

    def on(self, url: str) -> list[Guest]:
        """Those whose socket is on this node."""
        return [guest for guest in self.fleet.guests if guest.node == url and guest.wire is not None]


async def tokens(nodes: Nodes, users: Sequence[str]) -> dict[str, str]:
    """A token for each user, issued by the nodes."""
    found: dict[str, str] = {}
    line = iter(users)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {nodes.key}"}) as session:

        async def caller(url: str) -> None:
            for user in line:
                async with session.post(f"{url}/v1/users/{user}/tokens", json={"ttl": 86_400}) as answer:
                    found[user] = (await answer.json())["token"]

        await asyncio.gather(*(caller(url) for url in nodes.urls() for _ in range(8)))
    return {user: found[user] for user in users}


async def until(holds: Callable[[], bool], within: float, what: Callable[[], str]) -> None:
    """Wait until something holds; raises ``TimeoutError`` that says how far it came."""
    end = time.monotonic() + within
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {within:g} s: {what()}")
        await asyncio.sleep(0.05)
