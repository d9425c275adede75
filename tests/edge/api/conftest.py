"""A door over a real database."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from tests.edge.api.harness import KEY, LOADED, NOW, WEAK, InboxDouble, deps
from ulak.core.apikey import key_hash
from ulak.core.ids import new_id
from ulak.edge.api import Api
from ulak.flow.accept import Acceptor
from ulak.flow.receipts import PushReceipts, Receipts
from ulak.io.links import Linker
from ulak.io.postgres.consents import Consents
from ulak.io.postgres.devices import Devices
from ulak.io.postgres.keys import Key, Keys
from ulak.io.postgres.operate import Operations
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.push_counts import PushCounts
from ulak.io.postgres.reads import Reads
from ulak.io.postgres.revocations import Revocations
from ulak.io.postgres.scores import Scores
from ulak.io.postgres.secrets import Secrets
from ulak.io.postgres.suppressions import Suppressions
from ulak.io.postgres.topics import Topics
from ulak.io.postgres.users import Users
from ulak.io.tokens import Stores, Times, Tokens


@pytest.fixture
async def served(database: Pool) -> AsyncIterator[Api]:
    """A door over a fresh database."""
    async with door(database) as api:
        yield api


@asynccontextmanager
async def door(database: Pool) -> AsyncIterator[Api]:
    """Tenant 0 calls with KEY, tenant 1 with WEAK; both may do everything."""
    await database.execute("INSERT INTO tenants (tenant, name) VALUES (1, 'other')")
    store = Keys(database)
    for tenant, text in enumerate((KEY, WEAK)):
        await store.create(key_hash(text), Key(tenant, f"k{tenant}", frozenset({"*"}), None), "test")
    millisecond = itertools.count(int(NOW.timestamp() * 1000))
    acceptor = Acceptor(database, 1, lambda: new_id(next(millisecond), os.urandom(10)))
    acceptor.start()
    tick = itertools.count()
    clock = cast(Any, lambda: float(next(tick)))
    yield Api(
        deps(
            accept=acceptor,
            reads=Reads(database),
            operate=Operations(database),
            users=Users(database),
            consents=Consents(database),
            devices=Devices(database),
            topics=Topics(database),
            suppressions=Suppressions(database),
            scores=Scores(database),
            push_receipts=pushes(database),
            push_counts=PushCounts(database),
            keys=store,
            tokens=tokens(database, store),
            inbox=InboxDouble(),
            loaded=lambda tenant: LOADED,
            monotonic=clock,
            entropy=os.urandom,
        )
    )
    await acceptor.stop()


def tokens(database: Pool, keys: Keys) -> Tokens:
    """Users' tokens of a node that has always just polled, without identity providers."""
    stores = Stores(keys, Secrets(database), Revocations(database), dict, cast(Any, None))
    return Tokens(stores, Times(time.time, lambda: 0.0, os.urandom))


def pushes(database: Pool) -> PushReceipts:
    """What takes apps' words; seconds stand still, so that what is counted by them is."""
    linker = Linker(Secrets(database), "", os.urandom, lambda: 0.0)
    return PushReceipts(database, linker, Receipts(database), lambda: datetime.now(UTC), lambda: 0.0)
