"""What do the facts about an installation mean: is something wrong, and what should be done about it?

I/O reads the facts, here they are judged, and `ulak doctor` tells. *Trouble* breaks a promise or stops
work; a *note* is worth knowing and may well be meant so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ulak.core.score import Level as ScoreLevel
from ulak.core.score import Score

OLDEST_VERSION = 150000
_MINUTE = 60.0


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found: ``said`` in plain words, ``todo`` what helps (empty when there is nothing to do)."""

    check: str
    level: Level
    said: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """The PostgreSQL server.

    ``ahead`` is its clock's lead over this machine's, in seconds; ``xids`` the age of the oldest unfrozen
    transaction id; ``hidden`` how many sessions this user can't look into.
    """

    version: int
    version_text: str
    fsync: bool
    synchronous_commit: str
    full_page_writes: bool
    read_only: bool
    standbys: int
    synchronous: bool
    connections: int
    max_connections: int
    xids: int
    hidden: int
    ahead: float


@dataclass(frozen=True, slots=True)
class Holder:
    """Something that keeps old row versions alive: a transaction, a prepared one, a replication slot."""

    what: str
    seconds: float
    xids: int


@dataclass(frozen=True, slots=True)
class Table:
    """Size of one table, as the statistics see it."""

    name: str
    live: int
    dead: int
    size: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Work that waits in one place; ``overdue`` is how many seconds the oldest due piece has waited."""

    place: str
    rows: int
    overdue: float


@dataclass(frozen=True, slots=True)
class Queue:
    """The queue: ready rows and timers by bulkhead, work to be planned, leases, what was given up."""

    ready: Sequence[Waiting]
    timers: Sequence[Waiting]
    plans: Sequence[Waiting]
    leases: int
    expired: int
    expired_for: float
    dead: Mapping[str, int]
    dead_plans: int
    dead_callbacks: Mapping[str, int] = field(default_factory=dict)
    callbacks_late: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node that beat in the last seconds."""

    boot: int
    name: str
    roles: Collection[str]


@dataclass(frozen=True, slots=True)
class Schema:
    """Migrations: what lacks, what was changed after it was applied, whether the database is newer than the code."""

    absent: bool
    pending: Sequence[str]
    later: Sequence[str]
    changed: Sequence[str]
    newer: bool


def _finding(check: str, level: Level, said: str, todo: str = "") -> Finding:
    return Finding(check, level, said, todo)


def server(facts: Server) -> Iterator[Finding]:
    """Judge version, durability, replication, clock and connections."""
    if facts.version < OLDEST_VERSION:
        yield _finding("version", Level.TROUBLE, f"PostgreSQL {facts.version_text} is too old.", "Use 15 or newer.")
    else:
        yield _finding("version", Level.OK, f"PostgreSQL {facts.version_text}.")
    if facts.read_only:
        said = "The server takes no writes: it is a standby, or read-only by its settings."
        yield _finding("writable", Level.TROUBLE, said, "Point ULAK_DATABASE_URL at the primary.")
    yield from _durable(facts)
    yield from _replicated(facts)
    yield from _clock(facts.ahead)
    share = facts.connections / max(1, facts.max_connections)
    said = f"{facts.connections} of {facts.max_connections} connections are in use."
    if share > 0.9:
        todo = "Lower ULAK_POOL_SIZE, raise max_connections, or put PgBouncer between (ULAK_STATEMENT_CACHE=0)."
        yield _finding("connections", Level.TROUBLE, said, todo)
    else:
        yield _finding("connections", Level.OK, said)
    if facts.xids > 1_000_000_000:
        said = f"The oldest transaction id is {facts.xids:,} old: at 2,000,000,000 the server takes no more writes."
        yield _finding("freeze", Level.TROUBLE, said, "Find what keeps autovacuum from freezing (see `old rows`).")


def _durable(facts: Server) -> Iterator[Finding]:
    off = [
        name
        for name, on in (
            ("fsync", facts.fsync),
            ("full_page_writes", facts.full_page_writes),
            ("synchronous_commit", facts.synchronous_commit != "off"),
        )
        if not on
    ]
    if off:
        said = f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off: what was accepted can be lost in a crash."
        yield _finding("durability", Level.TROUBLE, said, "Switch it on: 202 promises that a notification is durable.")
    else:
        yield _finding("durability", Level.OK, "fsync, full_page_writes and synchronous_commit are on.")


def _replicated(facts: Server) -> Iterator[Finding]:
    waits = facts.synchronous and facts.synchronous_commit in ("on", "remote_write", "remote_apply")
    if waits:
        yield _finding("replication", Level.OK, f"Commits wait for a synchronous standby ({facts.standbys} connected).")
    elif facts.standbys:
        said = (
            f"{facts.standbys} standbys follow asynchronously: a fail-over can lose what was accepted a moment before."
        )
        todo = (
            "Set synchronous_standby_names (and leave synchronous_commit on) if 202 must survive the loss of a machine."
        )
        yield _finding("replication", Level.NOTE, said, todo)
    else:
        said = "No standby: what was accepted survives a crash of the server, not the loss of its disk."
        yield _finding(
            "replication", Level.NOTE, said, "For more, replicate synchronously (synchronous_standby_names)."
        )


def _clock(ahead: float) -> Iterator[Finding]:
    said = f"The database's clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine's."
    todo = "Synchronise both (NTP): tokens and times in requests are judged by nodes, due times by the database."
    if abs(ahead) > 30:
        yield _finding("clock", Level.TROUBLE, said, todo)
    elif abs(ahead) > 2:
        yield _finding("clock", Level.NOTE, said, todo)
    else:
        yield _finding("clock", Level.OK, "The clocks of the database and of this machine agree within 2 s.")


def old_rows(holders: Sequence[Holder], hidden: int) -> Iterator[Finding]:
    """Judge what keeps dead rows from being cleaned up: claims slow down while it lasts."""
    bad = [h for h in holders if h.seconds >= 5 * _MINUTE or h.xids > 1_000_000]
    for holder in sorted(bad, key=lambda h: -h.seconds)[:5]:
        how = f"is open for {_span(holder.seconds)}" if holder.seconds else f"holds back {holder.xids:,} transactions"
        said = f"{holder.what} {how}: nothing deleted since can be cleaned up, and claims slow down."
        yield _finding("old rows", Level.TROUBLE, said, "End it, and run long reports on a replica.")
    if not bad:
        yield _finding("old rows", Level.OK, "No transaction is older than 5 minutes.")
    if hidden:
        said = f"{hidden} sessions of other users can't be looked into."
        yield _finding(
            "old rows", Level.NOTE, said, "GRANT pg_monitor TO the user of ULAK_DATABASE_URL to have them checked."
        )


def tables(found: Sequence[Table]) -> Iterator[Finding]:
    """Judge dead rows and wasted space of the tables that work flows through."""
    bad = False
    for table in found:
        if table.dead > 100_000 and table.dead > table.live:
            bad = True
            said = f"Table {table.name} holds {table.dead:,} dead rows beside {table.live:,} live ones."
            yield _finding("tables", Level.NOTE, said, "Autovacuum does not keep up: see `old rows`, and its settings.")
        elif table.size > 256 << 20 and table.size > 2_000 * max(1, table.live):
            bad = True
            said = f"Table {table.name} takes {table.size >> 20:,} MiB for {table.live:,} rows."
            yield _finding(
                "tables", Level.NOTE, said, f"VACUUM FULL {table.name} in a quiet moment gives the space back."
            )
    if not bad:
        yield _finding("tables", Level.OK, "No hot table is swollen.")


def schema(facts: Schema) -> Iterator[Finding]:
    """Judge whether the database's schema is this code's."""
    if facts.absent:
        yield _finding(
            "schema", Level.NOTE, "The database is empty.", "`ulak migrate`, or the start of a node, fills it."
        )
        return
    if facts.newer:
        said = "The database's schema is newer than this code."
        yield _finding(
            "schema", Level.TROUBLE, said, "Start a newer Ulak, or restore a backup made before the upgrade."
        )
    if facts.changed:
        said = f"{', '.join(facts.changed)} was changed after it was applied."
        yield _finding("schema", Level.TROUBLE, said, "Restore the file; a change of the schema is a new file.")
    if facts.pending:
        said = f"Not applied yet: {', '.join(facts.pending)}."
        yield _finding("schema", Level.TROUBLE, said, "Run `ulak migrate`; a node does it at start.")
    if facts.later:
        said = f"Left over from an upgrade: {', '.join(facts.later)}."
        yield _finding("schema", Level.NOTE, said, "Run `ulak migrate --post` when no older node runs any more.")
    if not (facts.newer or facts.changed or facts.pending or facts.later):
        yield _finding("schema", Level.OK, "The schema is up to date.")


def nodes(alive: Sequence[NodeSeen], work: int) -> Iterator[Finding]:
    """Judge which nodes live; ``work`` is how many pieces of work are due."""
    names = [node.name for node in alive]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        said = f"Two nodes are called {', '.join(twice)}: each restart of one takes the other's work away."
        yield _finding("nodes", Level.TROUBLE, said, "Give each its own ULAK_NODE.")
    workers = sum("worker" in node.roles for node in alive)
    if not alive:
        level = Level.TROUBLE if work else Level.NOTE
        said = "No node runs." + (f" {work:,} pieces of work are due." if work else "")
        yield _finding("nodes", level, said, "Start one with `ulak serve`.")
    elif not workers:
        said = f"{len(alive)} nodes run and none of them has the role worker: nothing is planned or sent."
        yield _finding("nodes", Level.TROUBLE, said, "Start one with ULAK_ROLES=worker.")
    else:
        told = ", ".join(f"{n.name} ({'+'.join(sorted(n.roles))})" for n in alive[:8])
        yield _finding("nodes", Level.OK, f"{len(alive)} run: {told}{' …' if len(alive) > 8 else ''}.")


def queue(facts: Queue, served: Collection[str]) -> Iterator[Finding]:
    """Judge what waits and for how long; ``served`` are the bulkheads that an account in force works off."""
    for name, places in (("to be planned", facts.plans), ("ready to send", facts.ready), ("timers", facts.timers)):
        rows = sum(place.rows for place in places)
        worst = max(places, key=lambda p: p.overdue, default=None)
        if worst is None:
            yield _finding("queue", Level.OK, f"{name}: nothing waits.")
        elif worst.overdue > 5 * _MINUTE:
            said = f"{name}: {rows:,} wait, the oldest in {worst.place} is {_span(worst.overdue)} overdue."
            yield _finding("queue", Level.TROUBLE, said, "Look at the nodes above, their logs, and the provider.")
        else:
            level = Level.NOTE if worst.overdue > 30 else Level.OK
            late = f", the oldest due for {_span(worst.overdue)}" if worst.overdue > 1 else ""
            yield _finding("queue", level, f"{name}: {rows:,} wait{late}.")
    yield from _orphans(facts, served)
    if facts.expired and facts.expired_for > 30:
        said = f"{facts.expired} leases ended {_span(facts.expired_for)} ago and nobody took over."
        yield _finding("leases", Level.TROUBLE, said, "No worker looks after them: see `nodes`.")
    else:
        yield _finding("leases", Level.OK, f"{facts.leases} batches are in flight.")
    yield from _dead(facts)


def _orphans(facts: Queue, served: Collection[str]) -> Iterator[Finding]:
    waiting: dict[str, int] = {}
    for place in (*facts.ready, *facts.timers):
        waiting[place.place] = waiting.get(place.place, 0) + place.rows
    for bulkhead, rows in waiting.items():
        if bulkhead not in served:
            said = f"{rows:,} deliveries wait for {bulkhead}, and no account of a project in force is that."
            todo = "Bring the account back with `ulak apply`; else they stay until they expire."
            yield _finding("accounts", Level.TROUBLE, said, todo)


def _dead(facts: Queue) -> Iterator[Finding]:
    if facts.dead:
        told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(facts.dead.items()))
        yield _finding(
            "dead", Level.NOTE, f"Given up: {told}.", "GET /v1/dead lists them, POST /v1/dead/redrive tries again."
        )
    else:
        yield _finding("dead", Level.OK, "No delivery was given up.")
    if facts.dead_plans:
        said = f"{facts.dead_plans} pieces of work crashed their planner again and again and were put aside."
        yield _finding("dead", Level.TROUBLE, said, "They stand in dead_plans; the log tells why. Please report it.")
    if facts.dead_callbacks:
        told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(facts.dead_callbacks.items()))
        todo = "They stand in dead_callbacks for 30 days; `unknown_event` is for a newer release to know."
        yield _finding("callbacks", Level.NOTE, f"Callbacks put aside: {told}.", todo)
    if facts.callbacks_late > 60:
        said = f"Vendors' callbacks wait for {_span(facts.callbacks_late)}, and nobody applies them."
        yield _finding("callbacks", Level.TROUBLE, said, "A node with the role worker does: see `nodes` and the log.")


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def scores(known: Mapping[str, Score], paused: Mapping[str, str]) -> Iterator[Finding]:
    """Judge what came back of what accounts sent; ``paused`` says why an account's marketing was stopped."""
    for account, evidence in sorted(paused.items()):
        said = f"Account {account} sends no marketing: {evidence}."
        todo = f"Find out whose addresses those are, then POST /v1/providers/{account}/resume."
        yield _finding("scores", Level.TROUBLE, said, todo)
    for account, score in sorted(known.items()):
        for alarm, level in score.levels.items():
            if level is ScoreLevel.OK or account in paused:
                continue
            said = f"Account {account}: {score.rates[alarm]:.2%} {alarm} of {score.sent:,} sent."
            yield _finding(
                "scores", Level.NOTE, said, "Vendors suspend senders for that: find out where it comes from."
            )
