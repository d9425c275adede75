"""What do the journeys need of a node that was started as an operator starts it?"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp


class Node:
    """One ``ulak serve`` on a port of its own choice; ``log`` takes what it says."""

    def __init__(self, log: Path, environment: Mapping[str, str], *options: str) -> None:
        self.environment = environment
        self.log = log
        command = [sys.executable, "-m", "ulak", "serve", "--port", "0", "--ready-json", *options]
        with log.open("ab") as errors:
            self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors)

    def ready(self) -> None:
        """Wait until it serves; what it said instead where it does not."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise AssertionError(self.log.read_text())
        self.url = json.loads(line)["url"]

    def stop(self) -> None:
        """Let it drain and end."""
        self.process.terminate()
        self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()

    async def call(self, method: str, path: str, key: str, body: Any = None) -> tuple[int, Any]:
        """Status and body of one call with an API key or a token."""
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
            session.request(method, self.url + path, json=body) as answer,
        ):
            return answer.status, await answer.json()


def api_key(environment: Mapping[str, str]) -> str:
    """A new API key of the installation that the environment names."""
    command = [sys.executable, "-m", "ulak", "keys", "create"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    found = re.search(r"ulk_\S+", said)
    assert found is not None
    return found[0]
