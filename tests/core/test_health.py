"""Is each fact judged for what it means?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ulak.core import health
from ulak.core.health import Finding, Holder, Level, NodeSeen, Queue, Schema, Server, Table, Waiting
from ulak.core.score import Score

GOOD = Server(
    version=180000,
    version_text="18.0",
    fsync=True,
    synchronous_commit="on",
    full_page_writes=True,
    read_only=False,
    standbys=1,
    synchronous=True,
    connections=10,
    max_connections=100,
    xids=1_000,
    hidden=0,
    ahead=0.0,
)
QUIET = Queue(ready=(), timers=(), plans=(), leases=0, expired=0, expired_for=0.0, dead={}, dead_plans=0)
WORKER = NodeSeen(1, "a", {"api", "worker"})


def _bad(found: Iterable[Finding]) -> list[str]:
    return [f.check for f in found if f.level is Level.TROUBLE]


def _noted(found: Iterable[Finding]) -> list[str]:
    return [f.check for f in found if f.level is Level.NOTE]


def test_a_good_server_is_good() -> None:
    assert {f.level for f in health.server(GOOD)} == {Level.OK}


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"version": 140012}, "version"),
        ({"fsync": False}, "durability"),
        ({"synchronous_commit": "off"}, "durability"),
        ({"full_page_writes": False}, "durability"),
        ({"read_only": True}, "writable"),
        ({"ahead": -31.0}, "clock"),
        ({"connections": 95}, "connections"),
        ({"xids": 1_500_000_000}, "freeze"),
    ],
)
def test_what_breaks_a_promise_is_trouble(change: dict[str, object], check: str) -> None:
    found = list(health.server(replace(GOOD, **change)))  # type: ignore[arg-type]  # typed by the table above
    assert _bad(found) == [check]
    assert all(f.todo for f in found if f.level is Level.TROUBLE)


def test_all_that_is_off_is_named() -> None:
    found = health.server(replace(GOOD, fsync=False, full_page_writes=False))
    assert [f.said for f in found if f.check == "durability"] == [
        "fsync and full_page_writes are off: what was accepted can be lost in a crash."
    ]


@pytest.mark.parametrize(
    ("standbys", "synchronous", "commit", "level"),
    [
        (1, True, "on", Level.OK),
        (1, True, "local", Level.NOTE),
        (1, False, "on", Level.NOTE),
        (0, False, "on", Level.NOTE),
    ],
)
def test_a_fail_over_needs_a_synchronous_standby(standbys: int, synchronous: bool, commit: str, level: Level) -> None:
    facts = replace(GOOD, standbys=standbys, synchronous=synchronous, synchronous_commit=commit)
    assert [f.level for f in health.server(facts) if f.check == "replication"] == [level]


def test_clocks_may_differ_a_little() -> None:
    assert _noted(health.server(replace(GOOD, ahead=5.0))) == ["clock"]


def test_an_old_transaction_is_trouble() -> None:
    assert _bad(health.old_rows([Holder("A report", 20.0, 5)], 0)) == []
    (found,) = health.old_rows([Holder("A report", 20.0, 5), Holder("A dump", 7_300.0, 5)], 0)
    assert found.level is Level.TROUBLE
    assert "A dump is open for 2 h" in found.said


def test_a_slot_that_holds_back_is_trouble() -> None:
    (found,) = health.old_rows([Holder("The slot x", 0.0, 2_000_000)], 0)
    assert found.level is Level.TROUBLE
    assert "holds back 2,000,000 transactions" in found.said


def test_what_can_not_be_seen_is_told() -> None:
    assert _noted(health.old_rows([], 3)) == ["old rows"]


def test_swollen_tables_are_noted() -> None:
    assert _noted(health.tables([Table("ready", 10, 50_000, 1 << 20), Table("timers", 10**6, 10**5, 1 << 28)])) == []
    assert _noted(health.tables([Table("ready", 10, 200_000, 1 << 20)])) == ["tables"]
    assert _noted(health.tables([Table("ready", 10, 0, 1 << 30)])) == ["tables"]


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        (Schema(absent=True, pending=(), later=(), changed=(), newer=False), Level.NOTE),
        (Schema(absent=False, pending=("0002_x.pre",), later=(), changed=(), newer=False), Level.TROUBLE),
        (Schema(absent=False, pending=(), later=("0002_x.post",), changed=(), newer=False), Level.NOTE),
        (Schema(absent=False, pending=(), later=(), changed=("0001_x.pre",), newer=False), Level.TROUBLE),
        (Schema(absent=False, pending=(), later=(), changed=(), newer=True), Level.TROUBLE),
        (Schema(absent=False, pending=(), later=(), changed=(), newer=False), Level.OK),
    ],
)
def test_the_schema_is_judged(facts: Schema, level: Level) -> None:
    assert [f.level for f in health.schema(facts)] == [level]


def test_no_node_is_trouble_only_when_work_is_due() -> None:
    assert _noted(health.nodes([], 0)) == ["nodes"]
    assert _bad(health.nodes([], 1)) == ["nodes"]


def test_somebody_has_to_work() -> None:
    assert _bad(health.nodes([NodeSeen(1, "a", {"api"})], 0)) == ["nodes"]
    assert _bad(health.nodes([WORKER], 0)) == []


def test_two_nodes_of_one_name_are_trouble() -> None:
    assert _bad(health.nodes([WORKER, replace(WORKER, boot=2)], 0)) == ["nodes"]


def test_a_quiet_queue_is_good() -> None:
    assert {f.level for f in health.queue(QUIET, set())} == {Level.OK}


@pytest.mark.parametrize(("overdue", "level"), [(2.0, Level.OK), (40.0, Level.NOTE), (400.0, Level.TROUBLE)])
def test_work_that_waits_too_long_is_found(overdue: float, level: Level) -> None:
    facts = replace(QUIET, ready=[Waiting("email/a", 3, 0.0), Waiting("email/b", 5, overdue)])
    found = [f for f in health.queue(facts, {"email/a", "email/b"}) if f.said.startswith("ready")]
    assert [f.level for f in found] == [level]
    assert "8 wait" in found[0].said


def test_a_bulkhead_that_nobody_serves_is_trouble() -> None:
    facts = replace(QUIET, ready=[Waiting("email/gone", 2, 0.0)], timers=[Waiting("email/gone", 3, 0.0)])
    assert [f.said for f in health.queue(facts, {"email/mail"}) if f.level is Level.TROUBLE] == [
        "5 deliveries wait for email/gone, and no account of a project in force is that."
    ]
    assert _bad(health.queue(facts, {"email/gone"})) == []


def test_leases_that_nobody_took_over_are_trouble() -> None:
    assert _bad(health.queue(replace(QUIET, leases=2, expired=1, expired_for=2.0), set())) == []
    assert _bad(health.queue(replace(QUIET, leases=2, expired=1, expired_for=60.0), set())) == ["leases"]


def test_what_was_given_up_is_told() -> None:
    assert _noted(health.queue(replace(QUIET, dead={"crashed": 2}), set())) == ["dead"]
    assert _bad(health.queue(replace(QUIET, dead_plans=1), set())) == ["dead"]
    assert _bad(health.queue(replace(QUIET, callbacks_late=61.0), set())) == ["callbacks"]
    aside = list(health.queue(replace(QUIET, dead_callbacks={"unknown_event": 2}), set()))
    assert any("2 unknown_event" in finding.said for finding in aside)


def test_scores_near_and_past_a_vendors_bounds_are_told() -> None:
    since = datetime(2026, 11, 1, tzinfo=UTC)
    known = {
        "bad": Score(since, sent=1_000, bounced=150),
        "good": Score(since, sent=1_000, bounced=10),
        "near": Score(since, sent=1_000, complained=2),
    }
    found = list(health.scores(known, {"bad": "150 of 1000"}))
    assert [(f.level, f.said) for f in found] == [
        (Level.TROUBLE, "Account bad sends no marketing: 150 of 1000."),
        (Level.NOTE, "Account near: 0.20% complaints of 1,000 sent."),
    ]
    assert "/v1/providers/bad/resume" in found[0].todo
