"""Sockets are tested on the loop that nodes run on."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """uvloop: how it buffers and pauses is part of what is tested."""
    return "asyncio", {"use_uvloop": True}
