"""Is Postmark asked for exactly one delivery, and is only its proof believed?"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.content.email import EmailContent
from ulak.core.model import Account, Channel, Class
from ulak.core.outcome import Kind, Outcome
from ulak.providers.contract import HttpReply, Lost, Message, Phase, Refused, Reply
from ulak.providers.email import postmark

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ACCOUNT = Account("mail", "postmark", Channel.EMAIL, settings={"server_token": "tok-en"})
DELIVERY = f"dlv_{'0' * 32}"
SENT = {"MessageID": "pm-1", "Metadata": {"ulak_delivery": DELIVERY, "ulak_attempt": "att_1"}, "Status": "Sent"}


def message(klass: Class = Class.TRANSACTIONAL, stream: str | None = None) -> Message:
    content = EmailContent("Octo <octo@example.com>", "Hello", "text", stream=stream)
    return Message(DELIVERY, "att_2", "ada@example.com", content, NOW, klass=klass)


def found(reply: Reply) -> Outcome | None:
    return postmark.found(reply, message(), ACCOUNT, NOW)


def answer(*messages: Any, status: int = 200) -> HttpReply:
    return HttpReply(status, {}, json.dumps({"TotalCount": len(messages), "Messages": messages}).encode())


@pytest.mark.parametrize(
    ("asked", "stream"),
    [
        (message(), "outbound"),
        (message(Class.MARKETING), "broadcast"),
        (message(stream="re&c=1"), "re&c=1"),
    ],
)
def test_it_is_asked_for_one_delivery_in_the_stream_by_which_it_went(asked: Message, stream: str) -> None:
    request = postmark.lookup(asked, ACCOUNT, NOW)
    url = urlsplit(request.url)
    assert (request.method, request.body) == ("GET", b"")
    assert f"{url.scheme}://{url.netloc}{url.path}" == "https://api.postmarkapp.com/messages/outbound"
    query = dict(parse_qsl(url.query, strict_parsing=True))
    assert query == {"count": "10", "offset": "0", "messagestream": stream, "metadata_ulak_delivery": DELIVERY}
    assert dict(request.headers)["X-Postmark-Server-Token"] == "tok-en"
    built = json.loads(postmark.build([asked], ACCOUNT, NOW).body)[0]
    assert built["MessageStream"] == stream
    assert built["Metadata"]["ulak_delivery"] == DELIVERY


def test_a_find_is_accepted_under_the_vendors_id() -> None:
    verdict = found(answer({**SENT, "Metadata": {"ulak_delivery": "another"}}, SENT))
    assert verdict is not None
    assert (verdict.kind, verdict.reason, verdict.vendor_id) == (Kind.ACCEPTED, "found_by_lookup", "pm-1")
    assert verdict.reason == postmark.LOOKUP[0].reason


@pytest.mark.parametrize(
    "reply",
    [
        answer(),
        answer(SENT, status=500),
        answer(SENT, status=401),
        answer({**SENT, "Metadata": {"ulak_delivery": "another"}}),
        answer({**SENT, "Metadata": {"ulak_attempt": DELIVERY}}),
        answer({**SENT, "Metadata": None}),
        answer({**SENT, "MessageID": ""}),
        answer({"MessageID": "pm-1"}),
        answer("pm-1"),
        HttpReply(200, {}, b"<html>"),
        HttpReply(200, {}, b"[" * 100_000),
        HttpReply(200, {}, json.dumps([SENT]).encode()),
        Lost(Phase.SENT, "timeout"),
        Lost(Phase.NOT_SENT, "connect"),
        Refused("denied"),
    ],
)
def test_what_is_no_proof_is_no_find(reply: Reply) -> None:
    """A search whose filter was passed over would tell of other messages: without our id in it none counts."""
    assert found(reply) is None


@given(st.integers(100, 599), st.binary(max_size=200))
def test_rubbish_is_never_a_find(status: int, body: bytes) -> None:
    assert found(HttpReply(status, {}, body)) is None
