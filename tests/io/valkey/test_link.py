"""Which URLs of a Valkey are understood?"""

from __future__ import annotations

import pytest

from ulak.io.valkey.link import is_url


@pytest.mark.parametrize("url", ["redis://h:6379/0", "rediss://u:p@h", "unix:///run/valkey.sock", "redis://h?db=3"])
def test_an_url_is_understood(url: str) -> None:
    assert is_url(url)


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://h", "redis://h:port", "valkey", "redis://h?socket_timeout=x"]
)
def test_what_is_none_is_told_at_once(url: str) -> None:
    assert not is_url(url)
