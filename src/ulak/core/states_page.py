"""How does the state machine look on paper?

Makes ``docs/reference/states.md`` from the tables of ``states`` and ``reasons``; a test compares.
"""

from __future__ import annotations

from collections import defaultdict

from ulak.core.reasons import SENTENCES
from ulak.core.states import ENDS, MEANING, RECEIPTS, SETTLED, TRANSITIONS, Event, State

_DRAWN_RECEIPTS = {State.ACCEPTED, State.DELIVERED, State.UNKNOWN, State.EXPIRED}

_DRAWN_EVENTS = (Event.TAKEN, Event.REFUSED, Event.DELIVERED, Event.BOUNCED)

_RECEIPTS = """Receipts are taken in every state (the drawing shows four): `delivered`, `seen`, `read`, `opened` and
`clicked` lead to `delivered`, a `bounced` leads to `bounced` and outranks them in either order; `taken` settles what
waits for an answer as `accepted`, `refused` as `failed`, and whatever proves more outranks both; `archived` and
`complained` are times beside the state. Only a receipt or a redrive leads out of an end."""


def diagram() -> str:
    """Mermaid source. Receipts are drawn from four states only; the page says that all take them."""
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (state, event), after in TRANSITIONS.items():
        receipt = event in RECEIPTS
        if state is after or (receipt and (state not in _DRAWN_RECEIPTS or event not in _DRAWN_EVENTS)):
            continue
        arrows[state or "[*]", after].append(event)
    arrows[State.ATTEMPTING, State.BOUNCED].append(Event.BOUNCED)
    lines = ["stateDiagram-v2"]
    lines += [f"    {one} --> {two}: {', '.join(sorted(events))}" for (one, two), events in sorted(arrows.items())]
    lines += [f"    {state} --> [*]" for state in State if state in ENDS]
    return "\n".join(lines) + "\n"


def page() -> str:
    """The whole page, as Markdown."""
    parts = [
        "# States of a delivery",
        "<!-- Made by `python -m tools.reference`; edit src/ulak/core/states.py instead. -->",
        "A delivery is one notification for one user on one channel. Its state is a fold over what happened to it.",
        f"```mermaid\n{diagram()}```",
        _RECEIPTS,
        "## States",
        _table(("state", "settled", "end"), [(f"`{s}`", _tick(s in SETTLED), _tick(s in ENDS)) for s in State]),
        "## Events",
        _table(("event", "means"), [(f"`{event}`", meaning) for event, meaning in MEANING.items()]),
        "## What leads where",
        _table(("state", "event → next state"), _rows()),
        "## Reasons",
        _table(("reason", "means"), [(f"`{reason}`", sentence) for reason, sentence in SENTENCES.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _rows() -> list[tuple[str, ...]]:
    rows: dict[str, list[str]] = defaultdict(list)
    for (state, event), after in TRANSITIONS.items():
        if event not in RECEIPTS and state is not after:
            rows[f"`{state}`" if state else "(not planned)"].append(f"{event} → `{after}`")
    return [(state, ", ".join(sorted(events))) for state, events in rows.items()]


def _tick(yes: object) -> str:
    return "yes" if yes else ""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)
