"""Does the judge catch every kind of fraud, and acquit an honest run?"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from ulak.cli.demonstration.case import Verdict
from ulak.cli.demonstration.evidence import Accepted, Evidence, Frame, Mail, SocketLog
from ulak.cli.demonstration.judge import judge
from ulak.cli.demonstration.people import Habit, Person
from ulak.cli.demonstration.project import Kind, Leg

ADA = Person("ada", "ada@example.com", "en", Habit.READS)
EFE = Person("efe", "efe@example.com", "tr-TR", Habit.AWAY)
TOM = Person("tom", None, None, Habit.AWAY)
MIA = Person("mia", "mia@example.com", "en", Habit.AWAY, muted=frozenset({"talk"}))
LEO = Person("leo", "leo@example.com", "en", Habit.AWAY, suppressed=True)
PEOPLE = (ADA, EFE, TOM, MIA, LEO)
KINDS = {"issues": Kind("talk", "transactional", (Leg("in_app", 0, ""), Leg("email", 2, "read")))}
AT = "2026-01-01T00:00:0{}+00:00"


def delivery(
    number: str, user: str, channel: str, state: str, reason: str | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "id": f"dlv_{number}",
        "user": user,
        "channel": channel,
        "state": state,
        "reason": reason,
        "attempts": [],
    } | more


def attempt(n: int, kind: str, second: int = 3) -> dict[str, Any]:
    return {"n": n, "account": "mail", "started_at": AT.format(second), "outcome": {"kind": kind, "reason": "x"}}


def mail(number: str, user: str, language: str, n: int = 1) -> Mail:
    address = f"{user}@example.com"
    return Mail(f"dlv_{number}", f"att_{number}_{n}", address, address, language, language, "Subject")


def honest() -> Evidence:
    """Five users: one reads in the app, one gets the email, three have a reason to get none."""
    deliveries = [
        delivery("a1", "ada", "in_app", "accepted", seen_at=AT.format(1), read_at=AT.format(1)),
        delivery("a2", "ada", "email", "skipped", "read"),
        delivery("e1", "efe", "in_app", "accepted"),
        delivery("e2", "efe", "email", "accepted", attempts=[attempt(1, "accepted")]),
        delivery("t1", "tom", "in_app", "accepted"),
        delivery("t2", "tom", "email", "skipped", "no_address"),
        delivery("m1", "mia", "in_app", "accepted"),
        delivery("m2", "mia", "email", "skipped", "opted_out"),
        delivery("l1", "leo", "in_app", "accepted"),
        delivery("l2", "leo", "email", "suppressed", "manual"),
    ]
    socket = SocketLog(
        "ada",
        [
            Frame(1, 0, 3, (("dlv_a1", 1), ("dlv_z", 3)), fresh=True),
            Frame(2, 3, 4, (("dlv_a1", 4),)),
        ],
        {"dlv_a1": "read"},
    )
    return Evidence(
        accepted=[Accepted("k0", "ntf_1", "issues", frozenset(person.id for person in PEOPLE))],
        listed=["ntf_1"],
        timelines={"ntf_1": {"deliveries": deliveries}},
        sockets=[socket],
        inboxes={"efe": ["dlv_e1"], "tom": ["dlv_t1"], "mia": ["dlv_m1"], "leo": ["dlv_l1"]},
        mails=[mail("e2", "efe", "tr")],
    )


def weigh(evidence: Evidence) -> Verdict:
    return judge(evidence, PEOPLE, KINDS)


def find(evidence: Evidence, number: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = evidence.timelines["ntf_1"]["deliveries"]
    return next(row for row in rows if row["id"] == f"dlv_{number}")


def test_an_honest_run_passes() -> None:
    verdict = weigh(honest())
    assert verdict.passed, verdict.faults
    assert (verdict.accepted, verdict.lost, verdict.duplicates, verdict.unknown) == (1, 0, 0, 0)
    assert verdict.deliveries == {
        "email": {"accepted": 1, "skipped": 3, "suppressed": 1},
        "in_app": {"accepted": 5},
    }


def test_a_double_is_forgiven_where_a_call_was_never_answered() -> None:
    evidence = honest()
    find(evidence, "e2")["attempts"] = [attempt(1, "unknown"), attempt(2, "accepted")]
    verdict = weigh(replace(evidence, mails=[mail("e2", "efe", "tr"), mail("e2", "efe", "tr", 2)]))
    assert verdict.passed, verdict.faults
    assert (verdict.duplicates, verdict.unknown) == (1, 1)


def test_marketing_may_end_unresolved_but_nothing_else() -> None:
    evidence = honest()
    find(evidence, "e2").update(state="unresolved", reason="no_answer", attempts=[attempt(1, "unknown")])
    evidence = replace(evidence, mails=[])
    assert weigh(evidence).lost == 1
    marketing = {"issues": replace(KINDS["issues"], klass="marketing")}
    assert judge(evidence, PEOPLE, marketing).passed


# --------------------------------------------------------------------------------------------------- frauds


def edit(number: str, **changes: Any) -> Callable[[Evidence], Evidence]:
    def commit(evidence: Evidence) -> Evidence:
        find(evidence, number).update(changes)
        return evidence

    return commit


def without(number: str) -> Callable[[Evidence], Evidence]:
    def commit(evidence: Evidence) -> Evidence:
        evidence.timelines["ntf_1"]["deliveries"].remove(find(evidence, number))
        return evidence

    return commit


def mails(*new: Mail) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(evidence, mails=new)


def frames(*new: Frame) -> Callable[[Evidence], Evidence]:
    def commit(evidence: Evidence) -> Evidence:
        evidence.sockets[0].frames[:] = new
        return evidence

    return commit


def extra_row(row: dict[str, Any]) -> Callable[[Evidence], Evidence]:
    def commit(evidence: Evidence) -> Evidence:
        evidence.timelines["ntf_1"]["deliveries"].append(row)
        return evidence

    return commit


FIRST = Frame(1, 0, 3, (("dlv_a1", 1), ("dlv_z", 3)), fresh=True)
GOOD = mail("e2", "efe", "tr")

LOST = {
    "a notification without a timeline": (lambda e: replace(e, timelines={}), "no timeline"),
    "a notification that is not listed": (lambda e: replace(e, listed=[]), "not in the list"),
    "a step that was never planned": (without("e2"), "nothing was planned for efe on email"),
    "an inbox item that was never planned": (without("t1"), "nothing was planned for tom on in_app"),
    "a delivery that is still open": (edit("e2", state="retrying"), "is not settled: retrying"),
    "an email that never arrived": (mails(), "the SMTP peer never saw it"),
    "an email that was given up": (edit("e2", state="failed", reason="smtp_550"), "nothing stood in its way"),
    "an email that expired": (edit("e2", state="expired", reason="too_late"), "nothing stood in its way"),
    "an item that is not in the inbox": (lambda e: replace(e, inboxes=e.inboxes | {"efe": []}), "never came"),
    "an item that the socket never got": (frames(Frame(1, 0, 3, (("dlv_z", 3),), fresh=True)), "never came"),
    "an item that was not delivered": (edit("e1", state="skipped", reason="opted_out"), "nothing stood in its way"),
    "a hole in the revisions": (frames(FIRST, Frame(2, 5, 6, ())), "a hole in the revisions: 3 was followed by 5"),
    "a step stopped by an act that nobody did": (edit("e2", state="skipped", reason="read"), "nothing stood"),
}
WRONG = {
    "an end without a reason": (edit("a2", reason=None), "without a reason"),
    "a second notification of one key": (lambda e: replace(e, listed=["ntf_1", "ntf_2"]), "taken twice"),
    "one notification for two keys": (
        lambda e: replace(e, accepted=[*e.accepted, replace(e.accepted[0], key="k1")]),
        "two keys",
    ),
    "a recipient called unusable": (
        lambda e: replace(e, accepted=[replace(e.accepted[0], problems=1)]),
        "called unusable",
    ),
    "a delivery that nobody asked for": (extra_row(delivery("x", "eve", "email", "accepted")), "was not asked for"),
    "a delivery planned twice": (extra_row(delivery("x", "tom", "email", "skipped", "no_address")), "planned twice"),
    "a double with all calls answered": (mails(GOOD, GOOD), "arrived 2 times with 0 calls left unanswered"),
    "a message of nobody's": (mails(GOOD, mail("nn", "efe", "tr")), "belongs to no delivery"),
    "a message to another address": (mails(replace(GOOD, envelope_to="eve@example.com")), "instead of efe@"),
    "a message with another To": (mails(replace(GOOD, header_to="eve@example.com")), "instead of efe@"),
    "the wrong Content-Language": (mails(replace(GOOD, language="en")), "calls its language en"),
    "no Content-Language": (mails(replace(GOOD, language="")), "calls its language nothing"),
    "a text in the wrong language": (mails(replace(GOOD, spoken="en")), "is written in en"),
    "text and HTML in two languages": (mails(replace(GOOD, spoken=None)), "no language of ours"),
    "a malformed message": (mails(replace(GOOD, defects=("MissingHeaderBodySeparatorDefect",))), "is malformed"),
    "a message without a subject": (mails(replace(GOOD, subject=" ")), "no subject"),
    "an attempt that the timeline does not hold": (mails(replace(GOOD, attempt="att_e2_7")), "does not hold"),
    "an email in spite of an opt-out": (mails(GOOD, mail("m2", "mia", "en")), "although it was opted out of"),
    "an email in spite of a suppression": (mails(GOOD, mail("l2", "leo", "en")), "although it was suppressed"),
    "an opt-out that is not shown": (edit("m2", state="cancelled", reason="by_caller"), "opted out of"),
    "a call after the user had read it": (edit("a2", attempts=[attempt(1, "retry", 5)]), "began after the user"),
    "an item told twice": (frames(FIRST, Frame(2, 3, 4, (("dlv_a1", 1),))), "came twice at revision 1"),
    "revisions that go back": (frames(FIRST, Frame(2, 2, 4, ())), "a step back in the revisions"),
    "a resume that begins anew": (frames(FIRST, replace(FIRST, connection=2)), "sent back to the beginning"),
    "a command that was refused": (
        lambda e: replace(e, sockets=[replace(e.sockets[0], complaints=["error not_sent"])]),
        "error not_sent",
    ),
}


@pytest.mark.parametrize(("fraud", "why"), LOST.values(), ids=list(LOST))
def test_what_is_lost_is_missed(fraud: Callable[[Evidence], Evidence], why: str) -> None:
    verdict = weigh(fraud(deepcopy(honest())))
    assert [fault for fault in verdict.faults if fault.lost and why in fault.why], verdict.faults
    assert verdict.lost >= 1
    assert not verdict.passed


@pytest.mark.parametrize(("fraud", "why"), WRONG.values(), ids=list(WRONG))
def test_what_is_wrong_is_held_against_it(fraud: Callable[[Evidence], Evidence], why: str) -> None:
    verdict = weigh(fraud(deepcopy(honest())))
    assert [fault for fault in verdict.faults if not fault.lost and why in fault.why], verdict.faults
    assert not verdict.passed


def test_more_doubles_than_deliveries_with_an_unanswered_call_fail_the_run() -> None:
    evidence = honest()
    find(evidence, "e2")["attempts"] = [attempt(1, "unknown"), attempt(2, "unknown"), attempt(3, "accepted")]
    verdict = weigh(replace(evidence, mails=[mail("e2", "efe", "tr", n) for n in (1, 2, 3)]))
    assert (verdict.duplicates, verdict.unknown) == (2, 1)
    assert not verdict.passed
