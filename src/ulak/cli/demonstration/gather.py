"""What became of a run, asked of the node from outside once the traffic is over?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ulak.cli.client import PAGE, Client
from ulak.cli.demonstration.case import SETTLED
from ulak.cli.demonstration.drive import patiently
from ulak.cli.demonstration.evidence import Accepted, Timeline
from ulak.cli.demonstration.project import Kind

OPEN = ("pending", "held", "attempting", "retrying", "unknown")
"""States that are not settled."""

READERS = 8
PAUSE = 0.25
STILL = 60.0
"""Seconds without any progress after which waiting is given up."""


async def settle(client: Client, told: Callable[[int], None]) -> dict[str, int]:
    """Wait until no delivery is in an open state; return what is left of them when nothing moves any more.

    ``told`` is given the number of open deliveries each time that it was counted (pages are counted
    up to the first, so that a look stays cheap).
    """
    last, moved = {"": -1}, time.monotonic()
    while True:
        left = {state: number for state in OPEN if (number := await _number(client, state))}
        told(sum(left.values()))
        if not left:
            return {}
        if left != last:
            last, moved = left, time.monotonic()
        elif time.monotonic() - moved > STILL:
            return left
        await asyncio.sleep(PAUSE)


async def _number(client: Client, state: str) -> int:
    """How many deliveries are in a state, as far as one page tells."""
    answer, _ = await patiently(client, "GET", "/v1/deliveries", params={"state": state, "limit": str(PAGE)})
    return len(answer.body["items"])


async def listed(client: Client) -> list[str]:
    """The ids of all notifications that the API lists."""
    found: list[str] = []
    async for page in client.pages("/v1/notifications"):
        found += [str(row["id"]) for row in page]
    return found


async def timelines(
    client: Client,
    accepted: Sequence[Accepted],
    kinds: Mapping[str, Kind],
    told: Callable[[int], None],
    patience: float = STILL,
) -> dict[str, Timeline]:
    """Every notification's timeline, asked again where it is not whole yet.

    It is given up when nothing has moved for ``patience`` seconds; what there is by then is returned.
    """
    found: dict[str, Timeline] = {}
    open_ones = list(accepted)
    moved = time.monotonic()
    while open_ones:
        before = len(open_ones)
        await _read(client, open_ones, found)
        open_ones = [one for one in open_ones if not _whole(found.get(one.id), one, kinds)]
        told(len(accepted) - len(open_ones))
        if len(open_ones) < before:
            moved = time.monotonic()
        if time.monotonic() - moved >= patience:
            break
        if open_ones:
            await asyncio.sleep(PAUSE)
    return found


async def _read(client: Client, wanted: Sequence[Accepted], found: dict[str, Timeline]) -> None:
    line = iter(wanted)

    async def reader() -> None:
        for one in line:
            found[one.id] = await _timeline(client, one.id)

    async with asyncio.TaskGroup() as group:
        for _ in range(READERS):
            group.create_task(reader())


async def _timeline(client: Client, number: str) -> Timeline:
    params, deliveries = {"limit": str(PAGE)}, []
    while True:
        answer, _ = await patiently(client, "GET", f"/v1/notifications/{number}/timeline", params=params)
        deliveries += answer.body["deliveries"]
        if not answer.body.get("next"):
            return {**answer.body, "deliveries": deliveries}
        params["cursor"] = answer.body["next"]


def _whole(timeline: Timeline | None, accepted: Accepted, kinds: Mapping[str, Kind]) -> bool:
    """Whether a timeline holds as many deliveries as were promised, all settled."""
    if timeline is None:
        return False
    deliveries: Sequence[Mapping[str, Any]] = timeline["deliveries"]
    promised = len(accepted.reaches) * len(kinds[accepted.type].route)
    return len(deliveries) >= promised and all(delivery["state"] in SETTLED for delivery in deliveries)


async def inbox(url: str, token: str) -> list[str]:
    """The delivery ids in one user's inbox, by the user's own token."""
    found: list[str] = []
    async with Client(url, token) as own:
        since = 0
        while True:
            answer, _ = await patiently(own, "GET", "/v1/me/inbox", params={"since": str(since), "limit": str(PAGE)})
            found += [str(item["id"]) for item in answer.body["items"] if not item.get("removed")]
            if not answer.body.get("more") or int(answer.body["revision"]) <= since:
                return found
            since = int(answer.body["revision"])
