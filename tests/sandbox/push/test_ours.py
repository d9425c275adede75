"""Do the push services take what ours sends, by our own clients, and is it shown in the end?"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from ulak.core.content.email import ContentError
from ulak.core.content.push import PushContent
from ulak.core.device import AddressKind, Device, Environment, Fate
from ulak.core.invalid import Invalid
from ulak.core.model import Account, Channel
from ulak.core.outcome import Outcome
from ulak.core.registration import DeviceBody, Place, application_servers, read
from ulak.io.credentials import Clocks
from ulak.io.outbound import tls
from ulak.io.outbound.http import HttpClient
from ulak.io.outbound.http2 import Http2Client, Options
from ulak.io.outbound.push import PushSender
from ulak.node import sandboxed
from ulak.providers.contract import Message
from ulak.providers.push import webpush
from ulak.providers.registry import PROVIDERS, check
from ulak.sandbox.push.devices import Change, FakeDevice, State, Wanted
from ulak.sandbox.push.services import PushServices
from ulak.sandbox.record import Record
from ulak.settings import SettingError

pytestmark = pytest.mark.anyio

HERE = [ip_network("127.0.0.1/32")]
OWN: dict[str, dict[str, object]] = {
    "apns": {
        "team_id": "OURTEAM001", "key_id": "OURKEY0001", "private_key_env": "P8", "apps": ["org.example.app"],
        "environment": "both",
    },
    "fcm": {"service_account_env": "FIREBASE", "project": "ours", "apps": ["org.example.app"]},
    "webpush": {"subject": "mailto:ada@example.com", "private_key_env": "VAPID", "hosts": ["*.example.com"]},
}  # fmt: skip
KINDS = {
    AddressKind.APNS: "apns",
    AddressKind.FCM_TOKEN: "fcm",
    AddressKind.FCM_FID: "fcm",
    AddressKind.WEBPUSH: "webpush",
}
kind = pytest.mark.parametrize("kind", list(KINDS))


def account(push: PushServices, provider: str) -> Account:
    """An account as a project declares it, put in front of the sandbox."""
    declared = Account("push", provider, Channel.PUSH, settings=OWN[provider])
    ours = sandboxed(declared, "127.0.0.1:1", "http://127.0.0.1:1", push.setting)
    check(provider, ours.settings)
    return ours


def device(fake: FakeDevice) -> Device:
    """What the door would have kept of a device's registration."""
    body: Any = fake.registration()
    keys = body.get("subscription", {}).get("keys", {})
    return Device(
        "dev_" + "0" * 32,
        fake.kind,
        body["app"],
        body["platform"],
        body["token"] if "token" in body else body["subscription"]["endpoint"],
        datetime.now(UTC) - timedelta(days=1),
        Environment(body.get("environment", "production")),
        p256dh=keys.get("p256dh", ""),
        auth=keys.get("auth", ""),
    )


async def test_a_real_browsers_subscription_is_refused_before_anything_leaves() -> None:
    async with PushServices(Record(None, 10**6)) as push:
        fake = push.devices.make(Wanted(kind=AddressKind.WEBPUSH), push.now)
        given = message(fake)
        assert given.device is not None
        real = msgspec.structs.replace(given.device, address="https://updates.push.services.mozilla.com/wpush/v2/x")
        with pytest.raises(ContentError, match="push service"):
            webpush.build([msgspec.structs.replace(given, device=real)], account(push, "webpush"), datetime.now(UTC))
        servers = application_servers([account(push, "webpush")])
        body = msgspec.convert(fake.registration(), DeviceBody)
        assert body.subscription is not None
        read(body, Place("ada", "browser"), servers, datetime.now(UTC))
        body.subscription.endpoint = real.address
        with pytest.raises(Invalid):
            read(body, Place("ada", "browser"), servers, datetime.now(UTC))


def message(fake: FakeDevice, **more: Any) -> Message:
    """A push of one delivery."""
    name, now = uuid4().hex, datetime.now(UTC)
    content = PushContent("Grüße 👋", "Da bist du ja", url="https://example.com/1", data={"order": "42"})
    whole: dict[str, Any] = {"klass": "transactional", "type": "t", "notification": "ntf_1", "badge": 3, **more}
    return Message(
        f"dlv_{name}", f"att_{name}_1", "dev_" + "0" * 32, content, now + timedelta(hours=1),
        device=device(fake), entropy=name.encode() + name[:16].encode(), **whole,
    )  # fmt: skip


Send = Callable[[Message], Any]


@pytest.fixture
def clock() -> Callable[[], datetime]:
    """What our clients go by."""
    return lambda: datetime.now(UTC)


@pytest.fixture
async def send(push: PushServices) -> AsyncIterator[Send]:
    """Sends as a node does."""
    senders: list[PushSender] = []

    async def one(what: Message) -> Outcome:
        assert what.device is not None
        ours = account(push, KINDS[what.device.kind])
        provider: Any = PROVIDERS[ours.provider]
        many = ours.provider != "webpush"
        trust = tls.context(str(ours.settings["ca_file"]), ("h2",) if many else ())
        proves = getattr(provider, "proves", None)
        client = Http2Client(HERE, Options(proves=proves), tls=trust) if many else HttpClient(
            HERE, schemes={"https"}, tls=trust
        )  # fmt: skip
        sender = PushSender(provider, ours, client, Clocks(lambda: datetime.now(UTC), time.monotonic))
        senders.append(sender)
        now = datetime.now(UTC)
        reply = await sender.send(provider.build([what], ours, now), 20)
        (outcome,) = provider.read(reply, [what], ours, now)
        assert isinstance(outcome, Outcome)
        return outcome

    yield one
    for sender in senders:
        await sender.close()


@kind
async def test_our_push_is_shown_with_its_words(kind: AddressKind, push: PushServices, send: Send) -> None:
    fake = push.devices.make(Wanted(kind), push.now)
    outcome = await send(message(fake))
    assert (outcome.kind, outcome.reason) == ("accepted", "accepted")
    assert outcome.vendor_id
    (shown,) = fake.shown.values()
    assert (shown.title, shown.body, shown.badge) == ("Grüße 👋", "Da bist du ja", 3)
    assert shown.notification == "ntf_1"
    assert "42" in str(shown.payload)


@kind
async def test_our_push_that_is_repeated_replaces_the_first(
    kind: AddressKind, push: PushServices, send: Send, record: Record
) -> None:
    fake = push.devices.make(Wanted(kind), push.now)
    same = message(fake)
    for _ in range(2):
        assert (await send(same)).kind == "accepted"
    assert (record.total, fake.duplicates, len(fake.shown)) == (2, 1, 1)
    (shown,) = fake.shown.values()
    assert shown.delivery == same.delivery


@kind
async def test_a_removed_app_is_told_by_all(kind: AddressKind, push: PushServices, send: Send) -> None:
    fake = push.devices.make(Wanted(kind), push.now)
    push.devices.change(fake, Change(state=State.UNINSTALLED), push.now)
    outcome = await send(message(fake))
    assert (outcome.kind, outcome.device) == ("recipient_permanent", Fate.DEAD)


async def test_a_token_of_the_other_environment_is_known_there(push: PushServices, send: Send) -> None:
    fake = push.devices.make(Wanted(AddressKind.APNS, environment=Environment.SANDBOX), push.now)
    assert (await send(message(fake))).kind == "accepted"
    push.devices.change(fake, Change(environment=Environment.PRODUCTION), push.now)
    wrong = push.devices.make(Wanted(AddressKind.APNS, environment=Environment.SANDBOX), push.now)
    what = message(wrong)
    push.devices.change(wrong, Change(environment=Environment.PRODUCTION), push.now)
    assert (await send(what)).device is Fate.OTHER_ENVIRONMENT


@kind
async def test_our_door_takes_what_a_device_registers_with(kind: AddressKind, push: PushServices) -> None:
    fake = push.devices.make(Wanted(kind, environment=Environment.SANDBOX), push.now)
    servers = application_servers([account(push, "webpush")])
    body = msgspec.convert(fake.registration(), DeviceBody)
    taken = read(body, Place("ada", fake.name), servers, push.now)
    assert taken.address == fake.address
    assert (taken.app, taken.platform) == (fake.app, fake.platform)
    assert taken.environment == (Environment.SANDBOX if kind is AddressKind.APNS else None)
    assert taken.account == ("push" if kind is AddressKind.WEBPUSH else "")


async def test_an_account_of_push_keeps_its_apps_and_loses_its_keys(push: PushServices) -> None:
    for provider, declared in OWN.items():
        ours = account(push, provider).settings
        assert ours.get("apps") == declared.get("apps")
        assert not [key for key in ours if key.endswith("_env")]
        assert "ours" not in ours.values()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"apns": 1}', '{"ca": "x"}'])
def test_without_the_sandboxs_places_no_account_of_push_is_used(text: str) -> None:
    for provider, settings in OWN.items():
        with pytest.raises(SettingError, match="ULAK_SANDBOX_PUSH"):
            sandboxed(Account("push", provider, Channel.PUSH, settings=settings), "h:1", "", text)
