"""Does planning decide every step of a route once, by the rules, and say why in a kilobyte?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.device import STALE, AddressKind, fits
from ulak.core.ids import new_id
from ulak.core.model import Account, Channel, Class, Mark, NotificationType, Step, User
from ulak.core.plan import BUCKETS, Facts, Planned, Policy, Reachable, bucket, plan
from ulak.core.reasons import Reason
from ulak.core.states import TRANSITIONS, Event, State

ADDRESSED = (Channel.EMAIL, Channel.SMS)
ADA = User("ada", "ada@example.com", "+905321234567", "tr")
ACCOUNTS = {c: (Account("main", "x", c), Account("spare", "x", c, priority=2)) for c in Channel}
EVENTS = {"pending": Event.PLANNED, "held": Event.HELD, "accepted": Event.STORED}

word = st.text(max_size=300)
choice = st.tuples(st.sampled_from(["orders", "*", "other"]) | word, st.sampled_from([*Channel, "*"]), st.booleans())
suppression = st.tuples(st.sampled_from(list(Channel)), st.sampled_from(["all", "orders", "other"]), st.just("bounced"))
step = st.builds(
    Step, st.sampled_from(list(Channel)), st.sampled_from([0.0, 30.0]), st.sampled_from([Mark.NONE, Mark.READ])
)
user = st.builds(User, word, st.none() | word, st.none() | word)
device = st.builds(
    Reachable,
    st.uuids().map(lambda u: f"dev_{u.hex}"),
    st.sampled_from(AddressKind),
    st.sampled_from(["", "com.example.app", "com.example.other"]),
    st.sampled_from(["ios", "android", "web"]),
    st.sampled_from(["", "main", "spare", "gone"]),
    st.booleans(),
    st.sampled_from([0.0, STALE.total_seconds() - 1, STALE.total_seconds()]),
)
devices = st.lists(device, max_size=4, unique_by=lambda d: d.id)
push_account = st.builds(
    Account,
    st.sampled_from(["main", "spare", "other"]),
    st.sampled_from(["apns", "fcm", "webpush", "noop"]),
    st.just(Channel.PUSH),
    settings=st.sampled_from([{}, {"apps": ["com.example.app"]}]),
)
facts = st.builds(Facts, user, st.booleans(), st.lists(choice, max_size=6), st.lists(suppression, max_size=4), devices)


def numbers() -> Iterator[UUID]:
    return (new_id(n, bytes(10)) for n in count(1))


def kind(route: Sequence[Step], klass: Class = Class.TRANSACTIONAL, on_unknown: str = "resend") -> NotificationType:
    return NotificationType("order", "orders", klass, tuple(route), "order", 3600.0, on_unknown)


def policy(*route: Step, klass: Class = Class.TRANSACTIONAL, **more: Any) -> Policy:
    return Policy(kind(route, klass), 3, 1, more.pop("accounts", ACCOUNTS), **more)


def email(known: Facts, klass: Class = Class.TRANSACTIONAL, **more: Any) -> Planned:
    (planned,) = plan(policy(Step(Channel.EMAIL), klass=klass, **more), known, numbers())
    return planned


@given(st.lists(step, max_size=6), facts, st.sampled_from(Class), st.booleans())
def test_every_step_is_decided_once_for_each_target_and_explained(
    route: list[Step], known: Facts, klass: Class, accounts: bool
) -> None:
    planned = plan(policy(*route, klass=klass, accounts=ACCOUNTS if accounts else {}), known, numbers())
    wanted = [s for s in route for _ in range(len(known.devices) or 1 if s.channel is Channel.PUSH else 1)]
    assert [(p.channel, p.unless) for p in planned] == [(s.channel, s.unless) for s in wanted]
    assert len({p.id for p in planned}) == len(planned)
    for p, s in zip(planned, wanted, strict=True):
        record = json.loads(p.decision)
        assert len(p.decision.encode()) <= 1024
        assert record["catalog"] == 3
        assert route[record["step"]] == s
        event = EVENTS.get(p.state) or Event(p.state)
        assert TRANSITIONS[None, event] == State(p.state)
        assert p.settled == (p.state in ("skipped", "suppressed", "accepted"))
        assert (p.reason is None) != (p.state in ("skipped", "suppressed"))
        assert p.reason is None or Reason(p.reason)
        assert p.delay == (0.0 if p.settled else s.after)
        assert p.channel not in ADDRESSED or p.target or p.state == "skipped" or known.user.email == ""


@given(facts, st.sampled_from(Class), st.lists(push_account, max_size=4, unique_by=lambda a: a.name))
def test_a_push_goes_to_each_device_that_can_take_it_by_an_account_that_reaches_it(
    known: Facts, klass: Class, accounts: list[Account]
) -> None:
    step = Step(Channel.PUSH)
    planned = plan(policy(step, klass=klass, accounts={Channel.PUSH: accounts}), known, numbers())
    assert [p.target for p in planned] == ([d.id for d in known.devices] or [""])
    by_name = {account.bulkhead: account for account in accounts}
    for p, d in zip(planned, known.devices, strict=False):
        able = [a for a in accounts if fits(a, d.kind, d.app, d.account)]
        assert json.loads(p.decision)["device"] == f"{d.kind}/{d.platform}"
        if p.state == "pending":
            assert by_name[p.bulkhead] in able
            assert not d.disabled
            assert klass is Class.CRITICAL or d.unseen < STALE.total_seconds()
        elif p.reason in ("device_disabled", "device_stale"):
            assert d.disabled or (klass is not Class.CRITICAL and d.unseen >= STALE.total_seconds())
        elif p.reason == "no_account":
            assert not able


def push(*devices: Reachable, klass: Class = Class.TRANSACTIONAL, **more: Any) -> list[Planned]:
    return plan(policy(Step(Channel.PUSH), klass=klass, **more), Facts(ADA, True, devices=devices), numbers())


def test_who_has_no_device_is_skipped_once() -> None:
    (planned,) = push()
    assert (planned.state, planned.reason, planned.target) == ("skipped", "no_address", "")


@pytest.mark.parametrize(
    ("one", "klass", "end"),
    [
        (Reachable("dev_1", AddressKind.APNS), Class.MARKETING, "pending:push/ios"),
        (Reachable("dev_1", AddressKind.FCM_TOKEN), Class.MARKETING, "pending:push/droid"),
        (Reachable("dev_1", AddressKind.FCM_FID), Class.MARKETING, "pending:push/droid"),
        (Reachable("dev_1", AddressKind.WEBPUSH), Class.MARKETING, "pending:push/web1"),
        (Reachable("dev_1", AddressKind.WEBPUSH, account="web2"), Class.MARKETING, "pending:push/web2"),
        (Reachable("dev_1", AddressKind.WEBPUSH, account="gone"), Class.MARKETING, "skipped:no_account"),
        (Reachable("dev_1", AddressKind.APNS, "com.other"), Class.MARKETING, "skipped:no_account"),
        (Reachable("dev_1", AddressKind.APNS, disabled=True), Class.CRITICAL, "skipped:device_disabled"),
        (Reachable("dev_1", AddressKind.APNS, unseen=60 * 86_400.0), Class.MARKETING, "skipped:device_stale"),
        (Reachable("dev_1", AddressKind.APNS, unseen=60 * 86_400.0), Class.CRITICAL, "pending:push/ios"),
    ],
)
def test_a_device_is_reached_by_an_account_of_its_service_app_and_key(one: Reachable, klass: Class, end: str) -> None:
    accounts = [
        Account(name, provider, Channel.PUSH, priority=n, settings=settings)
        for n, (name, provider, settings) in enumerate(
            [
                ("web1", "webpush", {}),
                ("web2", "webpush", {}),
                ("ios", "apns", {"apps": ["com.app"]}),
                ("droid", "fcm", {}),
            ],
            start=1,
        )
    ]
    (planned,) = push(one, klass=klass, accounts={Channel.PUSH: accounts})
    assert f"{planned.state}:{planned.reason or planned.bulkhead}" == end
    assert planned.target == "dev_1"


def test_devices_matter_only_where_a_route_pushes() -> None:
    assert policy(Step(Channel.EMAIL), Step(Channel.PUSH)).pushes
    assert not policy(Step(Channel.EMAIL), Step(Channel.PUSH), only=frozenset({Channel.EMAIL})).pushes
    assert not policy(Step(Channel.EMAIL)).pushes
    (planned,) = plan(
        policy(Step(Channel.EMAIL)), Facts(ADA, True, devices=[Reachable("dev_1", AddressKind.APNS)]), numbers()
    )
    assert planned.target == ADA.email


@given(facts, st.sampled_from(Class))
def test_nobody_is_written_to_who_has_no_address_or_said_no(known: Facts, klass: Class) -> None:
    planned = email(known, klass)
    if planned.state == "pending":
        assert planned.target == known.user.email
        assert ("orders", Channel.EMAIL, False) not in known.choices or ("orders", Channel.EMAIL, True) in known.choices
        assert not any(c == Channel.EMAIL and s in ("all", "orders") for c, s, _ in known.suppressed)


@pytest.mark.parametrize(
    ("choices", "klass", "sent"),
    [
        ([], Class.MARKETING, True),
        ([("orders", "email", False)], Class.CRITICAL, False),
        ([("orders", "*", False)], Class.CRITICAL, False),
        ([("*", "email", False)], Class.CRITICAL, True),
        ([("*", "*", False)], Class.CRITICAL, True),
        ([("*", "*", False)], Class.TRANSACTIONAL, False),
        ([("*", "*", False), ("orders", "*", True)], Class.MARKETING, True),
        ([("orders", "*", False), ("orders", "email", True)], Class.MARKETING, True),
        ([("orders", "*", False), ("*", "email", True)], Class.MARKETING, False),
        ([("*", "email", False), ("*", "*", True)], Class.MARKETING, False),
        ([("orders", "sms", False)], Class.MARKETING, True),
    ],
)
def test_the_most_specific_choice_wins(choices: list[tuple[str, str, bool]], klass: Class, sent: bool) -> None:
    planned = email(Facts(ADA, known=True, choices=choices), klass)
    assert (planned.state, planned.reason) == (("pending", None) if sent else ("skipped", "opted_out"))
    if not sent:
        assert json.loads(planned.decision)["rule"] in {f"{c[0]}/{c[1]}" for c in choices if not c[2]}


@pytest.mark.parametrize(
    ("suppressed", "state"),
    [
        (("email", "all", "bounced"), "suppressed"),
        (("email", "orders", "complained"), "suppressed"),
        (("email", "offers", "complained"), "pending"),
        (("sms", "all", "bounced"), "pending"),
    ],
)
def test_a_suppression_holds_within_its_scope(suppressed: tuple[str, str, str], state: str) -> None:
    planned = email(Facts(ADA, known=True, suppressed=[suppressed]))
    assert planned.state == state
    assert planned.reason == (suppressed[2] if state == "suppressed" else None)


def test_an_opt_out_speaks_before_a_suppression_and_that_before_a_missing_account() -> None:
    forbidden = Facts(ADA, True, [("orders", "email", False)], [("email", "all", "bounced")])
    assert email(forbidden).reason == "opted_out"
    assert email(Facts(ADA, True, (), [("email", "all", "bounced")]), accounts={}).reason == "bounced"
    assert email(Facts(ADA, True), accounts={}).reason == "no_account"
    assert email(Facts(User("bob"), True), accounts={}).reason == "no_address"


def test_a_later_step_is_held_with_its_delay_and_what_stops_it() -> None:
    route = [Step(Channel.IN_APP), Step(Channel.EMAIL, 600.0, Mark.READ), Step(Channel.IN_APP, 5.0)]
    first, later, again = plan(policy(*route), Facts(ADA, known=True), numbers())
    assert (first.state, first.settled, first.bulkhead) == ("accepted", True, "in_app/inbox")
    assert (later.state, later.delay, later.unless, later.settled) == ("held", 600.0, Mark.READ, False)
    assert (again.state, again.delay, again.bulkhead) == ("held", 5.0, "in_app/inbox")


def test_channels_narrow_the_route_and_the_first_account_is_taken() -> None:
    route = [Step(Channel.IN_APP), Step(Channel.EMAIL), Step(Channel.SMS)]
    planned = plan(policy(*route, only=frozenset({Channel.SMS})), Facts(ADA, known=True), numbers())
    assert [(p.channel, p.bulkhead, p.target) for p in planned] == [(Channel.SMS, "sms/main", ADA.phone)]
    assert json.loads(planned[0].decision)["step"] == 2


def test_an_account_that_can_not_send_now_is_passed_over_while_there_is_another() -> None:
    known = Facts(ADA, known=True)
    assert email(known).bulkhead == "email/main"
    assert email(known, avoid={"main"}).bulkhead == "email/spare"
    assert email(known, avoid={"main", "spare"}).bulkhead == "email/main"


@given(word, word)
def test_a_decision_stays_small_however_long_the_names_are(category: str, account: str) -> None:
    for rude in (category, category * 20, "\0" * 900, "\U0001f600" * 300):
        type_ = NotificationType("order", rude, Class.MARKETING, (Step(Channel.EMAIL),), "order", 1.0, "stop")
        for known in (
            Facts(ADA, known=False, choices=[(rude, "email", True)]),
            Facts(ADA, known=False, suppressed=[("email", rude, "bounced")]),
        ):
            accounts = {Channel.EMAIL: [Account(rude + account, "x", Channel.EMAIL)]}
            (planned,) = plan(Policy(type_, 2**31, 2, accounts), known, numbers())
            assert len(planned.decision.encode()) <= 1024
            assert json.loads(planned.decision)["step"] == 0


def test_a_stranger_is_said_to_be_one() -> None:
    assert json.loads(email(Facts(ADA, known=False)).decision)["user"] == "not stored"
    assert "user" not in json.loads(email(Facts(ADA, known=True)).decision)


def test_what_is_the_same_for_all_recipients() -> None:
    assert policy(Step(Channel.EMAIL)).resend
    assert not Policy(kind([], on_unknown="stop"), 1, 1, {}).resend
    assert policy(Step(Channel.IN_APP), Step(Channel.EMAIL, 1.0, Mark.SEEN)).watched
    assert not policy(Step(Channel.IN_APP)).watched


@given(st.integers(0, 2**31 - 1))
def test_every_tenant_has_a_line(tenant: int) -> None:
    assert 0 <= bucket(tenant) < BUCKETS
