"""What does a user's inbox say, live? A client of the socket in its shortest form.

.venv/bin/python examples/inbox.py ws://127.0.0.1:8080 TOKEN
"""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp


async def main(url: str, token: str) -> None:
    """Print what the user's inbox holds and what comes, and say that it has arrived."""
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/v1/socket", protocols=["ulak.v1"]) as socket:
        await socket.send_json({"op": "hello", "token": token, "since": 0})
        async for message in socket:
            heard = message.json()
            for said in heard if isinstance(heard, list) else [heard]:
                print(json.dumps(said))
                if said["op"] in {"items", "changed"}:
                    await socket.send_json({"op": "ack", "revision": said["revision"]})
        sys.exit(f"closed with {socket.close_code}: see the close codes in spec/socket.md")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
