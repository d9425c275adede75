"""How do notifications keep coming while nodes die, and what did each caller wait?

Every request has an idempotency key and is made again, at the next node, with the same key and body until it is
answered: all that a caller has to do. As a program (``python -m bench.storm_sender``) it reads an order as a line of
JSON, sends until its standard input ends, and prints what was accepted and every wait, so that the load of the clients
in another process does not show in them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import uvloop

PATIENCE = 60.0
PASSING = (429, 502, 503, 504)


@dataclass(slots=True)
class Sender:
    """Notifies random users, ``rate`` a second, by requests of ``batch`` notifications.

    ``accepted`` holds the notifications of each user; ``waits`` when each request was first made (monotonic seconds)
    and how long it took, its repetitions included.
    """

    urls: Sequence[str]
    key: str
    users: Sequence[str]
    rate: float
    batch: int = 1
    text: str = "hello"
    accepted: dict[str, list[str]] = field(default_factory=dict)
    waits: list[tuple[float, float]] = field(default_factory=list)
    repeated: int = 0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: Any = field(default_factory=itertools.count)
    _salt: str = field(default_factory=lambda: secrets.token_hex(6))

    @property
    def number(self) -> int:
        """How many notifications were accepted."""
        return sum(map(len, self.accepted.values()))

    def so_far(self) -> dict[str, list[str]]:
        """What has been accepted by now; it does not grow any more."""
        return {user: list(numbers) for user, numbers in self.accepted.items()}

    async def run(self) -> None:
        """Send until told to stop, evenly, and never wait for an answer before the next request is due."""
        gap = self.batch / self.rate
        due = time.monotonic()
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.key}"}) as session,
            asyncio.TaskGroup() as group,
        ):
            while not self._stopping.is_set():
                group.create_task(self.send(session, [random.choice(self.users) for _ in range(self.batch)]))
                due = max(due + gap, time.monotonic() - 1)
                try:
                    async with asyncio.timeout(due - time.monotonic()):
                        await self._stopping.wait()
                except TimeoutError:
                    continue

    def stop(self) -> None:
        """Send nothing new."""
        self._stopping.set()

    async def send(self, session: aiohttp.ClientSession, users: Sequence[str]) -> None:
        """One request, until it is answered."""
        bodies = [
            {
                "type": "inbox",
                "to": [{"user": user}],
                "data": {"number": number, "text": self.text},
                "idempotency_key": f"{self._salt}-{number}",
            }
            for user, number in zip(users, self._numbers, strict=False)
        ]
        began, tries = time.monotonic(), 0
        first = random.randrange(len(self.urls))
        while True:
            answers = await self._try(session, self.urls[(first + tries) % len(self.urls)], bodies)
            tries += 1
            if answers is not None:
                break
            self.repeated += 1
            if time.monotonic() - began > PATIENCE:
                raise RuntimeError(f"a request was not answered in {tries} tries")
            await asyncio.sleep(min(0.05 * 2**tries, 1.0))
        self.waits.append((began, time.monotonic() - began))
        for user, answer in zip(users, answers, strict=True):
            self.accepted.setdefault(user, []).append(answer["id"])

    async def _try(
        self, session: aiohttp.ClientSession, url: str, bodies: list[dict[str, Any]]
    ) -> list[dict[str, Any]] | None:
        """The answers; None where there is none yet."""
        path, body, headers = "/v1/notifications/batch", {"notifications": bodies}, {}
        if len(bodies) == 1:
            (single,) = bodies
            headers = {"Idempotency-Key": single["idempotency_key"]}
            path, body = "/v1/notifications", {k: v for k, v in single.items() if k != "idempotency_key"}
        limit = aiohttp.ClientTimeout(10)
        try:
            async with session.post(url + path, json=body, headers=headers, timeout=limit) as answer:
                if answer.status in PASSING:
                    return None
                if not answer.ok:
                    raise RuntimeError(f"{answer.status} {await answer.text()}")
                said = await answer.json()
        except (aiohttp.ClientError, TimeoutError):
            return None
        answers = said["items"] if len(bodies) > 1 else [said]
        if any(result.get("status", 202) != 202 for result in answers):
            raise RuntimeError(f"not all were accepted: {said}")
        return list(answers)


async def _main() -> None:
    lines = asyncio.StreamReader(limit=1 << 26)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    sender = Sender(**json.loads(await lines.readline()))
    running = asyncio.create_task(sender.run())
    reading = asyncio.create_task(lines.read())
    await asyncio.wait({running, reading}, return_when=asyncio.FIRST_COMPLETED)
    sender.stop()
    await running
    print(json.dumps({"accepted": sender.accepted, "waits": sender.waits, "repeated": sender.repeated}), flush=True)


if __name__ == "__main__":
    uvloop.run(_main())
