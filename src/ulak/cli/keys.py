"""How are API keys made, listed and revoked from the command line?"""

from __future__ import annotations

import json
import os

import click

from ulak.cli.common import plainly, settings, with_pool
from ulak.core.apikey import ENTROPY, Scope, make_key
from ulak.io.postgres.keys import Key, Keys
from ulak.io.postgres.pool import Pool


@click.group(help="Make, list and revoke API keys.")
def command() -> None:
    """Group the three."""


@command.command(help="Make a key and print it once; only its hash is kept.")
@click.option("--name", default="cli", show_default=True, help="What the key is for.")
@click.option(
    "--scopes", default="all", show_default=True, help="all, or a list such as notifications:write,users:read."
)
@click.option("--tenant", default=0, show_default=True, help="Whose key it is.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@plainly
def create(name: str, scopes: str, tenant: int, *, as_json: bool) -> None:
    """Make a key."""
    chosen = scopes_of(scopes)

    async def work(pool: Pool) -> str:
        return await create_key(pool, tenant, name, chosen)

    text = with_pool(settings(), work)
    click.echo(json.dumps({"key": text, "scopes": sorted(chosen)}) if as_json else text)


async def create_key(pool: Pool, tenant: int, name: str, scopes: frozenset[str]) -> str:
    """Make and store a key; returns its text, which nobody can read again."""
    text, hashed, prefix = make_key(os.urandom(ENTROPY))
    await Keys(pool).create(hashed, Key(tenant, prefix, scopes, None), name)
    return text


def scopes_of(text: str) -> frozenset[str]:
    """Read ``--scopes``."""
    known = {scope.value for scope in Scope if scope is not Scope.ALL}
    if text == "all":
        return frozenset({Scope.ALL.value})
    chosen = frozenset(part.strip() for part in text.split(",") if part.strip())
    unknown = chosen - known
    if unknown or not chosen:
        message = f"unknown scope {', '.join(sorted(unknown))}; there are: all, {', '.join(sorted(known))}"
        raise click.BadParameter(message, param_hint="--scopes")
    return chosen


@command.command("list", help="List the keys of a tenant, without their secret part.")
@click.option("--tenant", default=0, show_default=True)
@plainly
def list_keys(tenant: int) -> None:
    """List keys."""

    async def work(pool: Pool) -> None:
        for row in await Keys(pool).list(tenant):
            state = "revoked" if row["revoked_at"] else "live"
            scopes = "all" if Scope.ALL in row["scopes"] else ",".join(row["scopes"])
            click.echo(f"{row['prefix']}  {state:8}{row['name']}  {scopes}")

    with_pool(settings(), work)


@command.command(help="End the key with this prefix on every node within a second.")
@click.argument("prefix")
@click.option("--tenant", default=0, show_default=True)
@plainly
def revoke(prefix: str, tenant: int) -> None:
    """Revoke a key."""

    async def work(pool: Pool) -> bool:
        return await Keys(pool).revoke(tenant, prefix)

    if not with_pool(settings(), work):
        message = f"no live key has the prefix {prefix}; `ulak keys list` shows them"
        raise click.ClickException(message)
    click.echo(f"{prefix} is revoked")
