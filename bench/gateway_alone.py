"""What does the gateway itself take, with inboxes that are only counters in this process?

``python -m bench.gateway_alone DATABASE USERS``: the doors as every node has them (port, socket protocol, tokens,
limits, hub, acks, metrics), but pages come from memory, and no worker polls for deliveries. A line ``targeted N`` on
standard input makes news for N random users, each with an item of its own that is encoded for it, as the planner hands
them over.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from bench.gateway_servers import MARK
from ulak import doors
from ulak.cli.serve import address, listen
from ulak.core.inbox import News, Page
from ulak.settings import Settings

EPOCH = "bench"
TEXT = "x" * 104
_ORIGIN = {
    "type": "note",
    "notification": "ntf_01a203f27792792cb30a5444f396ea36",
    "created_at": "2026-01-01T00:00:00.000Z",
    "seen_at": None,
    "read_at": None,
    "archived_at": None,
}


class Memory:
    """In the place of the receipts stage: each inbox is the number of its newest revision."""

    tops: dict[tuple[int, str], int]

    def __init__(self, *_: Any) -> None:
        self.tops = {}

    async def epoch(self) -> str:
        """It never changes."""
        return EPOCH

    async def page(self, tenant: int, user: str, since: int, limit: int) -> Page:
        """An inbox whose items are not kept."""
        del limit
        top = self.tops.get((tenant, user), 0)
        return Page(since, top, 0, top, top, EPOCH, (), more=False)

    async def pages(self, asked: Sequence[tuple[int, str, int]], limit: int) -> list[Page]:
        """The same for many."""
        return [await self.page(tenant, user, since, limit) for tenant, user, since in asked]

    async def moved(self, known: Sequence[tuple[int, str, int]]) -> list[tuple[int, str, int]]:
        """Those with another newest revision."""
        return [(t, u, top) for t, u, revision in known if (top := self.tops.get((t, u), 0)) != revision]

    async def acked(self, acks: Sequence[Any]) -> int:
        """Believe it."""
        return len(acks)

    async def change(self, *_: Any, **__: Any) -> int:
        """There is nothing to mark."""
        return 0


class BenchDoors(doors.Doors):
    """The doors, which also take commands from standard input."""

    def start(self) -> None:
        """As always, and listen to commands."""
        super().start()
        self._commands = asyncio.create_task(self._obey())

    async def _obey(self) -> None:
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        users = [f"u{i}" for i in range(int(sys.argv[2]))]
        while line := await lines.readline():
            for _ in range(int(line.split()[1])):
                self._news(random.choice(users))
                await asyncio.sleep(0)

    def _news(self, user: str) -> None:
        """What a commit with one new item for this user says."""
        tops = self.store.tops
        revision = tops[0, user] = tops.get((0, user), 0) + 1
        item = {
            "id": f"dlv_{revision:032x}",
            "revision": revision,
            **_ORIGIN,
            "title": f"{MARK} {revision}",
            "body": TEXT,
        }
        text = msgspec.json.encode(item).decode()
        self._node.hint([News(0, user, revision, text, revision, revision, EPOCH)])

    @property
    def store(self) -> Memory:
        """The inboxes."""
        store = self.hub._store
        assert isinstance(store, Memory)
        return store


def main() -> None:
    """Run until killed."""
    setattr(doors, "Receipts", Memory)  # noqa: B010  # another class than the wiring's own
    setattr(doors, "Doors", BenchDoors)  # noqa: B010
    own = {"ULAK_DATABASE_URL": sys.argv[1], "ULAK_PORT": "0", "ULAK_ROLES": "api,gateway"}
    wanted = Settings.read({**os.environ, **own})
    listener = listen(wanted)
    doors.run(wanted, listener, None, lambda: print(json.dumps({"url": address(listener)}), flush=True))


if __name__ == "__main__":
    main()
