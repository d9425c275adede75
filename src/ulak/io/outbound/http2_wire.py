"""What do a connection of HTTP/2 and whoever has it know of each other and of h2?

Requests on their way, the bounds, and h2 made to fit: it writes header blocks that are ready, and hears what a peer
still answers after its GOAWAY.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.settings import SettingCodes, Settings

from ulak.io.outbound.http2_fields import ReadyBlocks
from ulak.providers.contract import HttpReply, Lost, Refused

DECODED = 65_536
"""Bytes of fields that are decoded at all; beyond, the connection ends."""
_REQUEST = [(b":method", b"POST")]
"""Handed to h2 in place of the fields, which ``ReadyBlocks`` has."""


@dataclass(frozen=True, slots=True)
class Options:
    """Bounds and paces; sizes in bytes, times in seconds.

    At most ``connections`` to an origin, each with at most ``streams`` requests, or what the peer allows if that is
    less. ``body_cap`` of an answer is kept. A connection that hears nothing for ``ping`` (for ``patience``, while
    requests wait) is asked whether it lives, and ends without an answer within ``patience``; one without requests for
    ``idle`` is closed. With ``proves``, a connection carries one request at a time until an answer proves that the peer
    has accepted our credentials.
    """

    connections: int = 8
    streams: int = 1_000
    body_cap: int = 20_000
    header_cap: int = 16_384
    ping: float = 60.0
    patience: float = 10.0
    idle: float = 600.0
    proves: Callable[[HttpReply], bool] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.body_cap < 65_535 or not 0 < self.header_cap < DECODED:
            raise ValueError("body_cap and header_cap must be below 65,535: more would need windows that grow")


@dataclass(eq=False, slots=True)
class Exchange:
    """One request on its way, and what has come of its answer."""

    block: bytes = field(repr=False)
    body: bytes = field(repr=False)
    future: asyncio.Future[HttpReply | Lost | Refused]
    tries: int = 0
    connection: Handle | None = None
    stream: int = 0
    unsent: bytes = b""
    status: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    answer: bytes = b""

    def done(self, result: HttpReply | Lost | Refused) -> None:
        """Tell whoever waits, once."""
        if not self.future.done():
            self.future.set_result(result)


class Handle(Protocol):
    """A connection, as a request knows it."""

    def drop(self, exchange: Exchange) -> None:
        """Nobody waits for this request any more."""


class House(Protocol):
    """Whoever has the connections of one origin."""

    def again(self, exchange: Exchange, why: Lost) -> None:
        """The peer did not touch this request: it may be sent elsewhere, or end with ``why``."""

    def room(self) -> None:
        """A connection may take requests, or takes no more."""

    def gone(self, connection: Any) -> None:
        """This connection is over, and its requests have been told."""


class _States(H2ConnectionStateMachine):
    """h2's states of a connection, but answers that a peer owes after its GOAWAY are heard (RFC 9113 §6.8)."""

    _transitions = H2ConnectionStateMachine._transitions | {  # noqa: SLF001 - h2 has no other way to say so
        (ConnectionState.CLIENT_OPEN, ConnectionInputs.RECV_GOAWAY): (None, ConnectionState.CLIENT_OPEN),
        (ConnectionState.IDLE, ConnectionInputs.RECV_GOAWAY): (None, ConnectionState.IDLE),
    }


class Wire(H2Connection):
    """h2's connection, with less to do for each stream and less to keep of those that are over."""

    MAX_CLOSED_STREAMS = 4_096

    def __init__(self) -> None:
        super().__init__(
            H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.state_machine = _States()
        self.blocks = ReadyBlocks()
        self.encoder = cast(Any, self.blocks)
        self.decoder.max_header_list_size = DECODED
        self.local_settings = Settings(
            client=True, initial_values={SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: DECODED}
        )

    @property
    def open_outbound_streams(self) -> int:
        """How many streams are ours; h2 would look at each of them for each request."""
        return len(self.streams)

    @property
    def overlong(self) -> bool:
        """Whether a frame has begun that is longer than we take; h2 would gather 16 MB before it says so."""
        rest = self.incoming_buffer._data  # noqa: SLF001 - h2 does not show what it has gathered
        return len(rest) >= 3 and int.from_bytes(rest[:3]) > self.max_inbound_frame_size

    def forget(self, number: int) -> None:
        """A request has ended: its stream counts no more."""
        stream = self.streams.get(number)
        if stream is not None and stream.closed:
            del self.streams[number]
            self._closed_streams[number] = stream.closed_by

    def request(self, exchange: Exchange) -> None:
        """Open a stream with a request's fields."""
        exchange.stream = self.get_next_available_stream_id()
        self.blocks.block = exchange.block
        self.send_headers(exchange.stream, _REQUEST, end_stream=not exchange.body)
