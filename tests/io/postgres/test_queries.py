"""Does every named statement fit the schema?"""

from __future__ import annotations

import pytest

from ulak.io.postgres.pool import Pool
from ulak.io.postgres.queries import load, stages

pytestmark = [pytest.mark.anyio, pytest.mark.pg]


@pytest.mark.parametrize("stage", stages())
async def test_every_statement_can_be_prepared(store: Pool, stage: str) -> None:
    async with store.connection() as connection:
        for name, sql in load(stage).all().items():
            try:
                await connection.prepare(sql)
            except Exception as error:
                raise AssertionError(f"{stage}.sql: {name}: {error}") from error


@pytest.mark.parametrize("stage", stages())
def test_every_statement_says_what_it_is_for(stage: str) -> None:
    for name, sql in load(stage).all().items():
        assert sql.startswith("-- "), f"{stage}.sql: {name} has no description"
