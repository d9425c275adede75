"""How much does Python ``websockets`` take for the same messages? On uvloop, no compression, else its defaults."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import sys
from typing import Any

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

PAD = "x" * 104
_numbers = itertools.count(1_000_001)


def _message() -> str:
    """One message of the same 200 bytes as all have."""
    data = {"mark": "~m~", "number": next(_numbers), "text": PAD}
    body: dict[str, Any] = {"op": "notice", "data": data, "at": "2026-01-01T00:00:00.000Z"}
    return json.dumps(body, separators=(",", ":"))


async def _main() -> None:
    connections: list[ServerConnection] = []

    async def hold(connection: ServerConnection) -> None:
        connections.append(connection)
        try:
            await connection.wait_closed()
        finally:
            connections.remove(connection)

    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with serve(hold, "127.0.0.1", 0, compression=None, backlog=4096) as server:
        print(json.dumps({"port": next(iter(server.sockets)).getsockname()[1]}), flush=True)
        while line := (await lines.readline()).decode():
            name, count = line.split()
            for _ in range(int(count)):
                if name == "broadcast":
                    broadcast(connections, _message())
                else:
                    await random.choice(connections).send(_message())
                    await asyncio.sleep(0)
    os._exit(0)  # thousands of connections have no goodbye to say


if __name__ == "__main__":
    uvloop.run(_main())
