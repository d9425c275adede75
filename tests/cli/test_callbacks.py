"""Does `ulak callbacks` name the addresses that the door answers at?"""

from __future__ import annotations

import asyncio
import json

import pytest
from click.testing import CliRunner

from ulak.cli import main
from ulak.core.ids import callback_id
from ulak.core.project import load
from ulak.io.postgres.callbacks import Callbacks
from ulak.io.postgres.catalogs import apply
from ulak.io.postgres.pool import Pool

pytestmark = pytest.mark.pg

PROJECT = """
[accounts.relay]
channel = "email"
provider = "smtp"
host = "127.0.0.1"
events_secret_env = "RELAY"

[accounts.deaf]
channel = "email"
provider = "smtp"
host = "127.0.0.1"
"""


async def prepare(url: str, project: str) -> bytes:
    pool = await Pool.open(url, size=2)
    try:
        await apply(pool, 0, load({"ulak.toml": project}))
        return await Callbacks(pool).secret(b"s" * 32)
    finally:
        await pool.close()


def test_each_account_that_takes_callbacks_has_an_address(database_url: str) -> None:
    secret = asyncio.run(prepare(database_url, PROJECT))
    args = ["callbacks", "--base", "https://x.example/", "--json"]
    result = CliRunner().invoke(main, args, env={"ULAK_DATABASE_URL": database_url})
    assert result.exit_code == 0, result.output
    (row,) = map(json.loads, result.output.splitlines())
    assert row["url"] == f"https://x.example/v1/callbacks/smtp/{callback_id(secret, 0, 'smtp', 'relay')}"
    plain = CliRunner().invoke(main, ["callbacks"], env={"ULAK_DATABASE_URL": database_url})
    assert plain.output.startswith("relay (smtp)  https://")


def test_without_one_it_says_what_to_read(database_url: str) -> None:
    asyncio.run(prepare(database_url, ""))
    result = CliRunner().invoke(main, ["callbacks"], env={"ULAK_DATABASE_URL": database_url})
    assert "email-events.md" in result.output
