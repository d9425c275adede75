"""How is a run told: a table for people, one JSON line for programs, a list of what is wrong?"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from ulak.cli.demonstration.case import Verdict
from ulak.cli.demonstration.stack import Death

MOST = 40
"""Faults that are printed; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Run:
    """A judged run. ``latencies`` are milliseconds from a request's going out to its item on an open socket."""

    verdict: Verdict
    latencies: Sequence[float]
    deaths: Sequence[Death]
    mails: int
    seconds: float
    pushes: int = 0


def percentile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile, rounded to 0.1; None of nothing."""
    if not values:
        return None
    return round(sorted(values)[max(0, math.ceil(share * len(values)) - 1)], 1)


def as_json(run: Run) -> str:
    """The one line for programs."""
    verdict = run.verdict
    return json.dumps(
        {
            "accepted": verdict.accepted,
            "deliveries": verdict.deliveries,
            "lost": verdict.lost,
            "duplicates": verdict.duplicates,
            "unknown": verdict.unknown,
            "passed_on": verdict.passed_on,
            "socket_ms": {"p50": percentile(run.latencies, 0.5), "p99": percentile(run.latencies, 0.99)},
            "seconds": round(run.seconds, 1),
        }
    )


def show(run: Run, console: Console) -> None:
    """The table for people."""
    verdict = run.verdict
    table = Table(title=f"{verdict.accepted} notifications accepted, {sum(verdict.ends.values())} deliveries")
    for title in ("channel", "state", "reason"):
        table.add_column(title)
    table.add_column("number", justify="right")
    for (channel, state, reason), number in sorted(verdict.ends.items()):
        table.add_row(channel, state, reason, str(number))
    console.print(table)
    p50, p99 = percentile(run.latencies, 0.5), percentile(run.latencies, 0.99)
    if p50 is not None:
        console.print(
            f"On an open socket after {p50} ms (median), {p99} ms (99 of 100), of {len(run.latencies)} items."
        )
    if run.deaths:
        places = Counter(death.kill.failpoint if death.at_failpoint else "any moment" for death in run.deaths)
        console.print(
            f"Node killed {len(run.deaths)} times: {', '.join(f'{k} {n}x' for k, n in sorted(places.items()))}."
        )
    console.print(
        f"{run.mails} emails and {run.pushes} pushes reached the vendors, {verdict.duplicates} of them once too often;"
        f" {verdict.passed_on} times one could not send and another did;"
        f" {verdict.unknown} deliveries had a call that was never answered. {run.seconds:.1f} s."
    )
    word = "[green]Everything is accounted for.[/]" if verdict.passed else f"[red]{len(verdict.faults)} faults.[/]"
    console.print(word)


def faults(verdict: Verdict, console: Console) -> None:
    """What was lost or wrong, the lost first."""
    ordered = sorted(verdict.faults, key=lambda fault: not fault.lost)
    for fault in ordered[:MOST]:
        word = "lost" if fault.lost else "wrong"
        console.print(f"{word}: {fault.subject}: {fault.why}", markup=False, highlight=False, soft_wrap=True)
    if len(ordered) > MOST:
        console.print(f"… and {len(ordered) - MOST} more")
