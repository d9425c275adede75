"""Does the judge catch every fraud with pushes, and acquit an honest run?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ulak.cli.demonstration.case import Verdict
from ulak.cli.demonstration.evidence import Accepted, Evidence, Pushed, SocketLog
from ulak.cli.demonstration.judge import judge
from ulak.cli.demonstration.people import Habit, Person
from ulak.cli.demonstration.project import Kind, Leg

ADA = Person("ada", None, "en", Habit.AWAY, devices=("apns-1", "webpush-1"))
EFE = Person("efe", None, "tr", Habit.AWAY, devices=("fcm_token-2",))
TOM = Person("tom", None, None, Habit.AWAY)
PEOPLE = (ADA, EFE, TOM)
KINDS = {"issues": Kind("talk", "transactional", (Leg("in_app", 0, ""), Leg("push", 1, "seen")))}
AT = "2026-01-01T00:00:0{}+00:00"


def delivery(number: str, user: str, state: str = "accepted", reason: str | None = None, **more: Any) -> dict[str, Any]:
    made = {"id": f"dlv_{number}", "user": user, "channel": "push", "state": state, "reason": reason}
    return {**made, "attempts": [], **more}


def attempt(n: int, kind: str, second: int = 3) -> dict[str, Any]:
    return {"n": n, "account": "apple", "started_at": AT.format(second), "outcome": {"kind": kind, "reason": "x"}}


def push(number: str, device: str, spoken: str = "en") -> Pushed:
    return Pushed(f"dlv_{number}", "ntf_1", device, spoken, "Title")


def honest(**changes: Any) -> Evidence:
    """Three users with two devices, one and none. ``changes`` replace deliveries by their number; None leaves out."""
    rows = {
        "a0": delivery("a0", "ada", channel="in_app"),
        "a1": delivery("a1", "ada"),
        "a2": delivery("a2", "ada"),
        "e0": delivery("e0", "efe", channel="in_app"),
        "e1": delivery("e1", "efe", attempts=[attempt(1, "accepted")]),
        "t0": delivery("t0", "tom", channel="in_app"),
        "t1": delivery("t1", "tom", "skipped", "no_address"),
        **changes,
    }
    return Evidence(
        accepted=[Accepted("k0", "ntf_1", "issues", frozenset(person.id for person in PEOPLE))],
        listed=["ntf_1"],
        timelines={"ntf_1": {"deliveries": [row for row in rows.values() if row is not None]}},
        sockets=[SocketLog("nobody")],
        inboxes={"ada": ["dlv_a0"], "efe": ["dlv_e0"], "tom": ["dlv_t0"]},
        mails=[],
        pushes=PUSHES,
    )


A1, A2, E1 = PUSHES = (push("a1", "apns-1"), push("a2", "webpush-1"), push("e1", "fcm_token-2", "tr"))


def weigh(evidence: Evidence) -> Verdict:
    return judge(evidence, PEOPLE, KINDS)


def test_an_honest_run_passes() -> None:
    verdict = weigh(honest())
    assert verdict.passed, verdict.faults
    assert verdict.deliveries["push"] == {"accepted": 3, "skipped": 1}


def test_a_double_is_forgiven_where_a_call_was_never_answered() -> None:
    evidence = honest(e1=delivery("e1", "efe", attempts=[attempt(1, "unknown"), attempt(2, "accepted")]))
    verdict = weigh(replace(evidence, pushes=[*PUSHES, E1]))
    assert verdict.passed, verdict.faults
    assert (verdict.duplicates, verdict.unknown) == (1, 1)


def test_who_saw_it_in_the_app_need_not_be_pushed_to() -> None:
    seen = delivery("a0", "ada", channel="in_app", seen_at=AT.format(1))
    evidence = honest(a0=seen, a1=delivery("a1", "ada", "skipped", "seen"), a2=delivery("a2", "ada", "skipped", "seen"))
    evidence = replace(evidence, pushes=[E1], sockets=[SocketLog("ada", acted={"dlv_a0": "seen"})])
    assert weigh(evidence).passed, weigh(evidence).faults


def pushes(*new: Pushed) -> Callable[[], Evidence]:
    return lambda: replace(honest(), pushes=new)


LOST: dict[str, tuple[Callable[[], Evidence], str]] = {
    "a device that nothing was planned for": (lambda: honest(a2=None), "only 1 of 2 devices"),
    "a user whose devices were forgotten": (lambda: honest(e1=None), "nothing was planned for efe on push"),
    "a push that never arrived": (pushes(A1, A2), "no push service ever saw it"),
    "a push that was given up": (lambda: honest(e1=delivery("e1", "efe", "dead", "x")), "nothing stood in its way"),
    "a device that was thought dead": (
        lambda: honest(e1=delivery("e1", "efe", "skipped", "device_disabled")),
        "nothing stood in its way",
    ),
    "a push that is still open": (lambda: honest(e1=delivery("e1", "efe", "retrying")), "is not settled"),
    "a push stopped by an act that nobody did": (
        lambda: honest(e1=delivery("e1", "efe", "skipped", "seen")),
        "nothing stood in its way",
    ),
}
WRONG: dict[str, tuple[Callable[[], Evidence], str]] = {
    "a delivery too many": (lambda: honest(x=delivery("x", "ada")), "planned twice for ada on push"),
    "a double with all calls answered": (pushes(A1, A2, E1, E1), "arrived 2 times with 0 calls left unanswered"),
    "a push of nobody's": (pushes(A1, A2, E1, push("zz", "apns-1")), "belongs to no delivery"),
    "a push on another's phone": (pushes(A1, A2, replace(E1, device="apns-1")), "went to apns-1, which is another's"),
    "two deliveries on one device": (pushes(A1, replace(A2, device="apns-1"), E1), "in several deliveries"),
    "one delivery on two devices": (pushes(A1, replace(A1, device="webpush-1"), A2, E1), "then to webpush-1"),
    "another notification's id": (pushes(A1, A2, replace(E1, notification="ntf_2")), "tells the app of ntf_2"),
    "the wrong language": (pushes(A1, A2, replace(E1, spoken="en")), "is written in en; tr was due"),
    "no language": (pushes(A1, A2, replace(E1, spoken=None)), "no language of ours"),
    "no title": (pushes(A1, A2, replace(E1, title=" ")), "has no title"),
    "a push to somebody without a device": (
        pushes(A1, A2, E1, push("t1", "apns-1")),
        "was sent to somebody without a device",
    ),
    "no device, and no word of it": (lambda: honest(t1=delivery("t1", "tom")), "and there is no device"),
    "a call after the user had seen it": (
        lambda: honest(
            e0=delivery("e0", "efe", channel="in_app", seen_at=AT.format(1)),
            e1=delivery("e1", "efe", attempts=[attempt(1, "accepted", 5)]),
        ),
        "began after the user had seen it",
    ),
}


@pytest.mark.parametrize(("fraud", "why"), LOST.values(), ids=list(LOST))
def test_what_is_lost_is_missed(fraud: Callable[[], Evidence], why: str) -> None:
    verdict = weigh(fraud())
    assert [fault for fault in verdict.faults if fault.lost and why in fault.why], verdict.faults


@pytest.mark.parametrize(("fraud", "why"), WRONG.values(), ids=list(WRONG))
def test_what_is_wrong_is_held_against_it(fraud: Callable[[], Evidence], why: str) -> None:
    verdict = weigh(fraud())
    assert [fault for fault in verdict.faults if not fault.lost and why in fault.why], verdict.faults
