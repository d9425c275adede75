"""Under which address does each vendor tell what became of messages?"""

from __future__ import annotations

import json
import os

import click

from ulak.cli.common import plainly, settings, with_pool
from ulak.core.ids import callback_id
from ulak.core.loaded import Loaded
from ulak.io.postgres.callbacks import Callbacks
from ulak.io.postgres.catalogs import Catalogs
from ulak.io.postgres.pool import Pool

Row = dict[str, str | int]


@click.command(help="List the addresses for vendors' callbacks: one for each account that has events_… settings.")
@click.option("--base", default="https://ulak.example.com", show_default=True, help="Where the API is to be reached.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@plainly
def command(base: str, *, as_json: bool) -> None:
    """Print an address for each account."""
    rows = with_pool(settings(), _addresses)
    for row in rows:
        row["url"] = f"{base.rstrip('/')}{row['url']}"
        click.echo(json.dumps(row) if as_json else f"{row['account']} ({row['provider']})  {row['url']}")
    if not rows and not as_json:
        click.echo("No account in force has events_… settings: see docs/how-to/email-events.md.")


async def _addresses(pool: Pool) -> list[Row]:
    from ulak.edge.callbacks.accounts import takes_callbacks

    secret = await Callbacks(pool).secret(os.urandom(32))
    catalogs = Catalogs(pool, Loaded.of)
    await catalogs.refresh()
    return [
        {
            "tenant": tenant,
            "account": account.name,
            "provider": account.provider,
            "url": f"/v1/callbacks/{account.provider}/{callback_id(secret, tenant, account.provider, account.name)}",
        }
        for tenant, loaded in sorted(catalogs.current.items())
        for account in loaded.catalog.accounts.values()
        if takes_callbacks(account)
    ]
