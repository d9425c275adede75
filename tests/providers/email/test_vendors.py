"""What goes to each vendor's API, and can anything in a message become more than was meant?"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.policy import default
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ulak.core.content.email import Attachment, ContentError, EmailContent
from ulak.core.model import Account, Channel, Class
from ulak.core.sign.sigv4 import Keys, sign
from ulak.providers.contract import HttpRequest, Links, Message, NoContent, SmtpRequest
from ulak.providers.email import postmark, sendgrid, ses
from ulak.providers.letter import ascii_text, letter_of
from ulak.providers.registry import PROVIDERS

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SETTINGS: dict[str, dict[str, object]] = {
    "ses": {"region": "eu-central-1", "access_key": "AKID", "secret_key": "s3cret"},
    "sendgrid": {"api_key": "SG.key"},
    "postmark": {"server_token": "tok-en"},
}
VENDORS = sorted(SETTINGS)
CONTENT = EmailContent(
    "Octo Çelik <octo@example.com>",
    "Siparişin yolda",
    "Merhaba",
    "<p>Merhaba</p>",
    reply_to="Support <support@example.com>",
    language="tr",
    headers=(("X-Campaign", "yaz indirimi"), ("In-Reply-To", "<a@example.com>")),
    attachments=(
        Attachment("fatura.pdf", "application/pdf", b"%PDF-1.7"),
        Attachment("logo.png", "image/png", b"\x89PNG", "logo@ulak"),
    ),
    tags=("orders", "b c"),
    metadata=(("order", "42"),),
)
MESSAGE = Message(
    f"dlv_{'0' * 32}",
    f"att_{'0' * 32}_2",
    "ada@Example.com",
    CONTENT,
    NOW,
    klass=Class.TRANSACTIONAL,
    type="order_shipped",
    category="orders",
    user="user-17",
    links=Links("https://u.example.com/u/tok", "no@example.com"),
)
vendor = pytest.mark.parametrize("vendor", VENDORS)


def account(vendor: str, **more: object) -> Account:
    return Account("mail", vendor, Channel.EMAIL, settings={**SETTINGS[vendor], **more})


def build(vendor: str, message: Message = MESSAGE, **more: object) -> HttpRequest:
    request = PROVIDERS[vendor].build([message], account(vendor, **more), NOW)
    assert isinstance(request, HttpRequest)
    return request


def sent(vendor: str, message: Message = MESSAGE, **more: object) -> dict[str, Any]:
    decoded = json.loads(build(vendor, message, **more).body)
    only: dict[str, Any] = decoded[0] if vendor == "postmark" else decoded
    return only


def with_content(**more: Any) -> Message:
    return Message(
        MESSAGE.delivery, MESSAGE.attempt, MESSAGE.target, replace(CONTENT, **more), NOW, type="t", category="c"
    )


def headers_of(vendor: str, body: dict[str, Any]) -> dict[str, str]:
    if vendor == "ses":
        return {field["Name"]: field["Value"] for field in body["Content"]["Simple"]["Headers"]}
    if vendor == "postmark":
        return {field["Name"]: field["Value"] for field in body["Headers"]}
    return dict(body["headers"])


def test_ses() -> None:
    request = build("ses", configuration_set="main")
    body = json.loads(request.body)
    assert request.url == "https://email.eu-central-1.amazonaws.com/v2/email/outbound-emails"
    assert body["FromEmailAddress"] == "=?utf-8?b?T2N0byDDh2VsaWs=?= <octo@example.com>"
    assert body["Destination"] == {"ToAddresses": ["ada@example.com"]}
    assert body["ReplyToAddresses"] == ['"Support" <support@example.com>']
    assert body["ConfigurationSetName"] == "main"
    simple = body["Content"]["Simple"]
    assert simple["Subject"] == {"Data": "Siparişin yolda", "Charset": "UTF-8"}
    assert simple["Body"]["Text"]["Data"] == "Merhaba"
    assert simple["Body"]["Html"]["Data"] == "<p>Merhaba</p>"
    assert [(f["FileName"], f["ContentDisposition"], f.get("ContentId")) for f in simple["Attachments"]] == [
        ("fatura.pdf", "ATTACHMENT", None),
        ("logo.png", "INLINE", "logo@ulak"),
    ]
    assert b64decode(simple["Attachments"][0]["RawContent"]) == b"%PDF-1.7"
    assert {tag["Name"]: tag["Value"] for tag in body["EmailTags"]} == {
        "ulak_attempt": MESSAGE.attempt,
        "ulak_delivery": MESSAGE.delivery,
        "order": "42",
        "tag_1": "orders",
        "tag_2": "b_c",
    }
    assert "Message-ID" not in headers_of("ses", body)
    who = Keys("AKID", "s3cret", "eu-central-1", "ses")
    plain = [(name, value) for name, value in request.headers if name == "Content-Type"]
    assert request.headers[1:] == sign("POST", request.url, plain, request.body, who, NOW)
    with_token = dict(build("ses", session_token="tok").headers)
    assert with_token["X-Amz-Security-Token"] == "tok"


def test_ses_by_class_and_region() -> None:
    marketing = Message(
        "dlv_1", "att_1", "a@example.com", EmailContent("o@example.com", "s", "t"), NOW, klass=Class.MARKETING
    )
    main, news = "main", "news"
    by_class = sent("ses", marketing, configuration_set=main, configuration_set_marketing=news)
    assert by_class["ConfigurationSetName"] == "news"
    assert sent("ses", configuration_set_marketing=news, configuration_set=main)["ConfigurationSetName"] == "main"
    assert "ConfigurationSetName" not in sent("ses")
    assert build("ses", region="cn-north-1").url.startswith("https://email.cn-north-1.amazonaws.com.cn/")


def test_sendgrid() -> None:
    request = build("sendgrid", ip_pool="main", ip_pool_marketing="news")
    body = json.loads(request.body)
    assert request.url == "https://api.sendgrid.com/v3/mail/send"
    assert dict(request.headers)["Authorization"] == "Bearer SG.key"
    arguments = {"ulak_attempt": MESSAGE.attempt, "ulak_delivery": MESSAGE.delivery, "order": "42"}
    assert body["personalizations"] == [{"to": [{"email": "ada@example.com"}], "custom_args": arguments}]
    assert body["from"] == {"email": "octo@example.com", "name": "Octo Çelik"}
    assert body["reply_to"] == {"email": "support@example.com", "name": "Support"}
    assert [part["type"] for part in body["content"]] == ["text/plain", "text/html"]
    assert body["attachments"][1]["disposition"] == "inline"
    assert body["attachments"][1]["content_id"] == "logo@ulak"
    assert body["categories"] == ["orders", "b c"]
    assert body["ip_pool_name"] == "main"
    off = {"enable": False}
    assert body["tracking_settings"] == {"click_tracking": off, "open_tracking": off, "subscription_tracking": off}
    assert "bypass" not in request.body.decode()
    assert build("sendgrid", region="eu").url == "https://api.eu.sendgrid.com/v3/mail/send"


def test_postmark() -> None:
    request = build("postmark")
    body = sent("postmark")
    assert request.url == "https://api.postmarkapp.com/email/batch"
    assert dict(request.headers)["X-Postmark-Server-Token"] == "tok-en"
    assert (body["From"], body["To"]) == ('"Octo Çelik" <octo@example.com>', "ada@example.com")
    assert body["Metadata"]["ulak_attempt"] == MESSAGE.attempt
    assert (body["Tag"], body["MessageStream"]) == ("orders", "outbound")
    assert (body["TrackOpens"], body["TrackLinks"]) == (False, "None")
    assert [(f["Name"], f.get("ContentID")) for f in body["Attachments"]] == [
        ("fatura.pdf", None),
        ("logo.png", "cid:logo@ulak"),
    ]
    headers = headers_of("postmark", body)
    assert headers["Message-ID"] == f"<{MESSAGE.delivery}@example.com>"
    assert headers["X-PM-KeepID"] == "true"


def test_postmark_sends_many_in_one_request_each_by_the_stream_of_its_class() -> None:
    content = EmailContent("o@example.com", "s", "t")
    classes = [Class.CRITICAL, Class.MARKETING, Class.TRANSACTIONAL]
    messages = [Message(f"dlv_{k}", f"att_{k}", f"{k}@example.com", content, NOW, klass=k) for k in classes]
    messages.append(Message("d", "a", "x@example.com", replace(content, stream="receipts"), NOW))
    request = postmark.build(messages, account("postmark", stream_marketing="news"), NOW)
    emails = json.loads(request.body)
    assert [email["To"] for email in emails] == [message.target for message in messages]
    assert [email["MessageStream"] for email in emails] == ["outbound", "news", "outbound", "receipts"]


@vendor
def test_the_fields_that_every_email_carries(vendor: str) -> None:
    headers = headers_of(vendor, sent(vendor))
    assert headers["X-Ulak-Attempt"] == MESSAGE.attempt
    assert headers["Auto-Submitted"] == "auto-generated"
    assert headers["List-Unsubscribe"] == "<https://u.example.com/u/tok>, <mailto:no@example.com>"
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert headers["X-Campaign"] == "yaz indirimi"
    assert headers["Content-Language"] == "tr"
    assert "user-17" not in build(vendor).body.decode()


def test_smtp_and_vendors_carry_the_same_fields() -> None:
    """But the frame of a message, which each of them writes itself."""
    smtp_account = Account("mail", "smtp", Channel.EMAIL, settings={"host": "mx.example.com"})
    request = PROVIDERS["smtp"].build([MESSAGE], smtp_account, NOW)
    assert isinstance(request, SmtpRequest)
    by_smtp = message_from_bytes(request.message, policy=default)
    frame = {"From", "To", "Subject", "Date", "MIME-Version", "Reply-To", "Content-Type", "Content-Transfer-Encoding"}
    by_letter = dict(letter_of(MESSAGE).headers)
    assert set(by_smtp.keys()) - frame == set(by_letter)
    for name, value in by_letter.items():
        assert str(by_smtp[name]) == value


@vendor
def test_an_endpoint_of_ones_own(vendor: str) -> None:
    assert build(vendor, endpoint="http://127.0.0.1:9/x/").url.startswith("http://127.0.0.1:9/x/")


HOSTILE = st.text(st.characters(exclude_categories=()), max_size=40) | st.sampled_from(
    ["a\r\nBcc: e@x.yy", "=?utf-8?q?hi=0D=0ABcc:_e@x.yy?=", "\u2028Bcc: e@x.yy", 'x" <e@x.yy>, "y', "\0", "\ud800", "="]
)


def lines_in(body: Any, name: str = "") -> list[str]:
    """Every text of the request that a vendor writes into a header: all but bodies and files."""
    if isinstance(body, dict):
        return [text for key, value in body.items() if key != "Body" for text in lines_in(value, key)]
    if isinstance(body, list):
        return [text for value in body for text in lines_in(value, name)]
    free = {"value", "TextBody", "HtmlBody", "content", "Content", "RawContent"}
    return [body] if isinstance(body, str) and name not in free else []


@vendor
@given(subject=HOSTILE, name=HOSTILE, field=HOSTILE, file=HOSTILE)
@example(
    subject="=?utf-8?q?hi=0D=0ABcc:_e@x.yy?=",
    name='a\r\nBcc: e@x.yy <e@x.yy>, "',
    field="=?utf-8?b?DQo=?=",
    file="\r\n",
)
def test_nothing_in_a_message_becomes_a_field_or_a_recipient(
    vendor: str, subject: str, name: str, field: str, file: str
) -> None:
    quoted = name.replace("\\", "").replace('"', "")
    message = with_content(
        subject=f"s{subject}",
        sender=f'"{quoted}" <octo@example.com>',
        headers=(("X-Free", f"x{field}"),),
        attachments=(Attachment(f"f{file}", "text/plain", b"x"),),
        metadata=(("note", "n" + field[:40]),),
        tags=(f"t{file}",),
    )
    request = build(vendor, message)
    body = json.loads(request.body)
    request.body.decode("utf-8")
    for text in lines_in(body):
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", text)
    only = body[0] if vendor == "postmark" else body
    free = headers_of(vendor, only)["X-Free"]
    assert re.fullmatch("[ -~]+", free)
    assert not re.search("[\r\n\0]", str(make_header(decode_header(free))))
    said = only["Content"]["Simple"]["Subject"]["Data"] if vendor == "ses" else only.get("Subject", only.get("subject"))
    assert "=?" not in said
    assert said in lines_in(only)


@vendor
def test_a_body_holds_nothing_that_no_email_can(vendor: str) -> None:
    sent_body = build(vendor, with_content(text="a\0b\x1b\tc\r\nd\ud800", html="<p>\0</p>")).body.decode()
    assert "a\ufffdb\ufffd\\tc\\r\\nd\ufffd" in sent_body
    assert "\\u00" not in sent_body


PLACE_OF_STREAM = {"ses": "ConfigurationSetName", "sendgrid": "ip_pool_name", "postmark": "MessageStream"}


@vendor
def test_a_streams_name_is_one_line_that_can_be_written(vendor: str) -> None:
    """A lone surrogate would fail in every retry; a line end may become a header field at the vendor's."""
    assert sent(vendor, with_content(stream="a\r\nX-B: c\ud800 =?d"))[PLACE_OF_STREAM[vendor]] == "a X-B: c\ufffd = ?d"


@given(st.text(min_size=1, max_size=200).filter(str.isprintable))
def test_encoded_words_say_what_was_meant(text: str) -> None:
    made = ascii_text(text)
    assert made.isascii()
    assert all(len(word) <= 75 for word in made.split(" ")) or made == text
    assert str(make_header(decode_header(made))) == text or made == text


@vendor
def test_what_is_too_big_is_told_before_any_call(vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(build(vendor).body)
    monkeypatch.setattr(PROVIDERS[vendor], "MOST_BYTES", size)
    build(vendor)
    monkeypatch.setattr(PROVIDERS[vendor], "MOST_BYTES", size - 3)
    with pytest.raises(ContentError, match=r"^too_big: "):
        build(vendor)


def test_the_limits_are_those_of_the_vendors() -> None:
    assert (ses.MOST_BYTES, sendgrid.MOST_BYTES, postmark.MOST_BYTES) == (40_000_000, 30_000_000, 10_000_000)
    assert (postmark.MOST_BATCH_BYTES, postmark.MOST_BODY_BYTES) == (50_000_000, 5_000_000)
    assert postmark.CAPABILITIES.batch <= 500


def test_a_batch_that_is_too_big_in_sum_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postmark, "MOST_BATCH_BYTES", len(build("postmark").body) + 100)
    postmark.build([MESSAGE], account("postmark"), NOW)
    with pytest.raises(ContentError, match=r"^too_big: "):
        postmark.build([MESSAGE] * 2, account("postmark"), NOW)


@vendor
@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Message("d", "a", "a@b.cc,e@x.yy", CONTENT, NOW), "invalid_recipient"),
        (Message("d", "a", "a@example.com", NoContent(), NOW), "not_an_email"),
        (with_content(sender="nobody"), "invalid_mailbox"),
        (with_content(reply_to="a@b.cc, c@d.ee"), "invalid_mailbox"),
        (with_content(text=" ", html=None), "empty_body"),
        (with_content(headers=(("Bcc", "e@x.yy"),)), "forbidden_header"),
        (with_content(headers=(("X-Ulak-Attempt", "x"),)), "forbidden_header"),
        (with_content(headers=(("X-A: b\r\nBcc", "e@x.yy"),)), "forbidden_header"),
        (with_content(headers=(("X-A", "1"), ("x-a", "2"))), "repeated_header"),
        (with_content(headers=(("In-Reply-To", "<a>\r\nBcc: b"),)), "invalid_header"),
        (with_content(headers=(("X-A", "x" * 901),)), "invalid_header"),
        (with_content(language="tr\r\nX: y"), "invalid_header"),
        (with_content(attachments=(Attachment("a", "text/plain\r\nX: y", b"x"),)), "invalid_attachment"),
        (with_content(attachments=(Attachment("a", "text/plain", b"x", "a>\r\n"),)), "invalid_attachment"),
        (with_content(attachments=(Attachment("a", "text/plain", b""),)), "invalid_attachment"),
    ],
)
def test_what_can_never_be_sent_is_told_before_any_call(vendor: str, message: Message, reason: str) -> None:
    with pytest.raises(ContentError) as told:
        build(vendor, message)
    assert told.value.reason == reason
    assert "@" not in told.value.detail


def test_what_one_vendor_can_not_take() -> None:
    with pytest.raises(ContentError, match="too_many_headers"):
        build("ses", with_content(headers=tuple((f"X-{n}", "v") for n in range(ses.MOST_HEADERS))))
    with pytest.raises(ContentError, match="too_much_metadata"):
        build("sendgrid", with_content(metadata=(("a", "x" * sendgrid.MOST_ARGUMENT_BYTES),)))
    with pytest.raises(ContentError, match="empty_subject"):
        build("sendgrid", with_content(subject=" "))
    for pairs in ((("a", "x" * 81),), (("a" * 21, "x"),), tuple((f"k{n}", "v") for n in range(9))):
        with pytest.raises(ContentError, match="too_much_metadata"):
            build("postmark", with_content(metadata=pairs))


@pytest.mark.parametrize(
    ("vendor", "settings", "key"),
    [
        ("ses", {"access_key": "a", "secret_key": "b"}, "region"),
        ("ses", {"region": "frankfurt", "access_key": "a", "secret_key": "b"}, "region"),
        ("ses", {"region": "eu-central-1", "access_key": "a"}, "secret_key_env"),
        ("ses", {**SETTINGS["ses"], "secret_key_env": "C"}, "secret_key_env"),
        ("ses", {**SETTINGS["ses"], "configuration_set": "a b"}, "configuration_set"),
        ("ses", {**SETTINGS["ses"], "secret_key": "a\nb"}, "secret_key"),
        ("sendgrid", {}, "api_key_env"),
        ("sendgrid", {"api_key": 1}, "api_key"),
        ("sendgrid", {"api_key": "k", "region": "us"}, "region"),
        ("sendgrid", {"api_key": "k", "ip_pool": "x"}, "ip_pool"),
        ("postmark", {}, "server_token_env"),
        ("postmark", {"server_token": "k", "stream": "A B"}, "stream"),
        *[(name, {**SETTINGS[name], "endpoint": url}, "endpoint") for name in VENDORS
          for url in ("example.com", "ftp://example.com", "http://example.com", "https://", "https://e.com/?q",
                      "https://u@e.com", "https://e.com:99999", "https://e .com")],
    ],
)  # fmt: skip
def test_unusable_settings_name_their_key(vendor: str, settings: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=rf"^{key}: "):
        PROVIDERS[vendor].check(settings)


def test_usable_settings() -> None:
    ses.check({"region": "us-gov-west-1", "access_key_env": "A", "secret_key_env": "B", "session_token_env": "C"})
    ses.check({**SETTINGS["ses"], "endpoint": "http://127.0.0.1:5000"})
    sendgrid.check({"api_key_env": "K", "region": "eu", "endpoint": "https://proxy.example.com/sendgrid"})
    postmark.check({"server_token_env": "K", "stream": "outbound", "endpoint": "http://[::1]:80"})


@pytest.mark.parametrize("vendor", [*VENDORS, "smtp"])
def test_an_unknown_setting_is_told_with_the_nearest_one_and_never_offers_a_secret_itself(vendor: str) -> None:
    for key, near in (("endpont", "endpoint"), ("hots", "host")):
        if (vendor == "smtp") == (near == "host"):
            with pytest.raises(ValueError, match=f"{key}: unknown setting; did you mean '{near}'") as caught:
                PROVIDERS[vendor].check({key: "x"})
            offered = re.split("[ ,]+", str(caught.value))
            assert not {"api_key", "secret_key", "server_token", "password"} & set(offered)
