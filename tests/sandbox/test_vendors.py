"""Do the fake vendors take what ours send, refuse what real ones refuse, fail on request and tell what became of it?"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from ipaddress import ip_network
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from sendgrid.helpers.eventwebhook import EventWebhook  # type: ignore[import-untyped]

from tests.support import eventually
from ulak.core.content.email import Attachment, EmailContent
from ulak.core.model import Account, Channel
from ulak.core.outcome import Outcome
from ulak.io.outbound.vendor import VendorSender
from ulak.providers.contract import Callback, HttpReply, HttpRequest, Message, Rejected, Verified
from ulak.providers.registry import EVENTS, PROVIDERS
from ulak.providers.registry import check as check_account
from ulak.sandbox import control, magic
from ulak.sandbox.credentials import CREDENTIALS, PUBLIC_KEY, stand_in
from ulak.sandbox.mail import parse
from ulak.sandbox.server import Options, Sandbox
from ulak.sandbox.vendor_events import SENDGRID_KEY

pytestmark = pytest.mark.anyio

VENDORS = sorted(CREDENTIALS)
vendor = pytest.mark.parametrize("vendor", VENDORS)
CONTENT = EmailContent(
    "Öcto <octo@example.com>",
    "Grüße",
    "text",
    "<p>html</p>",
    attachments=(Attachment("a.txt", "text/plain", b"abc"),),
    metadata=(("order", "42"),),
)
JSON = {"content-type": "application/json"}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """A running sandbox without its mailbox page, which takes long to stop."""
    async with Sandbox(Options(http_port=None)) as running:
        yield running


@contextlib.asynccontextmanager
async def sending() -> AsyncIterator[VendorSender]:
    """What a node sends by, allowed to reach this machine."""
    one = VendorSender(Account("mail", "ses", Channel.EMAIL), [ip_network("127.0.0.1/32")])
    yield one
    await one.close()


@pytest.fixture
async def sender() -> AsyncIterator[VendorSender]:
    """One for a test."""
    async with sending() as one:
        yield one


def account(sandbox: Sandbox, vendor: str, **more: object) -> Account:
    region = {"region": "eu-central-1"} if vendor == "ses" else {}
    keys = {**region, **CREDENTIALS[vendor], "endpoint": sandbox.vendors_url, **more}
    return Account("mail", vendor, Channel.EMAIL, settings=keys)


def message(word: str = "ada", number: int = 1, content: EmailContent = CONTENT) -> Message:
    return Message(f"dlv_{number}", f"att_{number}_1", f"{word}@example.com", content, datetime.now(UTC), type="t")


async def send(
    sender: VendorSender,
    account: Account,
    *messages: Message,
    within: float = 30,
    change: Any = lambda request: request,
) -> list[Outcome]:
    provider = PROVIDERS[account.provider]
    request = provider.build(messages, account, datetime.now(UTC))
    reply = await sender.send(change(request), within)
    return list(provider.read(reply, messages, account, datetime.now(UTC)))


async def call(sandbox: Sandbox, method: str, what: str, body: object = None) -> Any:
    """What the control API answers, without the HTTP around it."""
    told = await control.answer(sandbox.vendors, method, what, json.dumps(body).encode())
    return json.loads(msgspec.json.encode(told))


async def post(sandbox: Sandbox, what: str, body: object) -> Any:
    return await call(sandbox, "POST", what, body)


# What is taken


@vendor
async def test_a_message_is_taken_and_shown(vendor: str, sandbox: Sandbox, sender: VendorSender) -> None:
    (outcome,) = await send(sender, account(sandbox, vendor), message())
    assert outcome.kind == "accepted"
    (taken,) = (await call(sandbox, "GET", "accepted"))["items"]
    assert (taken["vendor"], taken["id"]) == (vendor, outcome.vendor_id)
    assert (taken["to"], taken["attempt"], taken["delivery"]) == ("ada@example.com", "att_1_1", "dlv_1")
    (received,) = sandbox.record.after(0, 10)
    assert (received.sender, received.recipients) == ("octo@example.com", ("ada@example.com",))
    assert received.answered
    mail = message_from_bytes(received.raw, policy=policy.default)
    assert (mail["Subject"], mail["To"], mail["X-Ulak-Attempt"]) == ("Grüße", "ada@example.com", "att_1_1")
    assert mail["From"].addresses[0].display_name == "Öcto"
    assert [part.get_content_type() for part in mail.walk()][1:] == ["text/plain", "text/html", "text/plain"]
    shown = parse(received.raw)
    assert (shown.text, shown.html, shown.defects) == ("text", "<p>html</p>", ())


async def test_a_batch_is_taken_message_by_message(sandbox: Sandbox, sender: VendorSender) -> None:
    words = ["ada", "inactive", "bob", "invalid", "rejected"]
    outcomes = await send(sender, account(sandbox, "postmark"), *(message(word, n) for n, word in enumerate(words)))
    assert [outcome.kind for outcome in outcomes] == [
        "accepted", "recipient_permanent", "accepted", "recipient_permanent", "payload_error",
    ]  # fmt: skip
    assert [received.recipients[0] for received in sandbox.record.after(0, 10)] == [
        "ada@example.com",
        "bob@example.com",
    ]


@vendor
async def test_a_wrong_key_is_refused(vendor: str, sandbox: Sandbox, sender: VendorSender) -> None:
    wrong = {"ses": {"secret_key": "x"}, "sendgrid": {"api_key": "x"}, "postmark": {"server_token": "x"}}[vendor]
    (outcome,) = await send(sender, account(sandbox, vendor, **wrong), message())
    assert outcome.kind == "next_provider"
    assert len(sandbox.record) == 0


async def test_ses_refuses_what_was_tampered_with_or_is_old(sandbox: Sandbox, sender: VendorSender) -> None:
    own = account(sandbox, "ses")
    tampered = lambda request: replace(request, body=request.body.replace(b"ada@", b"eve@"))  # noqa: E731
    (outcome,) = await send(sender, own, message(), change=tampered)
    assert outcome.reason == "ses_signature_does_not_match"
    old = PROVIDERS["ses"].build([message()], own, datetime.now(UTC) - timedelta(minutes=16))
    assert isinstance(old, HttpRequest)
    (outcome,) = await send(sender, own, message(), change=lambda _: old)
    assert outcome.reason == "ses_request_expired"
    bare = lambda request: replace(request, headers=request.headers[:1])  # noqa: E731
    (outcome,) = await send(sender, own, message(), change=bare)
    assert outcome.reason == "ses_missing_authentication_token"
    assert len(sandbox.record) == 0


@vendor
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b"[{}]", b'{"a":1}', b"[" * 100_000, b"\xff"])
async def test_what_is_no_request_is_refused(vendor: str, body: bytes, sandbox: Sandbox, sender: VendorSender) -> None:
    own = account(sandbox, vendor)
    if vendor == "ses":
        from ulak.core.sign.sigv4 import Keys, sign

        keys = Keys(CREDENTIALS["ses"]["access_key"], CREDENTIALS["ses"]["secret_key"], "eu-central-1", "ses")

        def change(request: HttpRequest) -> HttpRequest:
            signed = sign("POST", request.url, request.headers[:1], body, keys, datetime.now(UTC))
            return replace(request, body=body, headers=(*request.headers[:1], *signed))
    else:

        def change(request: HttpRequest) -> HttpRequest:
            return replace(request, body=body)

    (outcome,) = await send(sender, own, message(), change=change)
    assert outcome.kind in {"payload_error", "unknown"}
    assert len(sandbox.record) == 0


@vendor
async def test_unknown_fields_and_addresses_are_refused(vendor: str, sandbox: Sandbox, sender: VendorSender) -> None:
    request = PROVIDERS[vendor].build([message()], account(sandbox, vendor), datetime.now(UTC))
    assert isinstance(request, HttpRequest)
    reply = await sender.send(replace(request, url=f"{sandbox.vendors_url}/v9/other"), 5)
    assert isinstance(reply, HttpReply)
    assert reply.status == 404
    if vendor != "ses":
        more = request.body.replace(b'"subject"', b'"sub"').replace(b'"Subject"', b'"Sub"')
        (outcome,) = await send(sender, account(sandbox, vendor), message(), change=lambda r: replace(r, body=more))
        assert outcome.kind == "payload_error"


async def found_at_postmark(sandbox: Sandbox, sender: VendorSender, query: str, **headers: str) -> Any:
    token = {"X-Postmark-Server-Token": CREDENTIALS["postmark"]["server_token"], **headers}
    url = f"{sandbox.vendors_url}/messages/outbound?{query}"
    reply = await sender.send(HttpRequest("GET", url, tuple(token.items())), 5)
    assert isinstance(reply, HttpReply)
    return reply.status, json.loads(reply.body)


async def test_postmark_is_searched_by_stream_and_metadata(sandbox: Sandbox, sender: VendorSender) -> None:
    mine = account(sandbox, "postmark")
    await send(sender, account(sandbox, "sendgrid"), message(number=1))
    await send(sender, mine, message(number=1), message("bob", 2), message("inactive", 3))
    await send(sender, account(sandbox, "postmark", stream="other"), message("eve", 4))

    async def numbers(query: str) -> list[str]:
        status, told = await found_at_postmark(sandbox, sender, query)
        assert status == 200
        return [each["Metadata"]["ulak_delivery"] for each in told["Messages"]]

    assert await numbers("count=10&offset=0") == ["dlv_2", "dlv_1"]
    assert await numbers("count=10&offset=1") == ["dlv_1"]
    assert await numbers("count=10&offset=0&messagestream=other") == ["dlv_4"]
    assert await numbers("count=10&offset=0&metadata_ulak_delivery=dlv_2") == ["dlv_2"]
    assert await numbers("count=10&offset=0&metadata_ulak_delivery=dlv_4") == []
    assert await numbers("count=10&offset=0&recipient=ada%40example.com&metadata_order=42") == ["dlv_1"]
    request = PROVIDERS["postmark"].lookup(message("bob", 2), mine, datetime.now(UTC))  # type: ignore[attr-defined]
    verdict = PROVIDERS["postmark"].found(  # type: ignore[attr-defined]
        await sender.send(request, 5), message("bob", 2), mine, datetime.now(UTC)
    )
    assert verdict.vendor_id in sandbox.vendors.callbacks.accepted


@pytest.mark.parametrize(
    "query",
    ["", "count=10", "offset=0", "count=0&offset=0", "count=501&offset=0", "count=500&offset=9501", "count=x&offset=0",
     "count=1&offset=-1", "count=1&offset=0&subjects=x", "count=1&offset=0&metadata_a=1&metadata_a=2"],
)  # fmt: skip
async def test_a_search_that_is_not_postmarks_is_refused(query: str, sandbox: Sandbox, sender: VendorSender) -> None:
    status, told = await found_at_postmark(sandbox, sender, query)
    assert (status, told["ErrorCode"]) == (422, 600)


async def test_a_search_needs_the_token(sandbox: Sandbox, sender: VendorSender) -> None:
    status, _ = await found_at_postmark(sandbox, sender, "count=1&offset=0", **{"X-Postmark-Server-Token": "x"})
    assert status == 401


# What fails on request

KINDS = {
    "throttled": "throttled",
    "quota": "next_provider",
    "paused": "next_provider",
    "unverified": "next_provider",
    "forbidden": "next_provider",
    "missing": "next_provider",
    "rejected": "payload_error",
    "too-large": "payload_error",
    "internal": "retry",
    "unavailable": "retry",
    "bad-gateway": "unknown",
    "gateway-timeout": "unknown",
    "page": "unknown",
    "cut": "unknown",
}


@vendor
@pytest.mark.parametrize("word", sorted(magic.ANSWERS))
async def test_every_word_has_its_outcome(vendor: str, word: str, sandbox: Sandbox, sender: VendorSender) -> None:
    postmark = vendor == "postmark"
    kind = KINDS.get(word) or ("recipient_permanent" if postmark else "payload_error")
    (outcome,) = await send(sender, account(sandbox, vendor), message(f"{word}+7"))
    assert outcome.kind == kind
    assert len(sandbox.record) == (1 if word in magic.TAKEN else 0)
    if word == "quota":
        assert outcome.wait == 3_600
    if (vendor, word) == ("sendgrid", "throttled"):
        assert outcome.wait is not None
        assert 3 < outcome.wait <= 5


@vendor
@pytest.mark.parametrize(
    ("fault", "end"),
    [
        ({"at": "connect", "do": "drop"}, ("unknown", 0)),
        ({"at": "request", "do": "drop"}, ("unknown", 0)),
        ({"at": "request", "do": "stall", "seconds": 0.05}, ("accepted", 1)),
        ({"at": "request", "do": "reply", "status": 503, "body": "<html>"}, ("retry", 0)),
        ({"at": "request", "do": "reply", "status": 429, "headers": {"Retry-After": "9"}}, ("throttled", 0)),
        ({"at": "taken", "do": "drop"}, ("unknown", 1)),
        ({"at": "taken", "do": "reply", "status": 504}, ("unknown", 1)),
        ({"at": "answer", "do": "drop"}, ("unknown", 1)),
    ],
)
async def test_faults_at_every_moment(
    vendor: str,
    fault: dict[str, object],
    end: tuple[str, int],
    sandbox: Sandbox,
    sender: VendorSender,
) -> None:
    await post(sandbox, "faults", {**fault, "times": 1})
    (outcome,) = await send(sender, account(sandbox, vendor), message())
    await _ended(sandbox, sender, vendor, outcome, end)


async def _ended(sandbox: Sandbox, sender: VendorSender, vendor: str, outcome: Outcome, end: tuple[str, int]) -> None:
    """The call ended so, with so many messages taken, and the next one is as good as ever."""
    kind, taken = end
    assert outcome.kind == kind
    assert len(sandbox.record) == taken
    (after,) = await send(sender, account(sandbox, vendor), message(number=2))
    assert after.kind == "accepted"
    assert len(sandbox.record) == taken + 1


async def test_a_stall_without_end_lasts_until_the_caller_has_had_enough() -> None:
    """All at once, each at a sandbox of its own, because each waits for its deadline."""

    async def stalled(vendor: str, at: str, taken: int) -> None:
        async with Sandbox(Options(http_port=None)) as sandbox, sending() as sender:
            await post(sandbox, "faults", {"at": at, "do": "stall", "times": 1})
            (outcome,) = await send(sender, account(sandbox, vendor), message(), within=3.0)
            await _ended(sandbox, sender, vendor, outcome, ("unknown", taken))

    moments = (("connect", 0), ("request", 0), ("taken", 1))
    await asyncio.gather(*(stalled(vendor, at, taken) for vendor in VENDORS for at, taken in moments))


async def test_a_fault_may_be_for_some_only(sandbox: Sandbox, sender: VendorSender) -> None:
    await post(sandbox, "faults", [
        {"at": "request", "do": "reply", "status": 500, "vendor": "sendgrid", "to": "BAD*", "skip": 1, "every": 2},
    ])  # fmt: skip
    kinds = [
        (await send(sender, account(sandbox, name), message(word)))[0].kind
        for name, word in [("ses", "bad"), ("sendgrid", "good"), *[("sendgrid", "bad")] * 5]
    ]
    assert kinds == ["accepted", "accepted", "accepted", "accepted", "retry", "accepted", "retry"]
    assert (await call(sandbox, "DELETE", "faults"))["items"] == []


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("faults", {"at": "lunch", "do": "drop"}),
        ("faults", {"at": "connect", "do": "reply"}),
        ("faults", {"at": "connect", "do": "drop", "to": "x"}),
        ("faults", {"at": "request", "do": "drop", "other": 1}),
        ("faults", {"at": "request", "do": "reply", "headers": {"a": "b\r\nc"}}),
        ("callbacks", {"vendor": "ses", "url": "http://example.com/"}),
        ("callbacks", {"vendor": "smtp", "url": "http://127.0.0.1:1/"}),
        ("events", {"message": "none", "event": "click"}),
        ("flush", {"order": "sideways"}),
        ("listening", {}),
    ],
)
async def test_wrong_wishes_are_refused(what: str, body: object, sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match=r".+"):
        await post(sandbox, what, body)


async def test_it_is_steered_over_http() -> None:
    async with Sandbox(Options()) as sandbox, aiohttp.ClientSession(sandbox.url, headers=JSON) as web_client:
        fault = {"at": "request", "do": "drop", "vendor": "ses"}
        async with web_client.post("/vendors/faults", data=json.dumps(fault)) as response:
            assert (await response.json())["items"][0]["fired"] == 0
        async with web_client.post("/vendors/faults", data='{"at": "lunch"}') as response:
            assert response.status == 400
            assert (await response.json())["code"] == "invalid"
        async with web_client.post("/vendors/faults", data="{}", headers={"content-type": "text/plain"}) as response:
            assert response.status == 415
        async with web_client.get("/vendors/settings") as response:
            assert (await response.json())["url"] == sandbox.vendors_url
        async with web_client.get("/vendors/nothing") as response:
            assert response.status == 404
        async with web_client.delete("/vendors/faults") as response:
            assert (await response.json())["items"] == []


async def test_it_can_stop_listening(sandbox: Sandbox, sender: VendorSender) -> None:
    await post(sandbox, "listening", {"listening": False})
    (outcome,) = await send(sender, account(sandbox, "ses"), message())
    assert (outcome.kind, outcome.reason) == ("retry", "ses_connect")
    await post(sandbox, "listening", {"listening": True})
    (outcome,) = await send(sender, account(sandbox, "ses"), message())
    assert outcome.kind == "accepted"


async def test_garbage_ends_the_connection_and_nothing_else(sandbox: Sandbox) -> None:
    place = sandbox.vendors_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(place[0], int(place[1]))
    writer.write(b"\x16\x03\x01 not http\r\n\r\n")
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(reader.read(), 30) == b""
    writer.close()
    with socket.create_connection((place[0], int(place[1])), 5):
        pass


# What is told later


class Listener:
    """An HTTP server that keeps what is posted to it, and answers as its script says, then 200."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.script: list[int] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response(status=self.script.pop(0) if self.script else 200)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    """A running listener."""
    one = Listener()
    app = web.Application()
    app.router.add_post("/{tail:.*}", one.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/callbacks/x/y"
    yield one
    await runner.cleanup()


async def proven(vendor: str, headers: dict[str, str], body: bytes) -> list[dict[str, Any]]:
    """The events of one post, once it has proved who it is from, by nobody's code of ours."""
    decoded = json.loads(body)
    if vendor == "sendgrid":
        name = "x-twilio-email-event-webhook-"
        checker = EventWebhook(PUBLIC_KEY)
        assert checker.verify_signature(body.decode(), headers[f"{name}signature"], headers[f"{name}timestamp"])
        assert not checker.verify_signature(
            body.decode() + " ", headers[f"{name}signature"], headers[f"{name}timestamp"]
        )
        return list(decoded)
    if vendor == "postmark":
        assert headers["authorization"] == "Basic " + base64.b64encode(b"me:geheim").decode()
        return [decoded]
    async with aiohttp.ClientSession() as web_client, web_client.get(decoded["SigningCertURL"]) as response:
        key = x509.load_pem_x509_certificate(await response.read()).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert headers["x-amz-sns-message-type"] == decoded["Type"]
    unsigned = {"SignatureVersion", "Signature", "SigningCertURL"}
    text = "".join(f"{name}\n{decoded[name]}\n" for name in sorted(set(decoded) - unsigned))
    hashed = hashes.SHA1() if decoded["SignatureVersion"] == "1" else hashes.SHA256()
    key.verify(base64.b64decode(decoded["Signature"]), text.encode(), padding.PKCS1v15(), hashed)
    return [json.loads(decoded["Message"])] if decoded["Type"] == "Notification" else []


def kind_of(vendor: str, event: dict[str, Any]) -> str:
    if vendor == "ses":
        return str(event["eventType"])
    return str(event["event"] if vendor == "sendgrid" else event["RecordType"])


def attempt_of(vendor: str, event: dict[str, Any]) -> str:
    if vendor == "ses":
        return str(event["mail"]["tags"]["ulak_attempt"][0])
    return str(event["ulak_attempt"] if vendor == "sendgrid" else event["Metadata"]["ulak_attempt"])


TOLD = {
    "ses": ["Delivery", "Bounce", "Bounce", "Delivery", "Complaint", "DeliveryDelay", "Delivery", "Delivery", "Open",
            "Delivery", "Open", "Click"],
    "sendgrid": ["delivered", "bounce", "bounce", "delivered", "spamreport", "deferred", "delivered", "delivered",
                 "open", "delivered", "open", "click"],
    "postmark": ["Delivery", "Bounce", "Bounce", "Delivery", "SpamComplaint", "Bounce", "Delivery", "Delivery", "Open",
                 "Delivery", "Open", "Click"],
}  # fmt: skip


@vendor
async def test_events_are_posted_and_proven(
    vendor: str, sandbox: Sandbox, sender: VendorSender, listener: Listener
) -> None:
    await post(sandbox, "callbacks", {"vendor": vendor, "url": listener.url, "username": "me", "password": "geheim"})
    words = ["ada", "hard-bounce", "soft-bounce", "complaint", "deferred", "open", "click", "silent"]
    for number, word in enumerate(words):
        await send(sender, account(sandbox, vendor), message(word, number))
    await eventually(lambda: len(listener.got) == len(TOLD[vendor]))
    events = [event for headers, body in listener.got for event in await proven(vendor, headers, body)]
    assert [kind_of(vendor, event) for event in events] == TOLD[vendor]
    numbers = [0, 1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 6]
    assert [attempt_of(vendor, event) for event in events] == [f"att_{number}_1" for number in numbers]


@vendor
@pytest.mark.parametrize("version", ["1", "2"])
async def test_what_is_posted_is_what_we_verify_and_read(
    vendor: str, version: str, sandbox: Sandbox, sender: VendorSender, listener: Listener
) -> None:
    """The other side of the wire is another module's; here both must agree."""
    own = account(sandbox, vendor, **stand_in(vendor, sandbox.vendors_url))
    check_account(vendor, own.settings)
    wish = {"vendor": vendor, "url": listener.url}
    await post(sandbox, "callbacks", {**wish, "signature_version": version} if vendor == "ses" else wish)
    attempt = f"att_{7:032x}_1"
    one = msgspec.structs.replace(message("hard-bounce"), attempt=attempt)
    (outcome,) = await send(sender, own, one)
    await eventually(lambda: listener.got)
    headers, body = listener.got[0]
    now = datetime.now(UTC)
    for changed, expected in ((body, Verified), (body.replace(b"5.1.1", b"5.1.2"), Rejected)):
        callback = Callback(headers, changed)
        fetched = {need.url: sandbox.vendors.callbacks.sns.certificate(now)
                   for need in EVENTS[vendor].needs(callback, own, now)}  # fmt: skip
        verdict = EVENTS[vendor].verify(callback, own, fetched, now)
        assert isinstance(verdict, expected) or vendor == "postmark"
    told = EVENTS[vendor].receipts(body)
    (receipt,) = told.receipts
    assert (told.unknown, receipt.kind, receipt.permanence) == (0, "bounced", "permanent")
    assert (receipt.vendor_id, receipt.recipient) == (outcome.vendor_id, "hard-bounce@example.com")
    assert receipt.attempt == attempt


async def test_both_versions_of_the_signature_and_a_subscription(
    sandbox: Sandbox, sender: VendorSender, listener: Listener
) -> None:
    envelopes: list[dict[str, str]] = []
    for version in ("1", "2"):
        listener.got.clear()
        wish = {"vendor": "ses", "url": listener.url, "signature_version": version, "subscribe": True}
        await post(sandbox, "callbacks", wish)
        await send(sender, account(sandbox, "ses"), message())
        await eventually(lambda: len(listener.got) == 2)
        envelopes = [json.loads(body) for _, body in listener.got]
        assert [one["Type"] for one in envelopes] == ["SubscriptionConfirmation", "Notification"]
        assert {one["SignatureVersion"] for one in envelopes} == {version}
        for headers, body in listener.got:
            await proven("ses", headers, body)
    async with aiohttp.ClientSession() as web_client, web_client.get(envelopes[0]["SubscribeURL"]) as response:
        assert response.status == 200
    assert (await call(sandbox, "GET", "callbacks"))["confirmed"] == 1


def test_the_public_key_is_that_of_the_key() -> None:
    der = SENDGRID_KEY.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert base64.b64encode(der).decode() == PUBLIC_KEY


async def test_sns_shows_its_password_only_when_asked(
    sandbox: Sandbox, sender: VendorSender, listener: Listener
) -> None:
    listener.script = [401]
    await post(sandbox, "callbacks", {"vendor": "ses", "url": listener.url, "username": "me", "password": "p"})
    await send(sender, account(sandbox, "ses"), message())
    await eventually(lambda: len(listener.got) == 2)
    assert ["authorization" in headers for headers, _ in listener.got] == [False, True]


@vendor
async def test_events_are_repeated_held_and_shuffled_on_request(
    vendor: str, sandbox: Sandbox, sender: VendorSender, listener: Listener
) -> None:
    wish = {"vendor": vendor, "url": listener.url, "username": "me", "password": "geheim", "hold": True}
    await post(sandbox, "callbacks", wish)
    for number in range(6):
        await send(sender, account(sandbox, vendor), message("click", number))
    assert listener.got == []
    assert (await post(sandbox, "flush", {"order": "shuffled", "times": 3, "batch": 9, "seed": 7}))["posting"] == 54
    count = 6 if vendor == "sendgrid" else 54
    await eventually(lambda: len(listener.got) == count)
    events = [event for headers, body in listener.got for event in await proven(vendor, headers, body)]
    assert len(events) == 54
    assert len({json.dumps(event, sort_keys=True) for event in events}) == 18
    assert [kind_of(vendor, event) for event in events] != [kind_of(vendor, event) for event in events[:18]] * 3


async def test_a_post_that_is_not_heard_is_tried_again(
    sandbox: Sandbox, sender: VendorSender, listener: Listener
) -> None:
    listener.script = [500, 503]
    wish = {"vendor": "postmark", "url": listener.url, "header": "X-Secret", "secret": "s"}
    await post(sandbox, "callbacks", wish)
    (outcome,) = await send(sender, account(sandbox, "postmark"), message("silent"))
    await post(sandbox, "events", {"message": outcome.vendor_id, "event": "hard_bounce"})
    await eventually(lambda: len(listener.got) == 3)
    assert len({body for _, body in listener.got}) == 1
    assert {headers["x-secret"] for headers, _ in listener.got} == {"s"}
    told = await call(sandbox, "GET", "callbacks")
    assert [one["status"] for one in told["posted"]] == [500, 503, 200]
