"""What do the tests of the push services share?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import pytest

from tests.sandbox.push.rig import START, Client
from ulak.core.device import AddressKind
from ulak.sandbox.push.devices import FakeDevice, Wanted
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


@pytest.fixture
def phone(push: PushServices) -> FakeDevice:
    """An iPhone with the app."""
    return push.devices.make(Wanted(AddressKind.APNS, "phone"), push.now)


@pytest.fixture
async def client(push: PushServices) -> AsyncIterator[Client]:
    """A connection to Apple's production service."""
    async with await Client.open(push.places["apns"], push.places["ca"]) as opened:
        yield opened
