"""What do the commands that touch the database share: settings, a database, errors for people?"""

from __future__ import annotations

import asyncio
import functools
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from ulak import database
from ulak.core.fields import Problem
from ulak.core.model import Account
from ulak.core.project import Catalog, ProjectError, load
from ulak.io.embedded.errors import EmbeddedError
from ulak.io.postgres.errors import EXPECTED
from ulak.io.postgres.migrate import MigrationError, migrate
from ulak.io.postgres.pool import Pool
from ulak.io.project import read_folder
from ulak.settings import SettingError, Settings

PORT = click.IntRange(0, 65_535)
"""A port to listen on; 0 is any free one."""

P = ParamSpec("P")
T = TypeVar("T")


def plainly(function: Callable[P, T]) -> Callable[P, T]:
    """Turn the errors that people can mend into one message without a traceback."""

    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (SettingError, MigrationError, ProjectError) as error:
            raise click.ClickException(str(error)) from None
        except EmbeddedError as error:
            raise click.ClickException(f"{error}") from None
        except EXPECTED as error:
            message = (
                f"PostgreSQL can't be used: {type(error).__name__}: {error}\nCheck that it runs, and ULAK_DATABASE_URL."
            )
            raise click.ClickException(message) from None

    return inner


def settings(project: str | None = None, **given: Any) -> Settings:
    """The settings in force; a value given on the command line wins over all."""
    wanted = Settings.read()
    folder = project or wanted.project
    server = _server_table(folder) if folder else None
    found = Settings.read(server=server)
    from dataclasses import replace

    chosen = {name: value for name, value in given.items() if value is not None}
    return replace(found, project=folder, **chosen)


def _server_table(folder: str) -> dict[str, Any]:
    main = Path(folder) / "ulak.toml"
    if not main.is_file():
        raise SettingError(f"{main} does not exist: a project folder has an ulak.toml")
    try:
        table = tomllib.loads(main.read_text(encoding="utf-8")).get("server", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return {}  # the project's own reader tells what is wrong and where
    return table if isinstance(table, dict) else {}


def read_project(folder: str) -> Catalog:
    """Read and check a project folder, its accounts and its pages; raises ``ProjectError`` with every mistake.

    What only deserves a look is said on standard error.
    """
    from ulak.core.render import Renderer

    if not (Path(folder) / "ulak.toml").exists():
        hint = "a project folder has an ulak.toml with [types.NAME] tables"
        raise ProjectError((Problem(str(Path(folder).resolve() / "ulak.toml"), "", "does not exist", hint),))
    catalog = load(read_folder(folder))
    wrong = tuple(problem for account in catalog.accounts.values() if (problem := _account(account)))
    checked = Renderer(catalog).check()
    if wrong or checked.problems:
        raise ProjectError((*wrong, *checked.problems))
    for warning in checked.warnings:
        click.echo(f"warning: {warning}", err=True)
    return catalog


def _account(account: Account) -> Problem | None:
    """What its provider has against an account; secrets are taken to be there, for nodes to look up."""
    from ulak.providers.keys import Variable
    from ulak.providers.registry import PROVIDERS, check

    where = f"accounts.{account.name}"
    if account.provider not in PROVIDERS:
        hint = f"there are: {', '.join(PROVIDERS)}"
        return Problem("ulak.toml", f"{where}.provider", f"no provider is called {account.provider!r}", hint)
    given = {
        key.removesuffix("_env"): Variable(value) if key.endswith("_env") else value
        for key, value in account.settings.items()
    }
    try:
        check(account.provider, given)
    except ValueError as error:
        key, _, said = str(error).partition(": ")
        return Problem("ulak.toml", f"{where}.{key}", said)
    return None


def with_pool(wanted: Settings, work: Callable[[Pool], Awaitable[T]], *, size: int = 4) -> T:
    """Run ``work`` with a pool on the database in force, migrated; an embedded one is started if need be."""
    base = database.find(wanted, progress=lambda text: click.echo(f"{text} ({wanted.data_path.resolve()})", err=True))
    try:
        return asyncio.run(_run(base.url, wanted, work, size))
    finally:
        base.stop()


async def _run(url: str, wanted: Settings, work: Callable[[Pool], Awaitable[T]], size: int) -> T:
    pool = await Pool.open(url, size=size, statement_cache=wanted.statement_cache)
    try:
        await migrate(pool)
        return await work(pool)
    finally:
        await pool.close()
