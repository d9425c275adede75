"""Does each request end exactly once, and truly, whatever schedule of failures the server follows?

The server notes what it did with each arrival: taken (it acted on it), or given back (refused, or above the last stream
of a GOAWAY), which is a promise that it did not. Whatever comes in between, nothing that was taken may be sent again,
and "not sent" may only be said of what was never taken.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from h2.errors import ErrorCodes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.io.outbound.h2_peer import Arrival, Peer
from tests.support import eventually
from ulak.io.outbound import tls
from ulak.io.outbound.egress import networks
from ulak.io.outbound.http2 import Http2Client, Options
from ulak.providers.contract import HttpReply, HttpRequest, Lost, Phase, Refused

ACTIONS = (
    "ok",
    "ok",
    "ok",
    "hold",
    "refuse",
    "break",
    "goaway above",
    "goaway below",
    "calm",
    "die",
    "close",
    "answer held",
)


@dataclass
class Fate:
    """A server that does the next thing of its schedule with each arrival, then answers all."""

    schedule: list[str]
    held: list[Arrival] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)

    def __call__(self, arrival: Arrival) -> None:
        self.seen[arrival.path] += 1
        action = self.schedule.pop(0) if self.schedule else "ok"
        getattr(self, "_" + action.replace(" ", "_"))(arrival)
        if not self.schedule:
            self._answer_held(None)

    def settled(self, pending: int) -> bool:
        """Whether all have ended; what is held is answered when nothing else is left."""
        if pending and len({arrival.path for arrival in self.held}) >= pending:
            self._answer_held(None)
        return not pending

    def _take(self, arrival: Arrival) -> None:
        self.taken[arrival.path] += 1

    def _ok(self, arrival: Arrival) -> None:
        self._take(arrival)
        arrival.reply(200, arrival.path.encode())

    def _hold(self, arrival: Arrival) -> None:
        self._take(arrival)
        self.held.append(arrival)

    def _refuse(self, arrival: Arrival) -> None:
        arrival.reset(ErrorCodes.REFUSED_STREAM)

    def _break(self, arrival: Arrival) -> None:
        self._take(arrival)
        arrival.reset(ErrorCodes.INTERNAL_ERROR)

    def _calm(self, arrival: Arrival) -> None:
        self._take(arrival)
        arrival.reset(ErrorCodes.ENHANCE_YOUR_CALM)

    def _goaway_above(self, arrival: Arrival) -> None:
        self._take(arrival)
        arrival.link.goaway(arrival.stream)
        arrival.reply(200, arrival.path.encode())
        self._gone(arrival, arrival.stream)

    def _goaway_below(self, arrival: Arrival) -> None:
        """All that was taken on this connection has a lower number; this one goes back."""
        arrival.link.goaway(max(0, arrival.stream - 2))
        self._gone(arrival, arrival.stream - 2)

    def _gone(self, arrival: Arrival, last: int) -> None:
        """What still comes on this connection is above the last stream: it is not looked at."""
        link = arrival.link
        hear = link._hear

        def deaf(event: object) -> None:
            if (getattr(event, "stream_id", 0) or 0) <= last:
                hear(event)  # type: ignore[arg-type]

        link._hear = deaf  # type: ignore[method-assign]

    def _die(self, arrival: Arrival) -> None:
        self._take(arrival)
        arrival.link.die()

    def _close(self, arrival: Arrival) -> None:
        self._take(arrival)
        arrival.link.h2.send_headers(arrival.stream, [(":status", "200")])
        arrival.link.flush()
        arrival.link.transport.close()

    def _answer_held(self, arrival: Arrival | None) -> None:
        if arrival is not None:
            self._ok(arrival)
        held, self.held = self.held, []
        for waiting in held:
            if not waiting.link.transport.is_closing():
                waiting.reply(200, waiting.path.encode())


async def play(schedule: list[str], streams: int, count: int) -> tuple[Fate, dict[str, HttpReply | Lost | Refused]]:
    fate = Fate(list(schedule))
    with tempfile.TemporaryDirectory() as folder:
        async with Peer(Path(folder), fate, settings={3: streams}) as peer:
            client = Http2Client(
                networks(["127.0.0.1/32"]), Options(connections=3), tls=tls.context(str(peer.ca), ("h2",))
            )
            try:
                paths = [f"/{n}" for n in range(count)]
                requests = (HttpRequest("POST", peer.url(path), (), b"{}") for path in paths)
                sends = [asyncio.create_task(client.send(request, 60.0)) for request in requests]
                await eventually(lambda: fate.settled(sum(not send.done() for send in sends)), within=50)
                results = [await send for send in sends]
            finally:
                await client.aclose()
    return fate, dict(zip(paths, results, strict=True))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from(ACTIONS), max_size=12),
    st.integers(1, 6),
    st.integers(1, 12),
)
def test_every_request_ends_once_and_what_was_taken_is_never_sent_again(
    schedule: list[str], streams: int, count: int
) -> None:
    fate, results = asyncio.run(play(schedule, streams, count))
    assert len(results) == count
    for path, result in results.items():
        assert fate.taken[path] <= 1
        assert fate.seen[path] <= 3
        if isinstance(result, HttpReply):
            assert result == HttpReply(200, {}, path.encode())
            assert fate.taken[path] == 1
        else:
            assert isinstance(result, Lost)
            if result.phase is Phase.NOT_SENT:
                assert fate.taken[path] == 0


@pytest.mark.parametrize("action", sorted(set(ACTIONS)))
def test_the_server_of_the_schedule_does_what_it_says(action: str) -> None:
    fate, results = asyncio.run(play([action], 3, 1))
    given_back = action in ("refuse", "goaway below")
    assert fate.seen["/0"] == (2 if given_back else 1)
    assert fate.taken["/0"] == 1
    assert isinstance(results["/0"], Lost) == (action in ("break", "calm", "die", "close"))
