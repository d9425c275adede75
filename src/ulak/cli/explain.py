"""Why did a delivery, or everything that came of a notification, go as it did?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from ulak.cli.client import Client, connection_options, run


@click.command("explain")
@click.argument("identity", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the node's timeline as it is.")
@connection_options
def command(*, identity: str, as_json: bool, url: str, key: str) -> None:
    """Tell what was decided, tried and heard of ID (ntf_… or dlv_…), and why."""
    kind = identity.partition("_")[0]
    if kind not in {"ntf", "dlv"}:
        raise click.UsageError("ID begins with ntf_ (a notification) or dlv_ (a delivery)")
    path = f"/v1/{'notifications' if kind == 'ntf' else 'deliveries'}/{identity}/timeline"

    async def ask(client: Client) -> Any:
        return (await client.call("GET", path)).body

    timeline = run(ask, url, key)
    click.echo(json.dumps(timeline, indent=2) if as_json else "\n".join(told(timeline)))


def told(timeline: Mapping[str, Any]) -> Iterator[str]:
    """The timeline in lines for people: the notification, then each delivery with what happened in order."""
    notification = timeline.get("notification")
    if notification:
        yield (
            f"{notification['id']}  {notification['type']} ({notification.get('class', '?')}),"
            f" accepted {notification.get('accepted_at', '?')}"
        )
        if notification.get("cancelled_at"):
            yield f"  cancelled {notification['cancelled_at']}: what waits is not sent, and ends when its turn comes"
    deliveries: Sequence[Mapping[str, Any]] = timeline.get("deliveries") or (
        [timeline["delivery"]] if "delivery" in timeline else [timeline] if "channel" in timeline else []
    )
    if not deliveries:
        if notification and notification.get("planned"):
            yield "  no delivery: there was nobody to reach; a topic's are listed at GET /v1/topics/{topic}/subscribers"
        else:
            yield "  no delivery yet: it waits to be planned"
    for delivery in deliveries:
        yield ""
        yield from _delivery(delivery)


def _delivery(delivery: Mapping[str, Any]) -> Iterator[str]:
    reason = f" ({delivery['reason']})" if delivery.get("reason") else ""
    device = f" on {delivery['device']}" if delivery.get("device") else ""
    yield f"{delivery['id']}  {delivery['channel']} to {delivery['user']}{device}: {delivery['state']}{reason}"
    decision = delivery.get("decision") or {}
    if decision:
        yield "  decided: " + ", ".join(f"{name}={_short(value)}" for name, value in decision.items())
    yield from (f"  {when}  {what}" for when, what in sorted(_happened(delivery), key=lambda event: event[0]))


def _happened(delivery: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, word in {"planned_at": "planned", "due_at": "due"}.items():
        if delivery.get(name):
            yield str(delivery[name]), word
    for attempt in delivery.get("attempts") or ():
        yield str(attempt["started_at"]), f"attempt {attempt['n']} by {attempt['account']}"
        outcome = attempt.get("outcome")
        if outcome is None:
            yield str(attempt["reconcile_at"]), f"attempt {attempt['n']}: no answer; decided by then"
            continue
        blame = f", blame: {outcome['blame']}" if outcome.get("blame") else ""
        retry = f", again {outcome['retry_at']}" if outcome.get("retry_at") else ""
        if outcome.get("next_account"):
            retry = f", {outcome['next_account']} goes on" + (
                f" {outcome['retry_at']}" if outcome["kind"] == "unknown" else ""
            )
        detail = f": {outcome['detail']}" if outcome.get("detail") else ""
        yield (
            str(outcome["at"]),
            f"attempt {attempt['n']} {outcome['kind']} ({outcome['reason']}{blame}){retry}{detail}",
        )
    for receipt in delivery.get("receipts") or ():
        yield str(receipt["at"]), f"receipt: {receipt['kind']} from {receipt['source']}"
    # What follows from the above comes after it where both carry the same time.
    for name, word in {
        "delivered_at": "delivered",
        "seen_at": "seen",
        "read_at": "read",
        "settled_at": "settled",
    }.items():
        if delivery.get(name):
            yield str(delivery[name]), word


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:59] + "…"
