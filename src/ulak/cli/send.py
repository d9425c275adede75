"""How is one notification sent from the command line?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ulak.cli.client import Answer, Client, connection_options, run


@click.command("send")
@click.argument("type_name", metavar="TYPE")
@click.option("--to", "users", multiple=True, metavar="USER", help="A user's id; may be repeated.")
@click.option("--topic", "topics", multiple=True, metavar="TOPIC", help="All subscribers of a topic; may be repeated.")
@click.option("--data", default="{}", metavar="JSON", help="A JSON object, @FILE to read one, or - for standard input.")
@click.option("--channel", "channels", multiple=True, metavar="CHANNEL", help="Only this channel; may be repeated.")
@click.option("--actor", help="Whoever caused it.")
@click.option("--idempotency-key", "once", metavar="TEXT", help="The same key and body again give the same answer.")
@click.option("--json", "as_json", is_flag=True, help="Print the node's answer as JSON.")
@connection_options
def command(  # noqa: PLR0913  # one parameter an option, as click wants it
    *,
    type_name: str,
    users: tuple[str, ...],
    topics: tuple[str, ...],
    data: str,
    channels: tuple[str, ...],
    actor: str | None,
    once: str | None,
    as_json: bool,
    url: str,
    key: str,
) -> None:
    """Send one notification of TYPE and print its id."""
    to: list[dict[str, str]] = [{"user": user} for user in users] + [{"topic": topic} for topic in topics]
    if not to:
        raise click.UsageError("nobody to send to: give --to USER or --topic TOPIC")
    body: dict[str, Any] = {"type": type_name, "to": to, "data": read_data(data)}
    if channels:
        body["channels"] = list(channels)
    if actor:
        body["actor"] = actor
    headers = {"Idempotency-Key": once} if once else {}

    async def post(client: Client) -> Answer:
        return await client.call("POST", "/v1/notifications", body=body, headers=headers)

    answer = run(post, url, key).body
    if as_json:
        click.echo(json.dumps(answer))
        return
    click.echo(f"{answer['id']}  accepted for {_whom(answer['accepted'], len(users), topics)}")
    for problem in answer.get("problems", []):
        click.echo(f"  {problem['path']}: {problem['detail']} ({problem['code']})")
    click.echo(f"Follow it: ulak explain {answer['id']}")


def _whom(accepted: int, users: int, topics: Sequence[str]) -> str:
    """Users of the list are counted at once, the subscribers of a topic when they are looked up."""
    parts = [f"{accepted} of {users} {'user' if users == 1 else 'users'}"] if users else []
    return " and ".join([*parts, *(f"whoever subscribes to {topic}" for topic in topics)])


def read_data(text: str) -> dict[str, Any]:
    """The object that ``--data`` means: JSON, ``@file``, or ``-`` for standard input."""
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        value = json.loads(text)
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--data: {error}") from None
    if not isinstance(value, dict):
        raise click.UsageError("--data: it must be a JSON object, such as '{\"order\": 1}'")
    return value
