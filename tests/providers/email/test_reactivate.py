"""Is exactly the meant address taken off a vendor's list, and is only a proven success told as one?"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.providers.email.test_vendors import SETTINGS
from ulak.core.model import Account, Channel
from ulak.core.sign.sigv4 import Keys, sign
from ulak.io.outbound.http import unusable
from ulak.providers.contract import HttpReply, HttpRequest
from ulak.providers.registry import REACTIVATES

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TEXTS = st.text(min_size=1, max_size=200)


def asked(vendor: str, address: str, **more: object) -> tuple[HttpRequest, ...]:
    account = Account("mail", vendor, Channel.EMAIL, settings={**SETTINGS[vendor], **more})
    return REACTIVATES[vendor].reactivate(address, account, NOW)


def said(vendor: str, status: int, body: bytes = b"", **headers: str) -> bool | str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return REACTIVATES[vendor].reactivated(HttpReply(status, named, body), NOW)


@given(TEXTS)
@example("a/../../../b@example.com")
@example("a?delete_all=true&x=@example.com")
@example("a#@example.com")
@example("%2e%2e%2f@example.com")
@example("a\r\nX-Evil: 1@example.com")
@example("ö+tag@bücher.example")
def test_an_address_is_one_segment_and_nothing_else(address: str) -> None:
    paths = {"ses": ["/v2/email/suppression/addresses/"]}
    paths["sendgrid"] = [f"/v3/suppression/{each}/" for each in ("bounces", "blocks", "spam_reports")]
    for vendor, wanted in paths.items():
        requests = asked(vendor, address)
        assert [request.method for request in requests] == ["DELETE"] * len(wanted)
        for request, path in zip(requests, wanted, strict=True):
            parts = urlsplit(request.url)
            assert (parts.query, parts.fragment) == ("", "")
            head, _, last = parts.path.rpartition("/")
            assert (head + "/", unquote(last)) == (path, address)
            assert len(request.url) > 4_096 or unusable(request) is None


@given(TEXTS)
def test_postmark_gets_it_as_a_value(address: str) -> None:
    requests = asked("postmark", address)
    assert [urlsplit(each.url).path for each in requests] == [
        f"/message-streams/{stream}/suppressions/delete" for stream in ("outbound", "broadcast")
    ]
    assert all(json.loads(each.body) == {"Suppressions": [{"EmailAddress": address}]} for each in requests)


def test_a_stream_is_asked_once() -> None:
    (one,) = asked("postmark", "a@example.com", stream="mail", stream_marketing="mail")
    assert one.url == "https://api.postmarkapp.com/message-streams/mail/suppressions/delete"


def test_where_it_goes() -> None:
    (ses,) = asked("ses", "a+b@example.com")
    url = "https://email.eu-central-1.amazonaws.com/v2/email/suppression/addresses/a%2Bb%40example.com"
    assert ses.url == url
    keys = Keys("AKID", "s3cret", "eu-central-1", "ses")
    assert set(sign("DELETE", url, (("Content-Type", "application/json"),), b"", keys, NOW)) < set(ses.headers)
    assert asked("sendgrid", "a@example.com", region="eu")[0].url.startswith("https://api.eu.sendgrid.com/v3/")
    assert all(
        each.url.startswith("http://127.0.0.1:9/v3/") for each in asked("sendgrid", "a", endpoint="http://127.0.0.1:9/")
    )


NOT_FOUND = b'{"errors":[{"field":null,"message":"not found"}]}'
DELETED = b'{"Suppressions":[{"EmailAddress":"a@example.com","Status":"Deleted","Message":null}]}'
FAILED = b'{"Suppressions":[{"EmailAddress":"a@example.com","Status":"Failed","Message":"You do not have ..."}]}'
PAGE = b"<html>Sign in to the network</html>"


@pytest.mark.parametrize(
    ("vendor", "status", "body", "wanted"),
    [
        ("ses", 200, b"", True),
        ("ses", 200, b"{}", True),
        ("ses", 200, PAGE, "ses_unreadable"),
        ("ses", 200, b'{"MessageId":"1"}', "ses_unreadable"),
        ("ses", 404, b'{"__type":"NotFoundException"}', False),
        ("ses", 404, PAGE, "ses_not_found"),
        ("ses", 403, b'{"__type":"AccessDeniedException"}', "ses_access_denied"),
        ("ses", 429, b'{"__type":"TooManyRequestsException"}', "ses_too_many_requests"),
        ("sendgrid", 204, b"", True),
        ("sendgrid", 202, b"", "sendgrid_unreadable"),
        ("sendgrid", 200, PAGE, "sendgrid_unreadable"),
        ("sendgrid", 404, NOT_FOUND, False),
        ("sendgrid", 404, b"", False),
        ("sendgrid", 404, PAGE, "sendgrid_http_404"),
        ("sendgrid", 403, NOT_FOUND, "sendgrid_http_403"),
        ("postmark", 200, DELETED, True),
        ("postmark", 200, FAILED, "postmark_not_reactivated"),
        ("postmark", 200, b'{"Suppressions":[]}', "postmark_unreadable"),
        ("postmark", 200, PAGE, "postmark_unreadable"),
        ("postmark", 422, b'{"ErrorCode":1226,"Message":"no stream"}', False),
        ("postmark", 401, b'{"ErrorCode":10,"Message":"token"}', "postmark_10"),
    ],
)
def test_what_an_answer_means(vendor: str, status: int, body: bytes, wanted: bool | str) -> None:
    assert said(vendor, status, body) == wanted


@given(st.sampled_from(sorted(REACTIVATES)), st.integers(100, 599), st.binary(max_size=200))
def test_no_answer_breaks_it_or_passes_as_a_success(vendor: str, status: int, body: bytes) -> None:
    result = said(vendor, status, body)
    assert result is not True or status in (200, 204)
    assert result is not False or status >= 400
    assert result != ""
