"""How does everything run on this machine with one command, and what does its user see first?

PostgreSQL and the node live in this process's tree, the sandbox (which takes the place of every vendor)
in a process of its own. The first start makes an API key and prints it once.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path

import click

from ulak import database
from ulak.cli import children
from ulak.cli.common import PORT, plainly, read_project, settings
from ulak.cli.demonstration.project import example
from ulak.cli.keys import create_key
from ulak.cli.serve import address, listen
from ulak.core.apikey import Scope
from ulak.core.project import load
from ulak.doors import run
from ulak.io.postgres.catalogs import apply
from ulak.io.postgres.keys import Keys
from ulak.io.postgres.migrate import migrate
from ulak.io.postgres.pool import Pool
from ulak.io.project import read_folder
from ulak.logs import set_up
from ulak.settings import Settings

_HERE = Path("ulak.toml")
_ANY = ("--smtp-port", "0", "--vendor-port", "0", "--push-port", "0")


@click.command(help="Run everything on this machine; vendors are replaced by the sandbox, so nothing leaves it.")
@click.option("--port", default=None, type=PORT, help="Port of the API; 0 for any free one.")
@click.option(
    "--mail-port", default=8025, type=PORT, show_default=True, help="Port of the mailbox page; 0 for any free one."
)
@click.option("--project", default=None, type=click.Path(file_okay=False), help="Project folder; default: this one.")
@plainly
def command(port: int | None, mail_port: int, project: str | None) -> None:
    """Run the development stack."""
    folder = project or (str(Path.cwd()) if _HERE.is_file() else str(example()))
    wanted = settings(folder, port=port)
    if "ULAK_DATA_DIR" not in os.environ and not wanted.data_dir:
        wanted = replace(wanted, data_dir=_data_folder())
    set_up("warning")
    read_project(folder)  # what is wrong with it is told before anything starts
    listener = listen(wanted)
    mailbox = children.start(["sandbox", *_ANY, "--http-port", str(mail_port)])
    base = None
    try:
        where = _mailbox(mailbox.stdout.readline() if mailbox.stdout else b"", mail_port)
        base = database.find(wanted, progress=lambda text: click.echo(text, err=True))
        if base.owned is None and not wanted.database_url:
            raise click.ClickException(_taken(wanted))
        smtp, vendors = f"127.0.0.1:{where['smtp_port']}", str(where["vendors_url"])
        ready = replace(wanted, database_url=base.url, sandbox_smtp=smtp, sandbox_vendors=vendors, node="dev")
        ready = replace(ready, sandbox_push=json.dumps(where["push"]))
        ready = replace(ready, public_url=wanted.public_url or address(listener))
        key = asyncio.run(_prepare(ready))
        hidden = key is not None

        def welcome() -> None:
            nonlocal hidden
            hidden = False
            _welcome(ready, address(listener), str(where["url"]), key)

        try:
            run(ready, listener, base.owned, welcome)
        finally:
            if hidden:  # it could not start, but the key is made and nobody can read it again
                click.echo(f"API key {key}   (shown this once)")
    finally:
        listener.close()
        children.end(mailbox)
        if base is not None:
            base.stop()


def _data_folder() -> str:
    """Apart from what a node in earnest uses; for root where PostgreSQL's own account can reach it."""
    return ".ulak/dev" if os.getuid() else "/var/lib/ulak/dev"


def _mailbox(line: bytes, port: int) -> dict[str, object]:
    if not line:
        message = f"the mailbox page on port {port} did not start (see above); choose another port with --mail-port"
        raise click.ClickException(message)
    answer: dict[str, object] = json.loads(line)
    return answer


def _taken(wanted: Settings) -> str:
    """Two nodes of one name would take each other's work away, and a mail could go to either's mailbox."""
    where = wanted.data_path.resolve()
    return f"another Ulak runs on the data in {where} already: end it, or name another folder in ULAK_DATA_DIR"


async def _prepare(wanted: Settings) -> str | None:
    """Schema, project, and at the very first start a key; returns the key's text then, and never again."""
    pool = await Pool.open(wanted.database_url, size=2, statement_cache=wanted.statement_cache)
    try:
        await migrate(pool)
        await apply(pool, 0, load(read_folder(wanted.project)))
        if await Keys(pool).list(0):
            return None
        return await create_key(pool, 0, "dev", frozenset({Scope.ALL.value}))
    finally:
        await pool.close()


def _welcome(wanted: Settings, url: str, mailbox: str, key: str | None) -> None:
    """Every address, the key, and the next command to paste."""
    shown = key or "$ULAK_API_KEY"
    catalog = load(read_folder(wanted.project))
    kind = "issues" if "issues" in catalog.types else next(iter(catalog.types), "your_type")
    to = '{"user": {"id": "ada", "email": "ada@example.com", "locale": "en"}}'
    issue = '{"action": "opened", "issue": {"number": 1, "title": "Hello", "html_url": "https://example.com/1"}}'
    data = issue if kind == "issues" else "{}"  # what a project of the user's own wants to know is not ours to guess
    lines = [
        "",
        "Ulak runs in development: every vendor is the sandbox, nothing leaves this machine.",
        "",
        f"  API        {url}/v1      manual {url}/docs",
        f"  socket     {url.replace('http', 'ws', 1)}/v1/socket",
        f"  mailbox    {mailbox}",
        f"  devices    {mailbox}/devices   (fake phones and browsers that show their pushes)",
        f"  project    {wanted.project}  ({len(catalog.types)} types)",
        f"  data       {Path(wanted.data_dir or wanted.data_path).resolve()}",
    ]
    if key is None:
        where = Path(wanted.data_dir or wanted.data_path).resolve()
        lines.append(
            f"  API key    printed at the first start; another one: ULAK_DATA_DIR={where} ./ulak.sh keys create"
        )
    else:
        lines.append(f"  API key    {key}   (shown this once)")
    lines += [
        "",
        "Send a first notification, then look into the mailbox:",
        "",
        f"curl -sS {url}/v1/notifications -H 'Authorization: Bearer {shown}' \\"
        if key
        else f'curl -sS {url}/v1/notifications -H "Authorization: Bearer {shown}" \\',
        f'  -H \'Content-Type: application/json\' -d \'{{"type": "{kind}", "to": [{to}], "data": {data}}}\'',
        "",
        "Ctrl-C ends it; what was accepted is kept.",
    ]
    click.echo("\n".join(lines))
