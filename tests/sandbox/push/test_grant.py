"""Does the fake FCM grant access tokens to whom Google would grant them?

The expectations are those of Google's page on OAuth 2.0 for server to server applications, of RFC 7523 and RFC 6749
§5.2; the requests are made by no code of ours.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.sandbox.push.conftest import Clock
from tests.sandbox.push.rig import GRANT, SCOPE, Client, assertion, grant, post
from ulak.sandbox.push.services import PushServices

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(push: PushServices) -> AsyncIterator[Client]:
    """A connection."""
    async with await Client.open(push.places["fcm"], push.places["ca"]) as opened:
        yield opened


def other_key() -> str:
    pem = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return rsa.generate_private_key(65537, 2048).private_bytes(*pem).decode()


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"aud": "https://127.0.0.1/token"}, "invalid_grant"),
        ({"iss": "somebody@example.com"}, "invalid_grant"),
        ({"exp": 0}, "invalid_grant"),
        ({"exp": "soon"}, "invalid_grant"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": "https://www.googleapis.com/auth/drive"}, "invalid_scope"),
        ({"kid": "0000"}, "invalid_grant"),
    ],
)
async def test_a_wrong_assertion_is_refused(claims: dict[str, Any], error: str, client: Client, clock: Clock) -> None:
    answer = await grant(client, assertion(now=clock.now.timestamp(), **claims))
    assert (answer.status, answer.json["error"]) == (400, error)


async def test_an_assertion_may_last_an_hour_and_no_longer(client: Client, clock: Clock) -> None:
    now = int(clock.now.timestamp())
    for life, status in ((3600, 200), (3601, 400)):
        assert (await grant(client, assertion(now=now, exp=now + life))).status == status


async def test_an_old_or_future_assertion_is_refused(client: Client, clock: Clock) -> None:
    for off in (-3601, 600):
        answer = await grant(client, assertion(now=clock.now.timestamp() + off))
        assert (answer.status, answer.json["error"]) == (400, "invalid_grant")


async def test_an_assertion_of_another_key_or_for_another_grant_is_refused(client: Client, clock: Clock) -> None:
    now = clock.now.timestamp()
    answer = await grant(client, assertion(other_key(), now=now))
    assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
    answer = await grant(client, assertion(now=now), "client_credentials")
    assert (answer.status, answer.json["error"]) == (400, "unsupported_grant_type")
    body = json.dumps({"grant_type": GRANT, "assertion": assertion(now=now)}).encode()
    answer = await client.call(post("/token", "application/json"), body)
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")
    assert (await grant(client, assertion(now=now, scope=f"{SCOPE} openid"))).status == 200
