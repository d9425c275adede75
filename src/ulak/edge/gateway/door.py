"""How do sockets come to a node, and how does it send them away?"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, cast

from ulak.edge.gateway.connection import Connection
from ulak.edge.gateway.house import House
from ulak.edge.gateway.model import Member

log = logging.getLogger(__name__)

_STEP = 0.05


class Gateway(House):
    """The door."""

    @property
    def connections(self) -> int:
        """Open sockets, those without a user included."""
        return len(self._sockets)

    def socket(self, *_: Any, **__: Any) -> Connection:
        """A protocol for one connection; uvicorn's ``ws`` (what it says of itself is not needed)."""
        return Connection(self)

    def gauges(self) -> dict[str, float]:
        """What is counted, for metrics."""
        counters = self.counters
        return {
            "sockets": self._inside,
            "sockets_welcomed": len(self.hub),
            "sockets_opened": counters.opened,
            "sockets_refused": counters.refused,
            "sockets_frames": counters.frames,
            "sockets_told_live": self.hub.live,
            "sockets_pages_read": self.hub.reads,
            "sockets_messages_dropped": counters.dropped,
            **{f"sockets_closed_{name}": times for name, times in sorted(counters.closes.items())},
        }

    async def drain(self, seconds: float) -> None:
        """Send every client elsewhere within ``seconds``: in batches, in no order, each with its own time to come back.

        What has not closed by then is cut.
        """
        self.draining = True
        sockets = cast("set[Connection]", self._sockets)  # there are no others
        leaving: list[Member] = [*sockets, *(m for m in self.hub.members() if m not in sockets)]
        leaving.sort(key=lambda _: self.chance())
        end = self.monotonic() + seconds
        steps = max(1, int(seconds / 2 / _STEP))
        batch = -(-len(leaving) // steps)
        for start in range(0, len(leaving), max(1, batch)):
            for member in leaving[start : start + batch]:
                member.act(member.session.drain(self.chance() * self.settings.longest_retry))
            await asyncio.sleep(_STEP)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), max(0.1, end - self.monotonic()))
        if self._inside:
            log.warning("%d sockets did not close in time", self._inside)
        for socket in tuple(self._sockets):
            socket.abort()
