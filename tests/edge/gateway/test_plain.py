"""Does who comes to the socket's address by a plain request hear what is missing?"""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from ulak.doors import Doors
from ulak.io.postgres.pool import Pool
from ulak.node import Node
from ulak.settings import Settings

pytestmark = [pytest.mark.anyio, pytest.mark.pg]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_a_request_that_lost_its_upgrade_is_told_so_and_that_proxies_drop_it(store: Pool, method: str) -> None:
    doors = Doors(await Node.open(Settings(node="plain"), store))
    said: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": method, "path": "/v1/socket", "raw_path": b"/v1/socket"}
    await doors({**scope, "query_string": b"", "headers": []}, receive, send)
    await doors.stop()
    headers = dict(said[0]["headers"])
    assert said[0]["status"] == 426
    assert (headers[b"upgrade"], headers[b"connection"]) == (b"websocket", b"Upgrade")
    problem = json.loads(said[1]["body"])
    assert problem["code"] == "upgrade_missing"
    assert "proxy" in problem["detail"]
