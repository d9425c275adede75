"""What happens to deliveries right now, seen from outside?

It polls the list of deliveries: newly planned ones and those that changed since they were last shown.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from ulak.cli.client import Client, connection_options, run

REMEMBERED = timedelta(minutes=15)
"""How long a delivery is watched for changes after it was planned."""


@click.command("tail")
@click.option("--user", help="Only this user.")
@click.option("--type", "type_name", help="Only this notification type.")
@click.option("--channel", help="Only this channel.")
@click.option("--state", help="Only deliveries in this state.")
@click.option("--since", default=0.0, metavar="SECONDS", help="Begin this long ago (default: now).")
@click.option("--interval", default=1.0, show_default=True, metavar="SECONDS", help="How often to look.")
@click.option("--once", is_flag=True, help="Look once and stop.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@connection_options
def command(  # noqa: PLR0913  # one parameter an option, as click wants it
    *,
    user: str | None,
    type_name: str | None,
    channel: str | None,
    state: str | None,
    since: float,
    interval: float,
    once: bool,
    as_json: bool,
    url: str,
    key: str,
) -> None:
    """Follow deliveries as they happen, until Ctrl-C."""
    asked = {"user": user, "type": type_name, "channel": channel, "state": state}
    filters = {name: value for name, value in asked.items() if value}
    start = datetime.now(UTC) - timedelta(seconds=since)

    async def follow(client: Client) -> None:
        shown: dict[str, str] = {}
        while True:
            begin = max(start, datetime.now(UTC) - max(REMEMBERED, timedelta(seconds=since)))
            rows: list[dict[str, Any]] = []
            async for page in client.pages("/v1/deliveries", filters | {"since": begin.isoformat()}):
                rows += page
            for row in news(rows, shown):
                click.echo(json.dumps(row) if as_json else line(row))
            if once:
                return
            await asyncio.sleep(interval)

    try:
        run(follow, url, key)
    except KeyboardInterrupt:
        click.echo("", err=True)


def news(rows: Iterable[dict[str, Any]], shown: dict[str, str]) -> list[dict[str, Any]]:
    """The rows that are new or changed since ``shown`` (which is brought up to date), oldest first."""
    fresh = []
    for row in sorted(rows, key=lambda row: (_when(row), str(row["id"]))):
        face = "|".join(str(row.get(name)) for name in ("state", "reason", "seen_at", "read_at", "delivered_at"))
        if shown.get(row["id"]) != face:
            shown[row["id"]] = face
            fresh.append(row)
    return fresh


def line(row: Mapping[str, Any]) -> str:
    """One delivery in one line."""
    reason = f" ({row['reason']})" if row.get("reason") else ""
    return f"{_when(row)[11:19]:8}  {row['channel']:8} {row['user']:24} {row['state']}{reason}  {row['id']}"


def _when(row: Mapping[str, Any]) -> str:
    return str(row.get("settled_at") or row.get("planned_at") or "")
