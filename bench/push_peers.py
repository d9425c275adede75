"""How do others send the same pushes to APNs? Run as a script, with the peers on the path: NAME COUNT CALLERS.

Reads {"host", "port", "ca", "tokens", "key", "key_id", "team_id", "topic", "message"} on standard input. Needs nothing
of Ulak. Prints {"cpu": seconds}, without start-up and the first, authenticating call.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import ssl
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

Send = Callable[[str], Awaitable[bool]]
"""Push to one token; whether it was taken."""


def _tls(given: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=given["ca"])
    context.set_alpn_protocols(["h2"])
    return context


async def aioapns(given: dict[str, Any]) -> Send:
    """aioapns over one connection: each of its connections has a token of its own, and APNs minds that."""
    module: Any = importlib.import_module("aioapns")
    connection: Any = importlib.import_module("aioapns.connection")
    connection.APNsTLSClientProtocol.APNS_PORT = given["port"]
    connection.APNsProductionClientProtocol.APNS_SERVER = given["host"]
    client = module.APNs(
        key=given["key"],
        key_id=given["key_id"],
        team_id=given["team_id"],
        topic=given["topic"],
        max_connections=1,
        ssl_context=_tls(given),
    )
    kind = module.PushType.ALERT

    async def send(token: str) -> bool:
        request = module.NotificationRequest(
            device_token=token,
            message=given["message"],
            notification_id=str(uuid.uuid4()),
            time_to_live=3600,
            priority=10,
            push_type=kind,
        )
        return bool((await client.send_notification(request)).is_successful)

    return send


async def httpx(given: dict[str, Any]) -> Send:
    """httpx with HTTP/2; the token is made once."""
    module: Any = importlib.import_module("httpx")
    jwt: Any = importlib.import_module("jwt")
    claims = {"iss": given["team_id"], "iat": int(time.time()) // 1800 * 1800}
    token = jwt.encode(claims, given["key"], algorithm="ES256", headers={"kid": given["key_id"]})
    client = module.AsyncClient(http2=True, verify=_tls(given), timeout=60, trust_env=False)
    origin = f"https://{given['host']}:{given['port']}"

    async def send(device: str) -> bool:
        headers = {
            "authorization": f"bearer {token}",
            "apns-id": str(uuid.uuid4()),
            "apns-topic": given["topic"],
            "apns-expiration": str(int(time.time()) + 3600),
            "apns-priority": "10",
            "apns-push-type": "alert",
        }
        body = json.dumps(given["message"], ensure_ascii=False).encode()
        reply = await client.post(f"{origin}/3/device/{device}", headers=headers, content=body)
        return bool(reply.status_code == 200)

    return send


async def measure(name: str, count: int, callers: int, given: dict[str, Any]) -> float:
    """CPU-seconds of so many sends by so many callers at once."""
    send = await {"aioapns": aioapns, "httpx": httpx}[name](given)
    tokens = itertools.cycle(given["tokens"])
    numbers = iter(range(count))

    async def work() -> None:
        for _ in numbers:
            if not await send(next(tokens)):
                raise RuntimeError("a push was refused")

    if not await send(next(tokens)):
        raise RuntimeError("the first push was refused")
    await asyncio.sleep(0.2)  # its answer is followed by the settings that allow more than one stream
    began = time.process_time()
    await asyncio.gather(*(work() for _ in range(callers)))
    return time.process_time() - began


if __name__ == "__main__":
    _, which, many, at_once = sys.argv
    spent = asyncio.run(measure(which, int(many), int(at_once), json.load(sys.stdin)))
    print(json.dumps({"cpu": spent}))
