"""Do we sign as AWS does, and does the signature notice every change?"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.sign import sigv4
from ulak.core.sign.sigv4 import Keys, sign

VECTORS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("sigv4_vectors.json").read_text("utf-8"))
"""Requests of our own with what botocore 1.44 signs them with; ``tests/oracles`` asks it about many more."""
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
KEYS = Keys("AKID", "not-a-key", "us-east-1", "service")
URL = "https://email.eu-central-1.amazonaws.com/v2/email/outbound-emails"


def authorization(method: str, url: str, headers: list[tuple[str, str]], body: bytes, keys: Keys, now: datetime) -> str:
    return dict(sign(method, url, headers, body, keys, now))["Authorization"]


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_vectors_of_aws_own_client(vector: dict[str, Any]) -> None:
    keys = Keys("AKIDULAKTESTS", "not/a+secret", "eu-central-1", "ses", vector.get("token"))
    url = f"https://email.eu-central-1.amazonaws.com{vector['path']}"
    at = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    made = authorization(
        vector["method"], url, list(vector["headers"].items()), vector.get("body", "").encode(), keys, at
    )
    assert made == vector["authorization"]


def test_the_fields_that_are_added() -> None:
    keys = Keys("AKID", "secret", "eu-central-1", "ses", "token")
    date, token, auth = sign(
        "POST", URL, [("Content-Type", "application/json"), ("User-Agent", "Ulak")], b"{}", keys, NOW
    )
    assert date == ("X-Amz-Date", "20150830T123600Z")
    assert token == ("X-Amz-Security-Token", "token")
    assert auth[1].startswith(
        "AWS4-HMAC-SHA256 Credential=AKID/20150830/eu-central-1/ses/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature="
    )
    assert "secret" not in repr(keys)
    assert "token" not in repr(keys).replace("session_token", "")


def test_any_change_changes_the_signature() -> None:
    headers = [("Content-Type", "application/json")]
    base = ("POST", URL, headers, b"{}", KEYS, NOW)
    variants: list[tuple[str, str, list[tuple[str, str]], bytes, Keys, datetime]] = [
        base,
        ("PUT", URL, headers, b"{}", KEYS, NOW),
        ("POST", URL + "/x", headers, b"{}", KEYS, NOW),
        ("POST", URL + "?a=1", headers, b"{}", KEYS, NOW),
        ("POST", URL.replace("eu-", "us-"), headers, b"{}", KEYS, NOW),
        ("POST", URL, [("Content-Type", "text/plain")], b"{}", KEYS, NOW),
        ("POST", URL, headers, b"{ }", KEYS, NOW),
        ("POST", URL, headers, b"{}", Keys(KEYS.access_key, "other", KEYS.region, KEYS.service), NOW),
        ("POST", URL, headers, b"{}", Keys(KEYS.access_key, KEYS.secret_key, "eu-west-1", KEYS.service), NOW),
        ("POST", URL, headers, b"{}", Keys(KEYS.access_key, KEYS.secret_key, KEYS.region, "ses"), NOW),
        ("POST", URL, headers, b"{}", KEYS, NOW + timedelta(seconds=1)),
    ]
    assert len({authorization(*variant)[-64:] for variant in variants}) == len(variants)


def test_what_a_proxy_may_change_is_not_signed() -> None:
    proxied = [
        ("User-Agent", "x"),
        ("Expect", "100-continue"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
    ]
    assert authorization("POST", URL, proxied, b"", KEYS, NOW) == authorization("POST", URL, [], b"", KEYS, NOW)


def test_the_zone_of_the_clock_does_not_matter() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=14)))
    assert sign("GET", URL, [], b"", KEYS, NOW) == sign("GET", URL, [], b"", KEYS, elsewhere)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://EXAMPLE.com/x", "example.com"),
        ("https://example.com:443/", "example.com"),
        ("http://example.com:80", "example.com"),
        ("http://127.0.0.1:5000/a", "127.0.0.1:5000"),
        ("https://example.com:80/", "example.com:80"),
        ("http://[::1]:8025/", "[::1]:8025"),
    ],
)
def test_the_host_is_the_one_that_a_client_sends(url: str, host: str) -> None:
    assert sigv4.host_of(url) == host


@given(st.lists(st.sampled_from(["", ".", "..", "a", "b c", "%2F", "é"]), max_size=6))
def test_a_path_is_rooted_and_leaves_nothing_relative(segments: list[str]) -> None:
    line = sigv4.canonical("GET", "https://h/" + "/".join(segments), [], "").split("\n")[1]
    assert line.startswith("/")
    assert not {"", ".", ".."} & set(line.strip("/").split("/")) or line == "/"
    assert "//" not in line
