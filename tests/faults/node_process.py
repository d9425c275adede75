"""What is a node that a fault test may kill: a worker whose vendor is a log file that nothing de-duplicates?

    python node_process.py URL NAME LOG     settings by environment: ULAK_*, and FAULT_*

FAULT_HOLD      a file; while it exists, calls hang after they are logged
FAULT_POISON    a target; sending to it kills the process
FAULT_NO_REAP   nobody takes over from dead nodes (the defence switched off)
FAULT_PAUSE     seconds that a call takes
FAULT_REFUSES   an account that takes nothing: another one has to
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ulak.core.model import Account, Channel
from ulak.core.outcome import Kind, Outcome, accepted, outcome
from ulak.flow.attempt import Route
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.providers.contract import Capabilities, Message, Row
from ulak.settings import Settings

REFUSES = os.environ.get("FAULT_REFUSES", "")
REFUSED = outcome(Kind.NEXT_PROVIDER, "account_suspended")


class Logged:
    """A provider whose requests are the messages themselves."""

    CAPABILITIES = Capabilities(channel=Channel.EMAIL, content=False)
    OUTCOMES: Sequence[Row] = ()

    def check(self, settings: Mapping[str, object]) -> None:
        pass

    def build(self, messages: Sequence[Message], account: Account, now: datetime) -> Any:
        return list(messages)

    def read(self, reply: Any, messages: Sequence[Message], account: Account, now: datetime) -> Sequence[Outcome]:
        return [REFUSED if account.name == REFUSES else accepted("logged")] * len(messages)


class LogSender:
    """Writes a line for each message before anything else can go wrong."""

    def __init__(self, log: Path, *, takes: bool = True) -> None:
        self._takes = takes
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._hold = Path(os.environ.get("FAULT_HOLD", "/nonexistent"))
        self._poison = os.environ.get("FAULT_POISON")
        self._pause = float(os.environ.get("FAULT_PAUSE", "0.01"))

    async def send(self, request: Any, deadline: float) -> Any:
        for message in request if self._takes else ():
            os.write(self._log, f"{message.delivery} {message.attempt} {message.target}\n".encode())
            if message.target == self._poison:
                os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(self._pause)
        while self._hold.exists():  # noqa: ASYNC110  # the one who holds is another process
            await asyncio.sleep(0.01)
        return None

    async def close(self) -> None:
        pass


class FaultNode(Node):
    """A node that sends every email by the log."""

    def _route(self, declared: Account) -> Route:
        if declared.channel is not Channel.EMAIL:
            return super()._route(declared)
        return Route(declared, Logged(), LogSender(Path(sys.argv[3]), takes=declared.name != REFUSES))


async def main() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    url, name, _ = sys.argv[1:4]
    pool = await Pool.open(url, size=6)
    node = await FaultNode.open(Settings.read({**os.environ, "ULAK_NODE": name, "ULAK_ROLES": "worker"}), pool)
    if "FAULT_NO_REAP" in os.environ:
        node.keeper.reap = idle  # type: ignore[method-assign]
    node.start()
    await asyncio.Event().wait()


async def idle() -> bool:
    return False


if __name__ == "__main__":
    asyncio.run(main())
