"""What do the fault tests share: processes to kill, the witness's log, and the questions asked at the end?"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.flow.harness import PROJECT
from ulak.io.postgres.pool import Pool

LEASE = 4.0
USERS = [f"user{i}" for i in range(10)]
FILES = {
    **PROJECT,
    "ulak.toml": PROJECT["ulak.toml"]
    .replace("concurrency = 2", "concurrency = 8")
    .replace('timeout = "2s"', 'timeout = "1s"'),
}


class Process:
    """A worker node in a process of its own; started again under its name by ``start``."""

    def __init__(self, url: str, folder: Path, name: str = "worker", **environment: str) -> None:
        self.log = folder / "witness.log"
        self.errors = folder / f"{name}.err"
        self._argv = [sys.executable, str(Path(__file__).with_name("node_process.py")), url, name, str(self.log)]
        root = Path(__file__).parents[2]
        self.environment = {"PYTHONPATH": f"{root / 'src'}:{root}", "ULAK_LEASE_SECONDS": str(LEASE), **environment}
        self._child: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> None:
        with self.errors.open("ab") as errors:
            self._child = subprocess.Popen(
                self._argv, stderr=errors, env=os.environ | self.environment | environment, start_new_session=True
            )

    def signal(self, number: signal.Signals) -> None:
        assert self._child is not None
        self._child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, also of one that is stopped."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    @property
    def dead(self) -> bool:
        return self._child is not None and self._child.poll() is not None

    @property
    def code(self) -> int | None:
        return None if self._child is None else self._child.poll()

    def sent(self) -> Counter[str]:
        """How often the witness was sent each delivery."""
        if not self.log.exists():
            return Counter()
        return Counter(line.split()[0] for line in self.log.read_text().splitlines())

    def calls(self) -> list[str]:
        """The attempts that reached the witness."""
        return [line.split()[1] for line in self.log.read_text().splitlines()] if self.log.exists() else []


Make = Callable[..., Process]
"""Makes a process of a name and with more environment, and ends it with the test."""


async def settled(pool: Pool, deliveries: int) -> bool:
    """Whether that many deliveries exist and all are at their end."""
    row = await pool.fetchrow(
        "SELECT count(*) AS n, count(*) FILTER (WHERE settled_at IS NULL) AS open FROM deliveries"
    )
    assert row is not None
    return bool(row["n"] == deliveries and row["open"] == 0)


async def unknown(pool: Pool) -> int:
    """Deliveries of which some call's answer is not known."""
    return int(await pool.fetchval("SELECT count(DISTINCT delivery) FROM outcomes WHERE kind = 'unknown'"))


async def ends(pool: Pool) -> Counter[str]:
    rows: Any = await pool.fetch("SELECT state, count(*) AS n FROM deliveries GROUP BY state")
    return Counter({row["state"]: row["n"] for row in rows})


async def left(pool: Pool) -> int:
    """Rows in any queue."""
    return int(
        await pool.fetchval(
            "SELECT (SELECT count(*) FROM plan_work) + (SELECT count(*) FROM ready) + (SELECT count(*) FROM timers)"
            " + (SELECT count(*) FROM leases)"
        )
    )
