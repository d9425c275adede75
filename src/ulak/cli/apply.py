"""How does a project folder come into force without a restart?"""

from __future__ import annotations

import json

import click

from ulak.cli.common import plainly, read_project, settings, with_pool
from ulak.io.postgres.catalogs import apply
from ulak.io.postgres.pool import Pool


@click.command(help="Check a project folder and put its types and templates to use on every node.")
@click.argument("folder", default=".", type=click.Path(exists=True, file_okay=False))
@click.option("--check", is_flag=True, help="Only check it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@plainly
def command(folder: str, *, check: bool, as_json: bool) -> None:
    """Apply a project folder."""
    catalog = read_project(folder)
    said = f"{len(catalog.types)} types, {len(catalog.templates)} templates, {len(catalog.accounts)} accounts"
    if check:
        click.echo(json.dumps({"digest": catalog.digest}) if as_json else f"nothing wrong: {said}")
        return

    async def work(pool: Pool) -> tuple[int, bool]:
        return await apply(pool, 0, catalog)

    version, new = with_pool(settings(folder), work)
    if as_json:
        click.echo(json.dumps({"version": version, "new": new, "digest": catalog.digest}))
    else:
        click.echo(f"version {version} {'is now in force' if new else 'was in force already'}: {said}")
