"""Which devices do the people of a run have, and what goes wrong at the services that reach them?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from ulak.cli.client import Client
from ulak.cli.demonstration.drive import patiently
from ulak.cli.demonstration.people import Person

APP = "org.example.octo"
"""The app on phones, as the example project names it."""

TROUBLES: list[dict[str, Any]] = [
    {"at": "request", "do": "goaway", "service": "apns", "every": 4},
    {"at": "request", "do": "reset", "code": "REFUSED_STREAM", "service": "fcm", "every": 4},
    {"at": "request", "do": "reply", "service": "webpush", "status": 503, "headers": {"Retry-After": "1"}, "every": 5},
]
"""What the fake services do to some calls. Nothing was taken then, so each is made again and none is told twice."""


async def equip(client: Client, sandbox: str, people: Sequence[Person]) -> None:
    """Have the sandbox make everybody's devices, and register them as their apps would."""
    async with Client(sandbox, "") as maker:
        for person in people:
            for name in person.devices:
                kind = name.partition("-")[0]
                wanted = {"kind": kind, "name": name} | ({} if kind == "webpush" else {"app": APP})
                made = await maker.call("POST", "/push/devices", body=wanted)
                path = f"/v1/users/{quote(person.id, safe='')}/devices/{name}"
                await patiently(client, "PUT", path, body=made.body["register"])
