"""Does every provider in the registry keep the contract, whatever is asked and answered?"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.push import samples
from ulak.core.device import Device, Fate
from ulak.core.model import Account, Channel
from ulak.core.outcome import Blame, Kind
from ulak.providers.contract import (
    Content,
    Credential,
    Credentialed,
    Discarded,
    EmailContent,
    Findable,
    HttpReply,
    HttpRequest,
    InboxContent,
    Lost,
    Message,
    NoContent,
    Phase,
    Provider,
    Refused,
    Reply,
    Request,
    SmtpReply,
    Stage,
    Stored,
    Ungranted,
)
from ulak.providers.registry import PROVIDERS

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """What a provider is tried with; ``taken`` tells the replies to so many messages that mean a success."""

    settings: dict[str, object]
    content: Content
    taken: Callable[[Reply, int], bool]
    device: Device | None = None


EMAIL = EmailContent("Octo <octo@example.com>", "Hello", "text", "<p>html</p>")
SES = HttpReply(200, {}, b'{"MessageId":"0102"}')
SENDGRID = (HttpReply(202, {"x-message-id": "x"}, b""), HttpReply(202, {}, b"\n"))
POSTMARK = {size: HttpReply(200, {}, msgspec.json.encode([{"ErrorCode": 0}] * size)) for size in (1, 2, 3)}
APNS = HttpReply(200, {"apns-id": "0192f0c1-e1a2-7c3f-8000-000000000001"}, b"")
FCM = HttpReply(200, {}, b'{"name":"projects/octo/messages/0:1"}')
WEBPUSH = HttpReply(201, {"location": "https://push.example.com/m/1"}, b"")


def push(name: str, taken: Callable[[Reply, int], bool]) -> Case:
    return Case(samples.settings(name), samples.CONTENT, taken, samples.devices()[name])


CASES = {
    "apns": push("apns", lambda reply, _: reply == APNS),
    "fcm": push("fcm", lambda reply, _: reply == FCM),
    "inbox": Case({}, InboxContent("{}", watched=False), lambda reply, _: isinstance(reply, Stored)),
    "noop": Case({}, NoContent(), lambda reply, _: isinstance(reply, Discarded)),
    "postmark": Case({"server_token": "t"}, EMAIL, lambda reply, size: reply == POSTMARK[size]),
    "sendgrid": Case(
        {"api_key": "k"},
        EMAIL,
        lambda reply, _: (
            isinstance(reply, HttpReply)
            and reply.status == 202
            and ("x-message-id" in reply.headers or not reply.body.strip())
        ),
    ),
    "ses": Case({"region": "eu-central-1", "access_key": "a", "secret_key": "s"}, EMAIL, lambda reply, _: reply == SES),
    "smtp": Case(
        {"host": "127.0.0.1", "port": 2525, "tls": "none"},
        EMAIL,
        lambda reply, _: isinstance(reply, SmtpReply) and (reply.stage, reply.code) == (Stage.END, 250),
    ),
    "webpush": push("webpush", lambda reply, _: isinstance(reply, HttpReply) and reply.status in (200, 201, 202, 204)),
}

TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
KEYS = [
    "@type", "__type", "ErrorCode", "Message", "MessageID", "MessageId", "access_token", "details", "errno", "error",
    "errorCode", "errors", "expires_in", "field", "fieldViolations", "message", "name", "reason", "timestamp",
    "token_type",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 700) | st.sampled_from(["", "x", "ada@example.com", "MessageRejected"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
        )
    ),
    max_leaves=6,
)
STATUSES = st.sampled_from([200, 202, 400, 401, 403, 404, 410, 422, 429, 503])
ANSWERS = st.one_of(
    st.builds(HttpReply, st.integers(100, 599), st.just({}), st.binary(max_size=40)),
    st.builds(
        HttpReply,
        st.sampled_from([200, 202, 400, 401, 403, 404, 410, 422, 429, 503]),
        st.just({}),
        JSON.map(msgspec.json.encode),
    ),
    st.sampled_from([APNS, FCM, WEBPUSH, SES, *SENDGRID, *POSTMARK.values()]),
)
LOST = st.builds(Lost, st.sampled_from(Phase), TEXT, TEXT)
REFUSED = st.builds(Refused, TEXT, TEXT)
REPLIES: st.SearchStrategy[Reply] = st.one_of(
    st.builds(SmtpReply, st.sampled_from(Stage), st.integers(-1, 1_000), TEXT),
    st.builds(SmtpReply, st.sampled_from(Stage), st.integers(200, 599), st.from_regex(r"[245]\.\d{1,3}\.\d{1,3} x")),
    ANSWERS,
    st.just(Discarded()),
    st.just(Stored()),
    LOST,
    REFUSED,
    st.builds(Ungranted, st.one_of(ANSWERS, LOST, REFUSED)),
)

provider = pytest.mark.parametrize("name", sorted(PROVIDERS))


def account(name: str) -> Account:
    return Account(f"test-{name}", name, PROVIDERS[name].CAPABILITIES.channel, settings=CASES[name].settings)


def message(name: str, number: int = 0) -> Message:
    case = CASES[name]
    more: dict[str, Any] = {}
    if case.device is not None:
        more = {"device": case.device, "notification": f"ntf_{number:032x}", "entropy": bytes(range(48))}
    return Message(f"dlv_{number:032x}", f"att_{number:032x}_1", "ada@example.com", case.content, NOW, **more)


@provider
def test_it_has_the_face_of_a_provider(name: str) -> None:
    module: Provider = PROVIDERS[name]
    assert module.CAPABILITIES.batch >= 1
    module.check(CASES[name].settings)
    with pytest.raises(ValueError, match=r"^no_such_key: "):
        module.check({**CASES[name].settings, "no_such_key": 1})


@provider
def test_it_asks_for_one_request_of_the_union(name: str) -> None:
    module = PROVIDERS[name]
    for size in {1, module.CAPABILITIES.batch}:
        request = module.build([message(name, number) for number in range(size)], account(name), NOW)
        assert isinstance(request, get_args(Request))


@provider
def test_the_same_message_makes_the_same_request(name: str) -> None:
    first, second = (PROVIDERS[name].build([message(name)], account(name), NOW) for _ in range(2))
    assert first == second


@provider
def test_nothing_that_is_printed_tells_a_key_or_an_address(name: str) -> None:
    shown = message(name)
    request = PROVIDERS[name].build([shown], account(name), NOW)
    printed = "".join(map(repr, (account(name), shown, request, HttpReply(200, {"a": "canary"}, b"canary"))))
    device = shown.device
    secrets = [*map(str, account(name).settings.values()), "canary", "/3/device", "messages:send"]
    secrets += [shown.target, *((device.address, device.p256dh, device.auth) if device else ())]
    assert not [secret for secret in secrets if len(secret) > 5 and secret in printed]


@provider
@given(reply=REPLIES, size=st.integers(1, 3))
def test_every_reply_is_read_and_none_invents_a_success(name: str, reply: Reply, size: int) -> None:
    outcomes = PROVIDERS[name].read(reply, [message(name, number) for number in range(size)], account(name), NOW)
    assert len(outcomes) == size
    for outcome in outcomes:
        assert (outcome.kind is Kind.ACCEPTED) == CASES[name].taken(reply, size)
        assert (outcome.blame is None) == (outcome.kind is Kind.ACCEPTED)
        assert outcome.reason
        assert outcome.reason.isascii()
        assert "{" not in outcome.reason
        assert "@" not in outcome.detail.replace("@ ", "")
        outcome.detail.encode("utf-8")
        if outcome.kind is Kind.RECIPIENT_PERMANENT:
            assert outcome.scope
            assert outcome.blame is Blame.RECIPIENT


@provider
def test_a_lost_call_is_unknown_only_if_it_may_have_been_taken(name: str) -> None:
    def kind(phase: Phase) -> Kind:
        return PROVIDERS[name].read(Lost(phase, "timeout"), [message(name)], account(name), NOW)[0].kind

    assert kind(Phase.NOT_SENT) is Kind.RETRY
    # Where sending twice is harmless, asking again is all there is to know.
    assert kind(Phase.SENT) is (Kind.RETRY if PROVIDERS[name].CAPABILITIES.idempotent else Kind.UNKNOWN)


@provider
def test_every_row_has_a_sentence(name: str) -> None:
    rows = PROVIDERS[name].OUTCOMES
    assert len({(row.answer, row.kind) for row in rows}) == len(rows)
    for row in rows:
        assert row.sentence.endswith(".")
        assert "|" not in row.answer + row.sentence


@provider
@given(reply=REPLIES)
def test_who_can_be_asked_asks_and_no_reply_but_a_proof_is_a_find(name: str, reply: Reply) -> None:
    module = PROVIDERS[name]
    if not module.CAPABILITIES.lookup:
        assert not hasattr(module, "lookup")
        return
    asked = cast("Findable", module)
    request = asked.lookup(message(name), account(name), NOW)
    assert isinstance(request, HttpRequest)
    assert request == asked.lookup(message(name), account(name), NOW)
    assert (request.method, request.body) == ("GET", b"")
    assert asked.found(reply, message(name), account(name), NOW) is None


@provider
@given(reply=REPLIES)
def test_only_push_speaks_of_devices_and_never_after_a_loss(name: str, reply: Reply) -> None:
    (outcome,) = PROVIDERS[name].read(reply, [message(name)], account(name), NOW)
    if outcome.device is not None:
        assert PROVIDERS[name].CAPABILITIES.channel is Channel.PUSH
        assert isinstance(reply, HttpReply)
        assert outcome.kind in {Kind.RECIPIENT_PERMANENT, Kind.RECIPIENT_TEMPORARY}
    ends = outcome.device in {Fate.DEAD, Fate.DOUBTED}
    assert ends == (outcome.kind is Kind.RECIPIENT_PERMANENT and PROVIDERS[name].CAPABILITIES.channel is Channel.PUSH)
    assert outcome.dead_since is None or outcome.device is Fate.DEAD


@provider
def test_where_no_credential_was_to_be_had_nothing_was_sent(name: str) -> None:
    if PROVIDERS[name].CAPABILITIES.channel is not Channel.PUSH:
        return
    for reply, kind in (
        (HttpReply(403, {}, b""), Kind.NEXT_PROVIDER),
        (HttpReply(429, {}, b""), Kind.RETRY),
        (HttpReply(502, {}, b""), Kind.RETRY),
        (Lost(Phase.SENT, "timeout"), Kind.RETRY),
        (Refused("address"), Kind.NEXT_PROVIDER),
    ):
        outcomes = PROVIDERS[name].read(Ungranted(reply), [message(name)], account(name), NOW)
        assert [outcome.kind for outcome in outcomes] == [kind]


@provider
@given(reply=ANSWERS)
def test_credentials_stand_beside_the_request_and_are_the_same_on_every_node(name: str, reply: HttpReply) -> None:
    module = PROVIDERS[name]
    if not hasattr(module, "credential"):
        return
    asked = cast("Credentialed", module)
    request = module.build([message(name)], account(name), NOW)
    assert isinstance(request, HttpRequest)
    assert "authorization" not in {key.lower() for key, _ in request.headers}
    assert (
        all(key == key.lower() and re.fullmatch("[!-~ ]+", value) for key, value in request.headers)
        or name == "webpush"
    )
    first, second = (asked.credential(asked.scope(request, account(name)), account(name), NOW) for _ in range(2))
    assert first == second
    if isinstance(first, Credential):
        assert NOW < first.renew_at <= first.ends_at
    assert isinstance(asked.stale(reply), bool)
    credential = asked.granted(reply, account(name), NOW)
    assert credential is None or (isinstance(first, HttpRequest) and reply.status == 200)


def test_the_suite_knows_every_provider() -> None:
    assert set(CASES) == set(PROVIDERS)
