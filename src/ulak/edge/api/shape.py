"""How do rows of the record become answers?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from ulak.core.ids import external
from ulak.core.project import Catalog
from ulak.edge.api import wire
from ulak.io.postgres.pool import Row

_problems = msgspec.json.Decoder(list[wire.ProblemOf]).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode


def problems(text: str | None) -> Sequence[wire.ProblemOf]:
    """The stored problems of a request's recipients."""
    return _problems(text) if text else []


def stored_object(text: str | None) -> dict[str, Any]:
    """A stored JSON object."""
    return _object(text) if text else {}


def notification(row: Row, counts: Mapping[str, Mapping[str, int]], catalog: Catalog) -> wire.NotificationAnswer:
    """One notification with its counts."""
    kind = catalog.types.get(row["type"])
    return wire.NotificationAnswer(
        id=external("ntf", row["id"]),
        type=row["type"],
        class_=kind.klass.value if kind else None,
        category=kind.category if kind else None,
        accepted_at=row["accepted_at"],
        expires_at=row["expires_at"],
        send_at=row["send_at"],
        cancelled_at=row["cancelled_at"],
        actor=row["actor"],
        recipients=row["recipients"],
        problems=problems(row["problems"]),
        planned=row["planned"],
        deliveries={channel: dict(states) for channel, states in counts.items()},
    )


_PLAIN = ("type", "channel", "state", "reason", "planned_at", "due_at", "expires_at", "settled_at")
_MARKS = ("delivered_at", "seen_at", "read_at")


def _common(row: Row) -> dict[str, Any]:
    return {
        "id": external("dlv", row["id"]),
        "notification": external("ntf", row["notification"]),
        "user": row["user_id"],
        # The only target that is no address; that of an erased user tells nothing any more.
        "device": row["target"] if row["channel"] == "push" and row["target"].startswith("dev_") else None,
        **{name: row[name] for name in (*_PLAIN, *_MARKS)},
    }


def delivery(row: Row) -> wire.DeliveryAnswer:
    """One delivery, without its address."""
    return wire.DeliveryAnswer(**_common(row), attempts=row["attempts"])


def timelines(rows: Sequence[Row], calls: Sequence[Row], receipts: Sequence[Row]) -> list[wire.DeliveryTimeline]:
    """Deliveries with all that happened to them."""
    attempts: dict[UUID, list[wire.AttemptAnswer]] = {row["id"]: [] for row in rows}
    said: dict[UUID, list[wire.ReceiptAnswer]] = {row["id"]: [] for row in rows}
    for call in calls:
        attempts[call["delivery"]].append(_attempt(call))
    for r in receipts:
        said[r["delivery"]].append(wire.ReceiptAnswer(r["kind"], r["source"], r["at"], r["n"], r["detail"]))
    return [
        wire.DeliveryTimeline(
            **_common(row),
            decision=stored_object(row["decision"]),
            attempts=attempts[row["id"]],
            receipts=said[row["id"]],
        )
        for row in rows
    ]


def _attempt(call: Row) -> wire.AttemptAnswer:
    outcome = None
    if call["kind"] is not None:
        outcome = wire.OutcomeAnswer(*(call[name] for name in wire.OutcomeAnswer.__struct_fields__))
    return wire.AttemptAnswer(call["n"], call["account"], call["started_at"], call["reconcile_at"], outcome)


def user(row: Row) -> wire.UserAnswer:
    """One stored user."""
    return wire.UserAnswer(
        id=row["id"],
        email=row["email"],
        phone=row["phone"],
        locale=row["locale"],
        timezone=row["timezone"],
        attributes=stored_object(row["attributes"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def preferences(rows: Sequence[Row]) -> wire.PreferencesAnswer:
    """A user's choices."""
    names = ("category", "channel", "allowed", "source", "changed_at")
    return wire.PreferencesAnswer([wire.PreferenceAnswer(*(row[name] for name in names)) for row in rows])


def consent(row: Row) -> wire.ConsentAnswer:
    """One line of a user's record of consent."""
    names = ("category", "channel", "allowed", "source", "evidence", "agent", "at")
    return wire.ConsentAnswer(*(row[name] for name in names))


def suppression(row: Row) -> wire.SuppressionAnswer:
    """One suppression."""
    names = ("channel", "address", "scope", "reason", "evidence", "source", "created_at", "expires_at")
    return wire.SuppressionAnswer(*(row[name] for name in names))


def dead(row: Row) -> wire.DeadAnswer:
    """One parked delivery."""
    return wire.DeadAnswer(
        id=external("dlv", row["delivery"]),
        notification=external("ntf", row["notification"]),
        type=row["type"],
        user=row["user_id"],
        channel=row["channel"],
        reason=row["reason"],
        n=row["n"],
        at=row["at"],
    )
