"""How many messages arrive on N WebSockets, counted where there is no C compiler?

The same program as ``peers/client.c``, line for line of its commands, on uvloop and without a WebSocket library. It is
slower, so a fast server may wait for it: look at ``client_busy``.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.storm_fleet import frame_at, masked

ADDRESSES = 200


class Load:
    """All sockets, and what they counted."""

    def __init__(self, host: str, port: int, path: str, subprotocol: str) -> None:
        self.host, self.port, self.path, self.subprotocol = host, port, path, subprotocol
        self.mark, self.ready_mark = b"", b"-"
        self.step = self.next_step = self.ack_every = 0
        self.messages = self.frames = self.octets = self.pings = self.acks = self.closes = 0
        self.sockets: list[Socket] = []
        self.ready = self.failed = 0

    def head(self) -> bytes:
        """The request for a socket."""
        protocol = "" if self.subprotocol == "-" else f"Sec-WebSocket-Protocol: {self.subprotocol}\r\n"
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{protocol}\r\n"
        ).encode()

    async def open(self, number: int, width: int, hellos: list[bytes]) -> None:
        """Open sockets, ``width`` at a time, and say when all are open or have failed."""
        began, self.ready, self.failed = time.monotonic(), 0, 0
        self.sockets = [Socket(self, hellos[i] if hellos else None) for i in range(number)]
        line = iter(enumerate(self.sockets))

        async def opener() -> None:
            for i, each in line:
                await self._open(i, each)

        await asyncio.gather(*(opener() for _ in range(width)))
        say(ready=self.ready, failed=self.failed, seconds=time.monotonic() - began)

    async def _open(self, number: int, each: Socket) -> None:
        own = (f"127.0.0.{1 + number % ADDRESSES}", 0)
        try:
            await asyncio.get_running_loop().create_connection(lambda: each, self.host, self.port, local_addr=own)
            await each.settled.wait()
        except OSError as error:
            print(f"a socket can't be opened: {error}", file=sys.stderr)
        if each.open:
            self.ready += 1
        else:
            self.failed += 1

    def count(self, found: int) -> None:
        """So many more messages came."""
        self.messages += found
        while self.step and self.messages >= self.next_step:
            say(step=self.next_step // self.step)
            self.next_step += self.step

    def command(self, words: list[str]) -> None:
        """Carry out a command that has no waiting in it."""
        match words:
            case ["mark", text]:
                self.mark = text.encode()
            case ["step", number]:
                self.step = self.next_step = int(number)
                self.messages = 0
            case ["ack", number]:
                self.ack_every = int(number)
            case ["tickets", file]:
                Path(file).write_text("".join(f"{each.ticket}\n" for each in self.sockets))
                say(written=len(self.sockets))
            case ["report"]:
                use = resource.getrusage(resource.RUSAGE_SELF)
                seen = {"messages": self.messages, "frames": self.frames, "bytes": self.octets, "pings": self.pings}
                say(**seen, acks=self.acks, closes=self.closes, cpu=use.ru_utime + use.ru_stime)
            case ["close"]:
                for each in self.sockets:
                    each.drop()
                say(closed=True)
            case _:
                raise SystemExit(f"unknown command: {words}")

    async def ack_forever(self) -> None:
        """Once a second, where something has come."""
        while True:
            await asyncio.sleep(1)
            for each in self.sockets:
                if self.ack_every and each.open and each.since_ack:
                    each.ack()


class Socket(asyncio.Protocol):
    """One of them."""

    __slots__ = (
        "_buffer",
        "_hello",
        "_load",
        "_revision",
        "_transport",
        "_up",
        "open",
        "settled",
        "since_ack",
        "ticket",
    )

    def __init__(self, load: Load, hello: bytes | None) -> None:
        self._load, self._hello = load, hello
        self._transport: Any = None
        self._buffer, self._revision, self.ticket = b"", b"0", ""
        self._up = self.open = False
        self.since_ack = 0
        self.settled = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._transport.write(self._load.head())

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.closes += self.open
        self.open = False
        self.settled.set()

    def drop(self) -> None:
        """Reset it."""
        if self.open:
            self.open = False
            linger = b"\x01\0\0\0\0\0\0\0"
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._load.octets += len(data)
        data, at = self._buffer + data if self._buffer else data, 0
        if not self._up:
            end = data.find(b"\r\n\r\n")
            if end >= 0 and data[9:12] != b"101":
                self._transport.abort()
            if end < 0 or data[9:12] != b"101":
                self._buffer = data
                return
            self._up, at = True, end + 4
            if self._load.ready_mark == b"-":
                self._opened(b"")
            if self._hello is not None:
                self._transport.write(masked(1, self._hello))
        while (found := frame_at(data, at)) is not None:
            opcode, start, at = found
            self._frame(opcode, data[start:at])
        self._buffer = data[at:]

    def _opened(self, said: bytes) -> None:
        self.open = True
        self.ticket = said.partition(b'"ticket":"')[2].partition(b'"')[0].decode()
        self.settled.set()

    def _frame(self, opcode: int, data: bytes) -> None:
        load = self._load
        if opcode == 9:
            load.pings += 1
            self._transport.write(masked(10, data))
        elif opcode == 8:
            self._transport.abort()
        elif data == b"2":  # Engine.IO's own ping
            load.pings += 1
            self._transport.write(masked(1, b"3"))
        else:
            load.frames += 1
            if not self.open and load.ready_mark in data:
                self._opened(data)
            elif load.mark and (found := data.count(load.mark)):
                self._messages(found, data)

    def _messages(self, found: int, data: bytes) -> None:
        load = self._load
        if load.ack_every:
            self._revision = data[data.rfind(b'"revision":') + 11 :][:16]
            self.since_ack += found
            if self.since_ack >= load.ack_every:
                self.ack()
        load.count(found)

    def ack(self) -> None:
        """Say what has come."""
        self.since_ack = 0
        self._load.acks += 1
        revision = self._revision.split(b",")[0].split(b"}")[0]
        self._transport.write(masked(1, b'{"op":"ack","revision":' + revision + b"}"))


def say(**words: object) -> None:
    """Answer."""
    print(json.dumps(words), flush=True)


async def main() -> None:
    """Obey until standard input ends."""
    host, port, path, subprotocol = sys.argv[1:]
    load, lines = Load(host, int(port), path, subprotocol), asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    acking = asyncio.create_task(load.ack_forever())
    while words := (await lines.readline()).decode().split():
        if words[0] == "open":
            load.ready_mark = words[3].encode()
            hellos = [] if words[4] == "-" else await asyncio.to_thread(_lines, words[4])
            await load.open(int(words[1]), int(words[2]), hellos)
        else:
            load.command(words)
    acking.cancel()


def _lines(file: str) -> list[bytes]:
    return Path(file).read_bytes().splitlines()


if __name__ == "__main__":
    uvloop.run(main())
