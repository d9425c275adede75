"""How is the schema brought up to date by hand?"""

from __future__ import annotations

import asyncio

import click

from ulak import database
from ulak.cli.common import plainly, settings
from ulak.io.postgres import migrate as migrations
from ulak.io.postgres.pool import Pool


@click.command(help="Bring the database's schema up to date (nodes do the `pre` part themselves at start).")
@click.option("--post", is_flag=True, help="Also what needs every old node to be gone.")
@plainly
def command(*, post: bool) -> None:
    """Migrate."""
    wanted = settings()
    base = database.find(wanted)
    try:
        done = asyncio.run(_migrate(base.url, wanted.statement_cache, post=post))
    finally:
        base.stop()
    click.echo("\n".join(done) if done else "the schema is up to date")


async def _migrate(url: str, cache: int, *, post: bool) -> list[str]:
    pool = await Pool.open(url, size=1, statement_cache=cache)
    try:
        return await migrations.migrate(pool, post=post)
    finally:
        await pool.close()
