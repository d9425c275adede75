"""Who stands in for devices, keys and accounts of push: good for nothing outside of tests."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from ulak.core.content.push import Action, PushContent
from ulak.core.device import AddressKind, Device
from ulak.core.model import Account, Channel
from ulak.providers.contract import Message

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
REGISTERED = NOW - timedelta(days=3)
DELIVERY = "0192f0c1e1a27c3f8000000000000001"
APP = "com.example.octo"
PROJECT = "octo-1a2b3"

CONTENT = PushContent(
    "Siparişin yolda",
    "Öğleden önce seninle 📦",
    subtitle="Çelik Ltd.",
    url="https://octo.example.com/o/42",
    icon="https://octo.example.com/i.png",
    image="https://octo.example.com/p.png",
    sound="ding.caf",
    color="#ff8800",
    thread="orders",
    category="ORDER",
    android_channel="orders",
    interruption="time-sensitive",
    actions=(Action("open", "Aç", url="https://octo.example.com/o/42"), Action("mute", "Sustur")),
    data={"order": "42"},
)


@lru_cache
def p8() -> str:
    """A key as Apple gives it out."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


@lru_cache
def service_account() -> str:
    """A key's file as Google gives it out."""
    return json.dumps(
        {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "0123456789abcdef",
            "private_key": _pem(rsa.generate_private_key(65_537, 2_048)),
            "client_email": f"ulak@{PROJECT}.iam.gserviceaccount.com",
        },
        indent=2,
    )


@lru_cache
def vapid() -> dict[str, object]:
    """An application server's key pair, and who answers for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_numbers().private_value.to_bytes(32, "big")
    return {"subject": "mailto:ops@example.com", "private_key": b64(private), "public_key": b64(point(key))}


@lru_cache
def devices() -> dict[str, Device]:
    """One device for each provider of push."""
    browser = ec.generate_private_key(ec.SECP256R1())
    return {
        "apns": Device("dev_1", AddressKind.APNS, APP, "ios", "ab" * 32, REGISTERED),
        "fcm": Device("dev_2", AddressKind.FCM_TOKEN, APP, "android", f"fid:APA91b{'x' * 130}", REGISTERED),
        "webpush": Device(
            "dev_3",
            AddressKind.WEBPUSH,
            "https://octo.example.com",
            "web",
            f"https://updates.push.services.mozilla.com/wpush/v2/{'g' * 120}",
            REGISTERED,
            p256dh=b64(point(browser)),
            auth=b64(b"0123456789abcdef"),
            account="test-webpush",
        ),
    }


def settings(provider: str) -> dict[str, object]:
    """Settings that each provider accepts."""
    match provider:
        case "apns":
            return {"team_id": "TEAM000001", "key_id": "KEY0000001", "private_key": p8(), "apps": [APP]}
        case "fcm":
            return {"service_account": service_account()}
        case _:
            return vapid()


def account(provider: str, **more: object) -> Account:
    return Account(f"test-{provider}", provider, Channel.PUSH, settings={**settings(provider), **more})


def message(provider: str = "apns", content: Any = CONTENT, **more: Any) -> Message:
    asked = Message(
        f"dlv_{DELIVERY}",
        f"att_{DELIVERY}_1",
        "dev_1",
        content,
        NOW + timedelta(hours=1),
        type="order_shipped",
        notification=f"ntf_{'1' * 32}",
        device=devices()[provider],
        badge=3,
        entropy=bytes(range(48)),
    )
    return msgspec.structs.replace(asked, **more)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
