"""What makes the load on the HTTP API? A process of its own: many keep-alive callers, ready-made bytes, no library.

It reads a line of JSON (what to send), says ``ready``, waits for a line, sends until all is answered and prints one
line of JSON: how many were accepted, the seconds, every latency in microseconds, and its own CPU.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from array import array
from collections import deque
from typing import Any

import uvloop


class _Caller(asyncio.Protocol):
    """One connection that has one request under way at a time."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._transport: Any = None
        self._buffer = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._work.failed(f"the connection was lost: {exc}")

    def next(self) -> None:
        if not self._work.requests:
            self._work.idle()
            return
        self._sent = time.perf_counter()
        self._transport.write(self._work.requests.popleft())

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(b"\r\n\r\n")
        length = buffer.find(b"content-length: ")
        if head < 0 or length < 0 or length > head:
            self._buffer = buffer
            return
        size = int(buffer[length + 16 : buffer.index(b"\r", length)])
        if len(buffer) < head + 4 + size:
            self._buffer = buffer
            return
        self._buffer = b""
        self._work.answered(buffer, time.perf_counter() - self._sent)
        self.next()


class _Work:
    """What is to be sent and what came back."""

    def __init__(self, requests: deque[bytes], callers: int) -> None:
        self.requests = requests
        self.latencies = array("d")
        self.accepted = 0
        self.answers = 0
        self.done = asyncio.get_running_loop().create_future()
        self._busy = callers

    def answered(self, answer: bytes, seconds: float) -> None:
        self.latencies.append(seconds)
        if answer.startswith(b"HTTP/1.1 202 "):
            self.accepted += 1
        elif answer.startswith(b"HTTP/1.1 200 "):
            self.accepted += answer.count(b'"status":202')
        else:
            self.failed(answer[:400].decode(errors="replace"))

    def idle(self) -> None:
        self._busy -= 1
        if self._busy == 0 and not self.done.done():
            self.done.set_result(None)

    def failed(self, why: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(why))


def _requests(order: dict[str, Any]) -> deque[bytes]:
    """All requests as bytes; every notification has a user and an idempotency key of its own."""
    head = f"Host: {order['host']}:{order['port']}\r\nAuthorization: Bearer {order['key']}\r\n"
    head += "Content-Type: application/json\r\n"
    made: deque[bytes] = deque()
    salt = os.urandom(6).hex()
    for first in range(0, order["items"], order["batch"]):
        numbers = range(first, min(first + order["batch"], order["items"]))
        bodies = [{**order["body"], "to": [{"user": f"u{i % order['users']}"}]} for i in numbers]
        if order["batch"] == 1:
            body = json.dumps(bodies[0]).encode()
            line = f"POST /v1/notifications HTTP/1.1\r\n{head}Idempotency-Key: {salt}-{first}\r\n"
        else:
            keyed = [{**b, "idempotency_key": f"{salt}-{i}"} for b, i in zip(bodies, numbers, strict=True)]
            body = json.dumps({"notifications": keyed}).encode()
            line = f"POST /v1/notifications/batch HTTP/1.1\r\n{head}"
        made.append(f"{line}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return made


async def _run(order: dict[str, Any]) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    requests = _requests(order)
    sizes = sum(map(len, requests))
    work = _Work(requests, order["callers"])
    callers = []
    for _ in range(order["callers"]):
        _, caller = await loop.create_connection(lambda: _Caller(work), order["host"], order["port"])
        callers.append(caller)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    cpu, began = time.process_time(), time.perf_counter()
    for caller in callers:
        caller.next()
    await work.done
    return {
        "accepted": work.accepted,
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "bytes": sizes,
        "latencies_us": [round(s * 1e6) for s in work.latencies],
    }


if __name__ == "__main__":
    gc.disable()
    print(json.dumps(uvloop.run(_run(json.loads(sys.stdin.readline())))), flush=True)
