"""Is a callback kept if, and only if, it is proven to be the vendor's, and is it answered quickly and quietly?"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.providers.email.test_ses_events import FORGED_URLS, SUBSCRIBE_URL
from tests.providers.email.vendors import (
    CERTIFICATE,
    NOW,
    SECRET,
    TOPIC,
    amazon,
    envelope,
    posted,
    report,
    sendgrid_event,
    sendgrid_posted,
    sendgrid_public,
    ses_event,
)
from tests.support import eventually
from ulak.core.ids import callback_id
from ulak.core.loaded import Loaded
from ulak.core.model import Account
from ulak.core.project import load
from ulak.core.sign import sns
from ulak.edge.callbacks import Accounts, CallbackDeps, CallbackDoor
from ulak.edge.callbacks import door as module
from ulak.flow.receipts import Applier
from ulak.io.postgres.callbacks import Callbacks
from ulak.io.postgres.pool import Pool
from ulak.providers.contract import Callback, HttpReply, HttpRequest, Lost, Phase

pytestmark = [pytest.mark.anyio, pytest.mark.pg]

KEY = b"k" * 32
PROJECT = f"""
[accounts.amazon]
channel = "email"
provider = "ses"
events_topics = ["{TOPIC}"]

[accounts.twilio]
channel = "email"
provider = "sendgrid"
events_public_key = "{sendgrid_public()}"

[accounts.pm]
channel = "email"
provider = "postmark"
events_secret_env = "PM_SECRET"

[accounts.relay]
channel = "email"
provider = "smtp"
events_secret_env = "RELAY_SECRET"

[accounts.lost]
channel = "email"
provider = "smtp"
events_secret_env = "NOT_SET"

[accounts.deaf]
channel = "email"
provider = "smtp"
host = "127.0.0.1"
"""
NAMES = {"ses": "amazon", "sendgrid": "twilio", "postmark": "pm", "smtp": "relay"}


def resolve(account: Account) -> Account:
    settings = dict(account.settings)
    if settings.get("events_secret_env") == "NOT_SET":
        raise LookupError("the environment variable NOT_SET is not set")
    if settings.pop("events_secret_env", None):
        settings["events_secret"] = SECRET
    return replace(account, settings=settings)


@dataclass
class World:
    """The door with what it sees: a clock, and an internet that holds Amazon's certificate."""

    pool: Pool
    now: datetime = NOW
    tick: float = 0.0
    pages: dict[str, int] = field(default_factory=lambda: {CERTIFICATE: 200, SUBSCRIBE_URL: 200})
    fetched: list[str] = field(default_factory=list)
    woken: int = 0
    door: CallbackDoor = field(init=False)

    def __post_init__(self) -> None:
        loaded = {0: Loaded.of(load({"ulak.toml": PROJECT}))}
        self.door = CallbackDoor(
            CallbackDeps(
                store=Callbacks(self.pool),
                accounts=Accounts(lambda: loaded, resolve, (LookupError,)),
                fetch=self.fetch,
                clock=lambda: self.now,
                monotonic=lambda: self.tick,
                entropy=lambda n: KEY[:n],
                stored=self.wake,
            )
        )

    def wake(self) -> None:
        self.woken += 1

    async def fetch(self, request: HttpRequest, deadline: float) -> HttpReply | Lost:
        assert deadline <= 10
        self.fetched.append(request.url)
        status = self.pages.get(request.url)
        if status is None:
            return Lost(Phase.NOT_SENT, "connect")
        return HttpReply(status, {}, amazon()[1])

    async def post(self, provider: str, callback: Callback, account: str | None = None, **more: Any) -> int:
        name = account or NAMES[provider]
        path = f"/v1/callbacks/{provider}/{callback_id(KEY, more.pop('tenant', 0), provider, name)}"
        return (await self.ask(path, callback.headers, callback.body, **more))[0]

    async def ask(
        self, path: str, headers: Mapping[str, str], body: bytes = b"", method: str = "POST"
    ) -> tuple[int, dict[bytes, bytes]]:
        parts = [
            {"type": "http.request", "body": body[:7], "more_body": True},
            {"type": "http.request", "body": body[7:]},
        ]
        sent: list[Any] = []

        async def receive() -> Any:
            if not parts:
                await asyncio.Event().wait()
            return parts.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self.door({"path": path, "method": method, "headers": raw}, receive, send)
        return sent[0]["status"], dict(sent[0]["headers"])

    async def kept(self) -> list[tuple[str, str]]:
        rows = await self.pool.fetch("SELECT provider, account FROM callbacks ORDER BY id")
        return [tuple(row.values()) for row in rows]


@pytest.fixture
def world(store: Pool) -> World:
    return World(store)


def pm(secret: str = SECRET) -> Callback:
    return Callback({"x-ulak-secret": secret}, b'{"RecordType": "Delivery"}')


def dsn(secret: str = SECRET) -> Callback:
    return Callback({"authorization": f"Bearer {secret}", "content-type": "message/rfc822"}, report())


async def test_what_a_vendor_sends_is_kept_as_it_came(world: World) -> None:
    callbacks = {
        "ses": posted(envelope(ses_event())),
        "sendgrid": sendgrid_posted([sendgrid_event()]),
        "postmark": pm(),
        "smtp": dsn(),
    }
    for provider, callback in callbacks.items():
        assert await world.post(provider, callback) == 200
    rows = await world.pool.fetch("SELECT tenant, provider, account, headers, body FROM callbacks ORDER BY id")
    assert [(r["tenant"], r["provider"], r["account"]) for r in rows] == [(0, *pair) for pair in NAMES.items()]
    assert [bytes(r["body"]) for r in rows] == [callback.body for callback in callbacks.values()]
    assert json.loads(rows[3]["headers"]) == {"content-type": "message/rfc822"}
    assert not any(SECRET in r["headers"] for r in rows)
    assert world.woken == 4


async def test_it_is_kept_in_one_commit(world: World) -> None:
    assert await world.post("postmark", pm()) == 200
    before = await world.pool.fetchval("SELECT pg_current_xact_id()::text::bigint")
    assert await world.post("postmark", pm()) == 200
    after = await world.pool.fetchval("SELECT pg_current_xact_id()::text::bigint")
    assert after - before == 2, "the callback's own, and the one that asks"


@pytest.mark.parametrize("url", FORGED_URLS)
async def test_a_forged_place_of_the_certificate_is_refused_and_not_fetched(world: World, url: str) -> None:
    world.pages[url] = 200
    assert await world.post("ses", posted(envelope(ses_event(), SigningCertURL=url))) == 403
    assert world.fetched == []
    assert await world.kept() == []


def forged() -> dict[str, tuple[str, Callback, int]]:
    good = envelope(ses_event())
    grid = sendgrid_posted([sendgrid_event("bounce", type="bounce")])
    return {
        "tampered notification": ("ses", posted(good | {"Message": json.dumps(ses_event(bounceType="x"))}), 403),
        "unsigned notification": ("ses", posted(good | {"Signature": ""}), 403),
        "foreign topic": ("ses", posted(envelope(ses_event(), TopicArn=TOPIC + "2")), 403),
        "old notification": ("ses", posted(envelope(ses_event(), NOW - timedelta(hours=2))), 403),
        "another type than its header's": ("ses", posted(good, **{"x-amz-sns-message-type": sns.SUBSCRIBE}), 400),
        "no envelope": ("ses", Callback({"x-amz-sns-message-type": "Notification"}, b"{}"), 400),
        "tampered events": ("sendgrid", Callback(grid.headers, grid.body + b" "), 403),
        "unsigned events": ("sendgrid", Callback({}, grid.body), 403),
        "replayed events": ("sendgrid", sendgrid_posted([sendgrid_event("bounce")], NOW - timedelta(hours=1)), 403),
        "wrong secret": ("postmark", pm("wrong"), 401),
        "no secret": ("postmark", Callback({}, b"{}"), 401),
        "wrong bearer": ("smtp", dsn("wrong"), 401),
        "another vendor's": ("smtp", grid, 401),
    }


@pytest.mark.parametrize("case", list(forged()))
async def test_what_is_not_proven_leaves_nothing(world: World, case: str, caplog: pytest.LogCaptureFixture) -> None:
    provider, callback, status = forged()[case]
    with caplog.at_level(logging.DEBUG):
        assert await world.post(provider, callback) == status
    assert await world.kept() == []
    while await Applier(world.pool, 1).poll():
        pass
    for table in ("suppressions", "receipts", "callback_events", "reachability"):
        assert await world.pool.fetchval(f"SELECT count(*) FROM {table}") == 0
    for secret in ("jo@example.com", SECRET, "SimpleNotification", "wrong"):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/callbacks/", 404),
        ("/v1/callbacks/postmark", 404),
        ("/v1/callbacks/postmark/pm", 404),
        ("/v1/callbacks/postmark/acc_0123456789abcdef0123456789abcdef", 404),
        ("/v1/callbacks/postmark/acc_0123456789abcdef0123456789abcdef/x", 404),
        (f"/v1/callbacks/smtp/{callback_id(KEY, 0, 'postmark', 'pm')}", 404),
        (f"/v1/callbacks/postmark/{callback_id(KEY, 7, 'postmark', 'pm')}", 404),
        (f"/v1/callbacks/postmark/{callback_id(b'x' * 32, 0, 'postmark', 'pm')}", 404),
        (f"/v1/callbacks/smtp/{callback_id(KEY, 0, 'smtp', 'deaf')}", 404),
        (f"/v1/callbacks/smtp/{callback_id(KEY, 0, 'smtp', 'lost')}", 404),
        (f"/v1/callbacks/postmark/{callback_id(KEY, 0, 'postmark', 'pm')}", 200),
    ],
)
async def test_an_address_is_known_or_not(world: World, path: str, status: int) -> None:
    assert (await world.ask(path, pm().headers, pm().body))[0] == status


async def test_only_post_is_taken(world: World) -> None:
    path = f"/v1/callbacks/postmark/{callback_id(KEY, 0, 'postmark', 'pm')}"
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        assert (await world.ask(path, pm().headers, pm().body, method))[0] == 405
    assert await world.kept() == []


async def test_the_certificate_is_fetched_once_a_day(world: World) -> None:
    for hour in (0, 1, 23):
        world.tick = hour * 3_600.0
        assert await world.post("ses", posted(envelope(ses_event()))) == 200
    assert world.fetched == [CERTIFICATE]
    world.tick = 25 * 3_600.0
    assert await world.post("ses", posted(envelope(ses_event()))) == 200
    assert len(world.fetched) == 2


@pytest.mark.parametrize("status", [None, 301, 404, 500])
async def test_without_the_certificate_amazon_is_asked_to_come_again(world: World, status: int | None) -> None:
    world.pages = {} if status is None else {CERTIFICATE: status}
    assert await world.post("ses", posted(envelope(ses_event()))) == 503
    assert await world.kept() == []
    world.pages = {CERTIFICATE: 200}
    assert await world.post("ses", posted(envelope(ses_event()))) == 200


def subscription(**more: Any) -> Callback:
    fields = {"Type": sns.SUBSCRIBE, "Token": "0123abcd", "SubscribeURL": SUBSCRIBE_URL} | more
    return posted(envelope("please confirm", NOW, "1", **fields))


async def test_a_subscription_is_confirmed_for_a_listed_topic_only(world: World) -> None:
    assert await world.post("ses", subscription()) == 200
    assert world.fetched == [CERTIFICATE, SUBSCRIBE_URL]
    assert await world.kept() == []
    world.fetched.clear()
    foreign = subscription(TopicArn=TOPIC + "2", SubscribeURL=SUBSCRIBE_URL.replace("ses-events", "ses-events2"))
    assert await world.post("ses", foreign) == 403
    assert await world.post("ses", subscription(SubscribeURL="https://169.254.169.254/latest/meta-data")) == 403
    assert world.fetched == []
    world.pages[SUBSCRIBE_URL] = 500
    assert await world.post("ses", subscription()) == 503


async def test_credentials_are_asked_for(world: World) -> None:
    loaded = {0: Loaded.of(load({"ulak.toml": PROJECT}))}
    basic = {"events_topics": [TOPIC], "events_username": "u", "events_password": SECRET}
    accounts = Accounts(
        lambda: loaded, lambda a: replace(a, settings=basic) if a.name == "amazon" else resolve(a), (LookupError,)
    )
    world.door = CallbackDoor(replace(world.door._deps, accounts=accounts))
    path = f"/v1/callbacks/ses/{callback_id(KEY, 0, 'ses', 'amazon')}"
    callback = posted(envelope(ses_event()))
    status, headers = await world.ask(path, callback.headers, callback.body)
    assert (status, headers[b"www-authenticate"]) == (401, b'Basic realm="callbacks"')


async def test_a_body_without_end_and_a_slow_one_are_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY", 100)
    assert await world.post("postmark", Callback(pm().headers, b"x" * 101)) == 413
    monkeypatch.setattr(module, "BODY_SECONDS", 0.05)
    path = f"/v1/callbacks/postmark/{callback_id(KEY, 0, 'postmark', 'pm')}"
    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await world.door({"path": path, "method": "POST", "headers": []}, never, send)
    assert sent[0]["status"] == 408

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    sent.clear()
    await world.door({"path": path, "method": "POST", "headers": []}, gone, send)
    assert sent == []


async def test_more_at_once_than_there_is_room_for_come_back_later(world: World) -> None:
    path = f"/v1/callbacks/postmark/{callback_id(KEY, 0, 'postmark', 'pm')}"
    await world.post("postmark", pm())
    go = asyncio.Event()

    async def slow() -> Any:
        await go.wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        raise AssertionError

    scope = {"path": path, "method": "POST", "headers": []}
    waiting = [asyncio.create_task(world.door(scope, slow, send)) for _ in range(module.AT_ONCE)]
    await eventually(world.door._room.locked, what="the room to be full")
    assert await world.post("postmark", pm()) == 503
    go.set()
    await asyncio.gather(*waiting)
    assert await world.post("postmark", pm()) == 200


async def test_a_database_that_is_away_is_not_answered_with_200(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise OSError("away")

    await world.post("postmark", pm())
    monkeypatch.setattr(Callbacks, "keep", away)
    assert await world.post("postmark", pm()) == 503
    assert world.woken == 1


async def test_strangers_do_not_fill_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(50):
        assert await world.post("postmark", pm("wrong")) == 401
    assert len([r for r in caplog.records if r.name == "ulak.callbacks"]) == 1
    world.tick += 61
    await world.post("postmark", pm("wrong"))
    assert len([r for r in caplog.records if r.name == "ulak.callbacks"]) == 2
    assert world.door.rejected == 51


async def test_a_fault_of_ours_tells_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def needs(self, *_: object) -> list[Any]:
            raise RuntimeError("jo@example.com")

    world.door = CallbackDoor(replace(world.door._deps, events={"postmark": Broken()}))  # type: ignore[dict-item]
    assert await world.post("postmark", pm()) == 500
    assert "jo@example.com" not in caplog.text


async def test_all_nodes_make_the_same_addresses(store: Pool) -> None:
    secrets = await asyncio.gather(*(Callbacks(store).secret(bytes([n]) * 32) for n in range(4)))
    assert len(set(secrets)) == 1
    with pytest.raises(ValueError, match="32"):
        await Callbacks(store).secret(b"short")
