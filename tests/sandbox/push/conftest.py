"""What do the tests of the push services share?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from tests.sandbox.push.rig import START
from ulak.sandbox.push.services import PushServices
from ulak.sandbox.record import Record


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    """What time it is for the services."""
    return Clock()


@pytest.fixture
async def record() -> AsyncIterator[Record]:
    """What was taken."""
    kept = Record()
    yield kept
    kept.close()


@pytest.fixture
async def push(record: Record, clock: Clock) -> AsyncIterator[PushServices]:
    """The services, running."""
    async with PushServices(record, clock) as running:
        yield running
