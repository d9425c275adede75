"""What is wrong with this installation, in plain words, and what helps?

Looks and changes nothing; only an embedded PostgreSQL that is not running is started for the time of
the examination. Exit code 1 when something is in trouble.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from ulak import database
from ulak.cli.common import read_project, settings
from ulak.core import health
from ulak.core.choice import refusable
from ulak.core.health import Finding, Level
from ulak.core.model import Account, Channel, Class
from ulak.core.project import Catalog, ProjectError
from ulak.io.embedded.errors import EmbeddedError
from ulak.io.links import check as check_url
from ulak.io.postgres import health as facts
from ulak.io.postgres.catalogs import Catalogs
from ulak.io.postgres.errors import EXPECTED
from ulak.io.postgres.pool import Pool
from ulak.io.postgres.scores import Scores
from ulak.settings import SettingError, Settings

_MARK = {Level.OK: "ok     ", Level.NOTE: "note   ", Level.TROUBLE: "TROUBLE"}
_INBOX = "in_app/inbox"


@click.command(help="Look for what is wrong with this installation; exit code 1 when something is in trouble.")
@click.option("--project", default=None, type=click.Path(file_okay=False), help="Project folder to check as well.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(project: str | None, *, as_json: bool) -> None:
    """Examine everything."""
    found = list(examine(project))
    healthy = all(f.level is not Level.TROUBLE for f in found)
    if as_json:
        click.echo(json.dumps({"ok": healthy, "findings": [asdict(f) for f in found]}, indent=2))
    else:
        click.echo("\n".join(told(found)))
    if not healthy:
        raise click.exceptions.Exit(1)


def told(found: list[Finding]) -> Iterator[str]:
    """The findings in lines for people."""
    width = max(len(f.check) for f in found)
    for finding in found:
        yield f"{_MARK[finding.level]}  {finding.check:{width}}  {finding.said}"
        if finding.todo:
            yield f"{'':7}  {'':{width}}  → {finding.todo}"
    troubles = sum(f.level is Level.TROUBLE for f in found)
    yield ""
    yield "Nothing is in trouble." if not troubles else f"{troubles} in trouble: see TROUBLE above."


def examine(project: str | None) -> Iterator[Finding]:
    """Go through all checks; one that can't be made is a finding too."""
    try:
        wanted = settings(project)
        assert wanted.role_set  # reading it checks it
    except SettingError as error:
        yield Finding("settings", Level.TROUBLE, str(error))
        return
    yield from _folder(wanted)
    yield from _database(wanted)
    if wanted.valkey_url:
        yield from _valkey(wanted.valkey_url)


# --------------------------------------------------------------------------------------------- database


def _database(wanted: Settings) -> Iterator[Finding]:
    if not wanted.database_url:
        yield from _directory(wanted.data_path)
        if not (wanted.data_path / "postgres").exists() and database_absent(wanted.data_path):
            said = f"There is no embedded database in {wanted.data_path} yet."
            todo = "`ulak dev` or `ulak serve` makes one; ULAK_DATA_DIR or ULAK_DATABASE_URL names another."
            if not wanted.data_dir and (wanted.data_path / "dev" / "postgres").exists():
                todo = f"`ulak dev` keeps its own: ULAK_DATA_DIR={(wanted.data_path / 'dev').resolve()} looks at that."
            yield Finding("database", Level.NOTE, said, todo)
            return
    try:
        base = database.find(wanted)
    except EmbeddedError as error:
        yield Finding("database", Level.TROUBLE, str(error))
        return
    try:
        yield from asyncio.run(_look(base.url, wanted))
    except EXPECTED as error:
        said = f"PostgreSQL can't be used: {type(error).__name__}: {error}".rstrip(": ") + "."
        yield Finding("database", Level.TROUBLE, said, "Check that it runs, and ULAK_DATABASE_URL.")
    finally:
        base.stop()


def database_absent(folder: Path) -> bool:
    """Whether nothing of a database is visible; a folder that can't be looked into is not nothing."""
    return not folder.exists() or os.access(folder, os.X_OK)


def _directory(folder: Path) -> Iterator[Finding]:
    """Permissions of the data directory, and the room that it has left."""
    place = next((p for p in (folder.absolute(), *folder.absolute().parents) if p.exists()), Path("/"))
    free = shutil.disk_usage(place).free
    said = f"{free >> 20:,} MiB are free in {folder}."
    if free < 512 << 20:
        todo = "Make room: with a full disk nothing is accepted (503), though nothing is lost."
        yield Finding("disk", Level.TROUBLE, said, todo)
    else:
        yield Finding("disk", Level.NOTE if free < 4 << 30 else Level.OK, said)
    inner = folder / "postgres"
    try:
        loose = inner.stat().st_mode & 0o027 if inner.exists() else 0
    except OSError as error:
        yield Finding("data directory", Level.TROUBLE, f"{folder} can't be looked into: {error.strerror}.")
        return
    if loose:
        said = f"{inner} is open to others (mode {inner.stat().st_mode & 0o777:o}): PostgreSQL will not start."
        yield Finding("data directory", Level.TROUBLE, said, f"chmod 700 {inner}")
    if not os.access(place, os.W_OK | os.X_OK):
        yield Finding("data directory", Level.TROUBLE, f"This user may not write to {place}.", "Run as its owner.")


async def _look(url: str, wanted: Settings) -> list[Finding]:
    """Ask the database about itself and about what lies in it."""
    pool = await Pool.open(url, size=1, statement_cache=wanted.statement_cache, name="ulak doctor", timeout=5.0)
    try:
        found = await _server(pool)
        async with pool.connection() as connection:
            state = await facts.read_schema(connection)
            found += health.schema(state)
            if state.absent or state.pending:
                return found
        catalogs = Catalogs(pool, lambda catalog: catalog, keep=1 << 16)
        try:
            await catalogs.refresh()
        except ProjectError as error:
            found.append(Finding("accounts", Level.TROUBLE, f"What was applied can't be read any more: {error}"))
        found += _accounts(list(catalogs.current.values()), wanted)
        found += _links(list(catalogs.current.values()), wanted.public_url)
        served = {_INBOX} | {a.bulkhead for c in catalogs.current.values() for a in c.accounts.values()}
        return found + await _scores(pool) + await _work(pool, served)
    finally:
        pool.terminate()


async def _server(pool: Pool) -> list[Finding]:
    async with pool.connection() as connection:
        server = await facts.read_server(connection, time.time)
        found = list(health.server(server))
        found += health.old_rows(await facts.read_holders(connection), server.hidden)
        return found + list(health.tables(await facts.read_tables(connection)))


async def _scores(pool: Pool) -> list[Finding]:
    standing = await Scores(pool).standing(datetime.now(UTC))
    held = {name: pause for name in standing.pauses if (pause := standing.paused(name)) is not None}
    return list(health.scores(standing.scores, {name: pause.evidence for name, pause in held.items()}))


async def _work(pool: Pool, served: set[str]) -> list[Finding]:
    async with pool.connection() as connection:
        queue = await facts.read_queue(connection)
        alive = await facts.read_nodes(connection)
    work = sum(p.rows for p in queue.ready) + sum(p.rows for p in queue.plans if p.overdue)
    return [*health.nodes(alive, work), *health.queue(queue, served)]


# ---------------------------------------------------------------------------------------------- project


def _folder(wanted: Settings) -> Iterator[Finding]:
    """The project folder, if one is named."""
    if not wanted.project:
        return
    try:
        catalog = read_project(wanted.project)
    except ProjectError as error:
        for problem in error.problems:
            yield Finding("project", Level.TROUBLE, str(problem))
        return
    yield Finding("project", Level.OK, f"{wanted.project}: {len(catalog.types)} types, nothing wrong.")


def _accounts(catalogs: list[Catalog], wanted: Settings) -> Iterator[Finding]:
    """Whether each account in force could be used by a node with this environment."""
    if not any(catalog.types for catalog in catalogs):
        yield Finding("types", Level.NOTE, "No notification type is in force.", "`ulak apply FOLDER` brings some.")
    accounts = [account for catalog in catalogs for account in catalog.accounts.values()]
    wrong = [(account.name, why) for account in accounts if (why := _unusable(account, wanted))]
    for name, why in wrong:
        todo = "Nodes need it in their own environment; here it was looked for in this command's."
        yield Finding("accounts", Level.TROUBLE, f"Account {name} can't be used: {why}.", todo)
    if accounts and not wrong:
        yield Finding("accounts", Level.OK, f"{len(accounts)} in force, each with all that it needs.")


def _links(catalogs: list[Catalog], public_url: str) -> Iterator[Finding]:
    """Whether emails that may be refused can say where."""
    kinds = [kind for catalog in catalogs for kind in catalog.types.values() if kind.category in refusable(catalog)]
    mailed = [kind for kind in kinds if any(step.channel is Channel.EMAIL for step in kind.route)]
    todo = "Set ULAK_PUBLIC_URL to the https address under which users reach this installation."
    try:
        base = check_url(public_url)
    except ValueError as error:
        yield Finding("links", Level.TROUBLE, f"ULAK_PUBLIC_URL: {error}.", todo)
        return
    if not mailed:
        return
    if base.startswith("https://"):
        yield Finding("links", Level.OK, f"Users unsubscribe at {base}.")
    elif any(kind.klass is Class.MARKETING for kind in mailed):
        said = "Marketing emails carry no one-click unsubscribe, which large mailbox providers refuse."
        yield Finding("links", Level.TROUBLE, said, todo)
    else:
        yield Finding("links", Level.NOTE, "Emails carry no one-click unsubscribe.", todo)


def _unusable(account: Account, wanted: Settings) -> str:
    """Why a node with this environment could not send by an account; empty when it could."""
    from ulak.node import account_with_secrets, check_resolved
    from ulak.providers.registry import PROVIDERS

    if account.provider not in PROVIDERS:
        return f"no provider is called {account.provider}"
    if wanted.sandbox_smtp:
        return ""
    try:
        check_resolved(account, account_with_secrets(account))
    except (SettingError, ValueError) as error:
        return str(error)
    return ""


def _valkey(url: str) -> Iterator[Finding]:
    from ulak.io.valkey.reach import ping

    wrong = asyncio.run(ping(url))
    if wrong is None:
        yield Finding("valkey", Level.OK, "Valkey answers.")
    else:
        said = f"Valkey does not answer ({wrong}): items reach sockets of other nodes late, and nothing is lost."
        yield Finding("valkey", Level.TROUBLE, said, "Check that it runs, and ULAK_VALKEY_URL.")
