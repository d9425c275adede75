"""Does each reply of an SMTP server mean what the facts on servers in the wild say it means?"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default

import msgspec
import pytest

from ulak.core.model import Account, Channel
from ulak.core.outcome import Blame, Kind, Outcome
from ulak.providers.contract import (
    ContentError,
    EmailContent,
    HttpReply,
    Links,
    Lost,
    Message,
    NoContent,
    Phase,
    Refused,
    Reply,
    SmtpReply,
    Stage,
)
from ulak.providers.email import smtp

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ACCOUNT = Account("mail", "smtp", Channel.EMAIL, settings={"host": "mx.example.com"})
MESSAGE = Message(
    "dlv_" + "0" * 32, "att_" + "0" * 32 + "_2", "ada@Example.com", EmailContent("Octo <o@Example.com>", "Hi", "t"), NOW
)


def read(reply: Reply) -> Outcome:
    (outcome,) = smtp.read(reply, [MESSAGE], ACCOUNT, NOW)
    return outcome


@pytest.mark.parametrize(
    ("stage", "code", "text", "kind"),
    [
        ("end", 250, "2.0.0 Ok: queued as 4XyZ12", "accepted"),
        ("end", 250, "", "accepted"),
        # passing trouble
        ("greeting", 421, "4.7.0 too many connections", "throttled"),
        ("greeting", 450, "try later", "retry"),
        ("mail", 451, "4.3.0 lost my disk", "throttled"),
        ("mail", 452, "4.3.1 no space", "throttled"),
        ("tls", 454, "4.7.0 TLS not available", "throttled"),
        ("auth", 454, "4.7.0 temporary authentication failure", "throttled"),
        ("rcpt", 421, "4.7.28 rate limited", "throttled"),
        ("rcpt", 451, "try again later", "throttled"),
        ("rcpt", 450, "4.7.1 greylisted", "retry"),
        ("rcpt", 451, "4.7.1 greylisted", "retry"),
        ("rcpt", 450, "4.2.1 receiving too fast", "recipient_temporary"),
        ("rcpt", 452, "4.2.2 over quota", "recipient_temporary"),
        ("end", 452, "quota", "throttled"),
        ("end", 451, "4.3.0 scanner away", "throttled"),
        ("end", 421, "shutting down", "throttled"),
        ("end", 471, "odd but passing", "retry"),
        # our account
        ("auth", 535, "5.7.8 bad credentials", "next_provider"),
        ("auth", 504, "mechanism", "next_provider"),
        ("mail", 530, "5.7.0 authentication required", "next_provider"),
        ("rcpt", 550, "5.7.14 sign in first", "next_provider"),
        ("greeting", 554, "no SMTP service here", "next_provider"),
        ("mail", 550, "sender not allowed", "next_provider"),
        ("mail", 553, "5.1.8 sender domain unknown", "next_provider"),
        ("rcpt", 503, "bad sequence", "next_provider"),
        ("tls", 502, "what", "next_provider"),
        # the address: suppressed only at RCPT and only by a status that names it
        *[("rcpt", 550, f"{status} no such user", "recipient_permanent")
          for status in ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1")],
        *[("end", 550, f"{status} no such user", "payload_error")
          for status in ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1")],
        ("rcpt", 554, "5.1.1", "recipient_permanent"),
        ("rcpt", 550, "no such user", "payload_error"),
        ("rcpt", 550, "5.1.11 almost 5.1.1", "payload_error"),
        ("rcpt", 550, "4.1.1 class contradicts the code", "payload_error"),
        ("rcpt", 550, "see 5.1.1 in the manual", "payload_error"),
        ("rcpt", 501, "syntax", "payload_error"),
        ("rcpt", 550, "5.2.2 mailbox full", "recipient_temporary"),
        ("rcpt", 552, "5.2.2 mailbox full", "recipient_temporary"),
        ("end", 552, "5.2.2 mailbox full", "recipient_temporary"),
        ("rcpt", 552, "over quota", "recipient_temporary"),
        # policy and payload: never suppressed
        ("rcpt", 550, "5.7.1 blocked", "policy_block"),
        ("rcpt", 550, "5.7.515 access denied, sender fails authentication", "policy_block"),
        ("end", 550, "5.7.26 unauthenticated", "policy_block"),
        ("end", 554, "looks like spam", "policy_block"),
        ("end", 554, "5.6.0 bad content", "payload_error"),
        ("mail", 552, "5.3.4 too big", "payload_error"),
        ("end", 552, "too big", "payload_error"),
        ("end", 554, "5.4.6 loop", "next_provider"),
        # no row knows these
        ("end", 251, "", "unknown"),
        ("end", 354, "go ahead", "unknown"),
        ("end", -1, "Malformed SMTP response line: hello", "unknown"),
        ("end", 999, "", "unknown"),
        ("mail", -1, "garbage", "retry"),
        ("rcpt", 250, "", "retry"),
        ("greeting", 200, "", "retry"),
    ],
)  # fmt: skip
def test_replies(stage: str, code: int, text: str, kind: str) -> None:
    assert read(SmtpReply(Stage(stage), code, text)).kind == kind


def test_what_an_outcome_carries() -> None:
    dead = read(SmtpReply(Stage.RCPT, 550, "5.1.1 <ada@example.com>: no such\nuser"))
    assert dead == Outcome(
        Kind.RECIPIENT_PERMANENT,
        "smtp_550_5.1.1",
        Blame.RECIPIENT,
        "rcpt 550 5.1.1 <<address>>: no such user",
        scope="all",
    )
    assert read(SmtpReply(Stage.END, 250, "2.0.0 Ok: queued as 4XyZ12")).vendor_id == "4XyZ12"
    assert read(SmtpReply(Stage.RCPT, 421, "")).wait == smtp.THROTTLE_SECONDS
    assert len(read(SmtpReply(Stage.END, 554, "x" * 5_000)).detail) <= 300


@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        (Lost(Phase.NOT_SENT, "connect_refused"), "retry", "smtp_connect_refused"),
        (Lost(Phase.NOT_SENT, "dns_failed"), "retry", "smtp_dns_failed"),
        (Lost(Phase.NOT_SENT, "timeout", "data"), "retry", "smtp_timeout"),
        (Lost(Phase.NOT_SENT, "tls_failed"), "next_provider", "smtp_tls_failed"),
        (Lost(Phase.NOT_SENT, "tls_unavailable"), "next_provider", "smtp_tls_unavailable"),
        (Lost(Phase.NOT_SENT, "auth_unavailable"), "next_provider", "smtp_auth_unavailable"),
        (Lost(Phase.SENT, "disconnected"), "unknown", "smtp_disconnected"),
        (Lost(Phase.SENT, "tls_failed"), "unknown", "smtp_tls_failed"),
        (Refused("denied_address"), "next_provider", "smtp_not_smtp"),
        (HttpReply(250, {}, b""), "next_provider", "smtp_not_smtp"),
    ],
)
def test_no_reply(reply: Reply, kind: str, reason: str) -> None:
    outcome = read(reply)
    assert (outcome.kind, outcome.reason) == (kind, reason)


def test_build_makes_one_transaction_that_stays_recognisable_over_retries() -> None:
    request = smtp.build([MESSAGE], ACCOUNT, NOW)
    assert (request.sender, request.recipient) == ("o@example.com", "ada@example.com")
    message = message_from_bytes(request.message, policy=default)
    assert message["To"] == "ada@example.com"
    assert message["Message-ID"] == f"<{MESSAGE.delivery}@example.com>"
    assert message["X-Ulak-Attempt"] == MESSAGE.attempt
    bounces = Account("mail", "smtp", Channel.EMAIL, settings={"host": "mx", "return_path": "bounce@example.com"})
    assert smtp.build([MESSAGE], bounces, NOW).sender == "bounce@example.com"


def test_what_can_never_be_sent_is_told_before_any_call() -> None:
    for target, content in (("a@b.cc,e@x.yy", MESSAGE.content), (MESSAGE.target, NoContent())):
        with pytest.raises(ContentError):
            smtp.build([Message(MESSAGE.delivery, MESSAGE.attempt, target, content, NOW)], ACCOUNT, NOW)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({}, "host"),
        ({"host": ""}, "host"),
        ({"host": "a b"}, "host"),
        ({"host": 1}, "host"),
        ({"host": "mx", "port": 0}, "port"),
        ({"host": "mx", "port": "25"}, "port"),
        ({"host": "mx", "port": True}, "port"),
        ({"host": "mx", "tls": "ssl"}, "tls"),
        ({"host": "mx", "username": "u"}, "username"),
        ({"host": "mx", "password_env": "P"}, "username"),
        ({"host": "mx", "username": "u", "password": "p", "password_env": "P"}, "password_env"),
        ({"host": "mx", "username": "u", "password": "p", "tls": "none"}, "tls"),
        ({"host": "mx", "return_path": "x"}, "return_path"),
        ({"host": "mx", "hello": "a b"}, "hello"),
        ({"host": "mx", "max_messages": 0}, "max_messages"),
        ({"host": "mx", "connect_timeout": 0}, "connect_timeout"),
        ({"host": "mx", "idle": -1}, "idle"),
    ],
)
def test_unusable_settings_name_their_key(settings: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key}: "):
        smtp.check(settings)


def test_usable_settings() -> None:
    smtp.check({"host": "mx.example.com", "port": 587, "username": "u", "password_env": "P", "hello": "[127.0.0.1]"})
    smtp.check({"host": "127.0.0.1", "tls": "none", "username": "u", "password": "p", "idle": 2.5})
    smtp.check({"host": "localhost", "tls": "none", "username": "u", "password": "p"})


ED25519 = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
DKIM = {"host": "mx.example.com", "dkim_domain": "example.com", "dkim_selector": "mail", "dkim_key": ED25519}


def test_an_account_with_a_key_signs_what_it_sends() -> None:
    smtp.check(DKIM)
    links = Links("https://example.com/u/t")
    sent = smtp.build([msgspec.structs.replace(MESSAGE, links=links)], replace(ACCOUNT, settings=DKIM), NOW).message
    plain = smtp.build([msgspec.structs.replace(MESSAGE, links=links)], ACCOUNT, NOW).message
    assert sent.startswith(b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;")
    assert sent.endswith(plain)
    assert message_from_bytes(sent, policy=default)["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"dkim_domain": "example.com"}, "goes together"),
        ({"dkim_selector": "mail", "dkim_key_env": "KEY"}, "goes together"),
        ({"dkim_domain": "example.com", "dkim_selector": "mail", "dkim_key": "no key!"}, "dkim_key: must be"),
        ({"dkim_domain": "nowhere", "dkim_selector": "mail", "dkim_key": "KEY"}, "dkim_domain: must be"),
    ],
)
def test_settings_of_signatures_are_checked(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        smtp.check({"host": "mx.example.com", **settings})


def test_the_name_of_a_variable_stands_for_the_key_until_it_is_read() -> None:
    smtp.check({**DKIM, "dkim_key": "OCTO_DKIM_KEY"})
