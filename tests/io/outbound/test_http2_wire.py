"""Does h2 still have the inner parts that ``http2_wire`` bends?

Its names with an underscore, and what it asks of a connection without saying so, may change in any minor version. So
``pyproject.toml`` pins one; whoever raises the pin reads here which part went away.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NoReturn

import pytest
from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.events import RequestReceived, ResponseReceived
from h2.exceptions import ProtocolError, TooManyStreamsError
from h2.settings import SettingCodes
from h2.stream import H2Stream
from hyperframe.frame import DataFrame, GoAwayFrame, PushPromiseFrame

from ulak.io.outbound.http2_fields import Fields
from ulak.io.outbound.http2_wire import Exchange, Wire
from ulak.providers.contract import HttpRequest

AUTHORITY = b"push.example"


def server() -> H2Connection:
    return H2Connection(H2Configuration(client_side=False, header_encoding=None))


def ask(wire: Wire, path: str = "/") -> Exchange:
    block = Fields().block(HttpRequest("POST", f"https://push.example{path}"), AUTHORITY, path)
    assert isinstance(block, bytes)
    exchange = Exchange(block, b"", None)  # type: ignore[arg-type]  # nobody waits for it
    wire.request(exchange)
    return exchange


def greeted(kind: type[Wire] = Wire) -> tuple[Wire, H2Connection]:
    wire, peer = kind(), server()
    wire.initiate_connection()
    peer.initiate_connection()
    peer.receive_data(wire.data_to_send())
    wire.receive_data(peer.data_to_send())
    peer.receive_data(wire.data_to_send())
    wire.receive_data(peer.data_to_send())
    return wire, peer


def test_the_table_of_states_has_the_lines_that_we_replace() -> None:
    transitions = H2ConnectionStateMachine._transitions
    for state in (ConnectionState.CLIENT_OPEN, ConnectionState.IDLE):
        assert transitions[state, ConnectionInputs.RECV_GOAWAY] == (None, ConnectionState.CLOSED)
    assert isinstance(H2Connection(H2Configuration()).state_machine, H2ConnectionStateMachine)


def test_what_a_peer_owes_after_its_goaway_is_heard() -> None:
    wire, peer = greeted()
    exchange = ask(wire)
    wire_said = wire.data_to_send()
    wire.receive_data(GoAwayFrame(0, last_stream_id=exchange.stream).serialize())
    peer.receive_data(wire_said)
    peer.send_headers(exchange.stream, [(b":status", b"200")], end_stream=True)
    heard = wire.receive_data(peer.data_to_send())
    assert any(isinstance(event, ResponseReceived) for event in heard)


def test_a_ready_block_is_what_h2_sends_in_place_of_the_fields() -> None:
    wire, peer = greeted()
    for path in ("/one", "/two"):
        ask(wire, path)
    heard = [event for event in peer.receive_data(wire.data_to_send()) if isinstance(event, RequestReceived)]
    paths = [dict(event.headers or ())[b":path"] for event in heard]
    assert paths == [b"/one", b"/two"]


def test_h2_asks_us_how_many_streams_are_open_and_walks_over_none() -> None:
    class Unwalked(dict[int, H2Stream]):
        def items(self) -> NoReturn:
            raise AssertionError("every request looks at every stream")

    wire, peer = greeted()
    wire.streams = Unwalked()
    for _ in range(2):
        ask(wire)
    assert wire.open_outbound_streams == 2
    peer.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    wire.receive_data(peer.data_to_send())
    with pytest.raises(TooManyStreamsError):
        ask(wire)


def test_a_stream_that_has_ended_is_remembered_where_h2_looks_for_it_and_not_for_ever() -> None:
    class Forgetful(Wire):
        MAX_CLOSED_STREAMS = 1

    wire, peer = greeted(Forgetful)
    first, last = ask(wire), ask(wire)
    for exchange in (first, last):
        peer.receive_data(wire.data_to_send())
        peer.reset_stream(exchange.stream)
        wire.receive_data(peer.data_to_send())
        wire.forget(exchange.stream)
    assert list(wire._closed_streams) == [last.stream]
    wire.receive_data(DataFrame(last.stream, b"late").serialize())  # no error of the connection


def test_the_head_of_a_long_frame_is_seen_while_h2_waits_for_the_rest() -> None:
    wire, _ = greeted()
    whole = DataFrame(1, b"x" * wire.max_inbound_frame_size).serialize()
    for before, after in pairwise((0, 2, 3, 9)):
        wire.receive_data(whole[before:after])
        assert not wire.overlong
    longer, _ = greeted()
    head = (longer.max_inbound_frame_size + 1).to_bytes(3)
    longer.receive_data(head)
    assert longer.overlong


def test_our_settings_say_that_nothing_may_be_pushed() -> None:
    wire, peer = greeted()
    assert peer.remote_settings.enable_push == 0
    assert peer.remote_settings.max_header_list_size == 65_536
    assert wire.decoder.max_header_list_size == 65_536
    ask(wire)
    promise = PushPromiseFrame(1, promised_stream_id=2, data=b"\x82", flags=["END_HEADERS"])
    with pytest.raises(ProtocolError):
        wire.receive_data(promise.serialize())
