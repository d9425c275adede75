"""Does the door keep to its own description, whatever is generated from it?

Schemathesis makes valid and invalid requests from the OpenAPI document. What it is known not to try (NUL,
lone surrogates, deep nesting) goes into every text of its bodies by ourselves.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Coroutine, Iterator
from itertools import islice
from typing import Any, TypeVar

import asyncpg
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import _named
from tests.edge.api.conftest import door
from tests.edge.api.harness import KEY, Answer, call
from ulak.edge.api import openapi
from ulak.edge.api.table import CALLS
from ulak.io.embedded.postgres import RunningPostgres
from ulak.io.postgres.pool import Pool

pytestmark = [pytest.mark.pg, pytest.mark.slow]
T = TypeVar("T")

load_all_checks()
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
EXAMPLES = settings(
    max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def described() -> dict[str, Any]:
    """The description without its security: whom a call opens to is the scope matrix's affair."""
    document = openapi.describe(CALLS)
    del document["components"]["securitySchemes"]
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["x-security"] = operation.pop("security")
    return document


# A stream is the gateway's to answer: its bad input is in the gateway's tests.
schema = schemathesis.openapi.from_dict(described()).exclude(path="/v1/me/inbox/stream")
schema.config.update(base_url="http://door")
schema.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])


class Door:
    """The door over a real database, called without a socket from tests that are not asynchronous."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._pool = self.run(Pool.open(url, size=4))
        self._door = door(self._pool)
        self._api = self.run(self._door.__aenter__())
        self.tokens = {"key": KEY}
        for user in ("octocat", "hubot"):
            self.call("PUT", f"/v1/users/{user}", {"email": f"{user}@example.com"})
        self.tokens["user"] = self.call("POST", "/v1/users/octocat/tokens", {"ttl": 86_400}).json["token"]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def call(self, *args: Any, **kwargs: Any) -> Answer:
        return self.run(call(self._api, *args, **kwargs))

    def token(self, case: Any) -> str | None:
        """What the description says that this call needs."""
        return next(
            (self.tokens[name] for entry in case.operation.definition.raw["x-security"] for name in entry), None
        )

    def send(self, case: Any, body: bytes | None = None) -> tuple[requests.PreparedRequest, Answer]:
        """Send a generated case, or the same with another body."""
        prepared = requests.Request(**case.as_transport_kwargs()).prepare()
        sent = prepared.body.encode() if isinstance(prepared.body, str) else prepared.body or b""
        path = (prepared.url or "").removeprefix("http://door")
        headers = {name.lower(): value for name, value in prepared.headers.items()}
        headers = {n: v if isinstance(v, str) else v.decode("latin-1") for n, v in headers.items()}
        headers.pop("content-length", None)
        headers.pop("authorization", None)
        content = sent if body is None else body
        return prepared, self.call(prepared.method, path, content, token=self.token(case), headers=headers)

    def close(self) -> None:
        self.run(self._door.__aexit__(None, None, None))
        self.run(self._pool.close())
        self._loop.close()


@pytest.fixture(scope="module")
def served_door(server: RunningPostgres, template_url: str) -> Iterator[Door]:
    del template_url
    name = f"t_{secrets.token_hex(6)}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(server.superuser_url)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(run(f'CREATE DATABASE "{name}" TEMPLATE template_ulak OWNER ulak STRATEGY file_copy'))
    opened = Door(_named(server.url, name))
    yield opened
    opened.close()
    asyncio.run(run(f'DROP DATABASE "{name}" WITH (FORCE)'))


@schema.parametrize()
@EXAMPLES
def test_the_door_keeps_to_its_description(case: Any, served_door: Door) -> None:
    prepared, answer = served_door.send(case)
    headers = {name: [value] for name, value in answer.headers.items()}
    response = Response(answer.status, headers, answer.body, prepared, elapsed=0.0, verify=False)
    # A batch answers 200 and tells of each item by itself.
    batch = case.operation.path.endswith("/batch")
    case.validate_response(
        response, checks=[check for check in CHECKS if not batch or check is not negative_data_rejection]
    )


POISON = ["\0", "\ud800", "\udfff\ud800"]


def poisoned(value: Any, poison: str) -> Iterator[Any]:
    """The same value once for each of its texts and keys, with that one spoilt."""
    if isinstance(value, str):
        yield value + poison
    elif isinstance(value, dict):
        for key, member in value.items():
            yield {**value, key + poison: member}
            yield from ({**value, key: spoilt} for spoilt in poisoned(member, poison))
    elif isinstance(value, list):
        for index, member in enumerate(value[:3]):
            yield from ([*value[:index], spoilt, *value[index + 1 :]] for spoilt in poisoned(member, poison))


good = schemathesis.openapi.from_dict(described())
good.config.update(base_url="http://door")
good.config.generation.update(modes=[GenerationMode.POSITIVE])


@good.include(method=["POST", "PUT", "PATCH"]).parametrize()
@settings(EXAMPLES, max_examples=2)
def test_no_poison_gets_in(case: Any, served_door: Door) -> None:
    if not isinstance(case.body, dict) or case.method != case.operation.method.upper():
        return
    for poison in POISON:
        for body in [*islice(poisoned(case.body, poison), 12), {**case.body, poison: 1}]:
            for escaped in (True, False):
                text = json.dumps(body, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
                _, answer = served_door.send(case, text)
                assert answer.status in (400, 404, 422), (body, answer)
    deep = json.dumps({**case.body, "x": 1})[:-2].encode() + b"[" * 60_000
    assert served_door.send(case, deep)[1].status in (400, 404, 422)
