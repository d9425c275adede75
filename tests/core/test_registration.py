"""Is every address that a service can take registered in one spelling, and everything else refused with its place?"""

from __future__ import annotations

import base64
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import assume, given
from hypothesis import strategies as st

from ulak.core import registration
from ulak.core.device import PROVIDER_OF, AddressKind, Environment
from ulak.core.invalid import Invalid
from ulak.core.model import Account, Channel
from ulak.core.registration import ApplicationServer, DeviceBody, Place, Registration
from ulak.core.values import Unfit

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLACE = Place("octocat", "phone")
APNS = "0a" * 32
FCM = "fcm-instance:APA91b" + "x" * 120
FID = "cAbC-d_EfGhIjKlMnOpQrS"
ENDPOINT = "https://updates.push.services.mozilla.com/wpush/v2/abc"
MILLISECONDS = 1000


def point(secret: int) -> bytes:
    """The public key of a private one, uncompressed."""
    key = ec.derive_private_key(secret, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def coded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


KEY, AUTH = coded(point(7)), coded(bytes(range(16)))
FIRST = ApplicationServer("web", coded(point(11)))
SECOND = ApplicationServer("web-old", coded(point(12)), ("push.example.org",), ("https://shop.example.com",))
SERVERS = (FIRST, SECOND)


def subscription(**changes: Any) -> dict[str, Any]:
    keys = {"p256dh": changes.pop("p256dh", KEY), "auth": changes.pop("auth", AUTH)}
    return {"endpoint": ENDPOINT, "expirationTime": None, "keys": keys, **changes}


def read(servers: Any = SERVERS, **body: Any) -> Registration:
    return registration.read(msgspec.convert(body, DeviceBody), PLACE, servers, NOW)


def refusal(servers: Any = SERVERS, **body: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(servers, **body)
    return caught.value


GOOD: dict[str, dict[str, Any]] = {
    "apns": {"kind": "apns", "token": APNS},
    "fcm_token": {"kind": "fcm_token", "token": FCM},
    "fcm_fid": {"kind": "fcm_fid", "token": FID},
    "webpush": {"kind": "webpush", "subscription": subscription()},
}


# --------------------------------------------------------------------------------------------- tokens


@given(st.binary(min_size=32, max_size=200), st.randoms())
def test_a_token_of_apples_is_one_however_its_letters_are_written(raw: bytes, chance: Any) -> None:
    text = "".join(chance.choice((char.upper(), char)) for char in raw.hex())
    assert registration.apns_token(text) == raw.hex()


@given(st.one_of(st.binary(max_size=31), st.binary(min_size=201, max_size=300)))
def test_a_token_of_apples_of_another_length_is_refused(raw: bytes) -> None:
    with pytest.raises(Unfit):
        registration.apns_token(raw.hex())


@given(st.integers(0, 64), st.characters(exclude_characters=string.hexdigits))
def test_a_token_of_apples_with_anything_else_in_it_is_refused(at: int, odd: str) -> None:
    for text in (APNS[:at] + odd + APNS[at:], APNS[:at] + odd + APNS[at + 1 :], APNS + "0"):
        with pytest.raises(Unfit):
            registration.apns_token(text)


VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E))


@given(VISIBLE, VISIBLE)
def test_a_token_of_firebases_is_taken_as_it_is(head: str, tail: str) -> None:
    assert registration.fcm_token(f"{head}:{tail}") == f"{head}:{tail}"


@given(st.integers(0, len(FCM)), st.characters(exclude_categories=["Lu", "Ll", "Nd", "Po", "Pd", "Pc", "Sm", "Sc"]))
def test_a_token_of_firebases_has_neither_spaces_nor_control_characters(at: int, odd: str) -> None:
    assume(not 0x21 <= ord(odd) <= 0x7E)
    with pytest.raises(Unfit):
        registration.fcm_token(FCM[:at] + odd + FCM[at:])


@pytest.mark.parametrize("text", ["", "x" * 100, ":" + "x" * 4096, f"{FCM}\n", FID])
def test_what_is_no_token_of_firebases_is_refused(text: str) -> None:
    with pytest.raises(Unfit):
        registration.fcm_token(text)


BASE64URL = string.ascii_letters + string.digits + "-_"


@given(st.text(BASE64URL, min_size=22, max_size=22), st.text(BASE64URL, min_size=11, max_size=11))
def test_installation_ids_of_today_and_of_before_are_taken(fid: str, old: str) -> None:
    assert (registration.fcm_fid(fid), registration.fcm_fid(old)) == (fid, old)


@given(st.text(BASE64URL, max_size=40).filter(lambda text: len(text) not in (11, 22)))
def test_an_installation_id_of_another_length_is_refused(text: str) -> None:
    for each in (text, f"{FID[:-1]} ", f"{FID}\n", FID[:-1] + "="):
        with pytest.raises(Unfit):
            registration.fcm_fid(each)


# ----------------------------------------------------------------------------------------------- keys


def spellings(raw: bytes) -> set[str]:
    """How libraries write the same bytes."""
    both = {base64.urlsafe_b64encode(raw).decode(), base64.b64encode(raw).decode()}
    return both | {text.rstrip("=") for text in both}


@given(st.integers(1, 2**200), st.binary(min_size=16, max_size=16))
def test_keys_have_one_spelling_whatever_alphabet_they_came_in(secret: int, auth: bytes) -> None:
    raw = point(secret)
    assert {registration.public_key(text) for text in spellings(raw)} == {coded(raw)}
    assert {registration.auth_secret(text) for text in spellings(auth)} == {coded(auth)}


@given(st.binary(min_size=64, max_size=64))
def test_a_key_that_is_not_on_the_curve_is_refused(raw: bytes) -> None:
    """Of 64 random bytes hardly any are a point (the equation holds for one y in 2^256)."""
    with pytest.raises(Unfit, match="curve"):
        registration.public_key(coded(b"\4" + raw))


@pytest.mark.parametrize("flip", [1, 32, 33, 64])
def test_a_point_that_was_damaged_is_refused(flip: int) -> None:
    raw = bytearray(point(7))
    raw[flip] ^= 1
    with pytest.raises(Unfit, match="curve"):
        registration.public_key(coded(bytes(raw)))


@pytest.mark.parametrize(
    "raw", [b"", point(7)[:64], point(7) + b"\0", b"\2" + point(7)[1:33], b"\5" + point(7)[1:], b"\6" + point(7)[1:]]
)
def test_a_key_in_another_form_is_refused(raw: bytes) -> None:
    with pytest.raises(Unfit, match="65 bytes"):
        registration.public_key(coded(raw))


@given(st.text(max_size=120))
def test_any_text_is_a_key_or_is_refused(text: str) -> None:
    for check in (registration.public_key, registration.auth_secret):
        assert outcome(partial(stable, check, text)) in (True, "invalid_key")


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_is_a_time_to_come_or_is_refused(milliseconds: float) -> None:
    found = outcome(lambda: registration.expiry(milliseconds, NOW) > NOW)
    assert found in (True, "invalid_time", "subscription_expired")


def stable(check: Callable[[str], str], text: str) -> bool:
    return check(text) == check(check(text))


def outcome(check: Callable[[], Any]) -> Any:
    """What a check says, or the code of its refusal."""
    try:
        return check()
    except Unfit as error:
        return error.code


# --------------------------------------------------------------------------------------------- bodies


def test_what_an_app_does_not_say_has_a_usual_value() -> None:
    found = {kind: read(**body) for kind, body in GOOD.items()}
    assert {kind: one.platform for kind, one in found.items()} == {
        "apns": "ios",
        "fcm_token": "android",
        "fcm_fid": "android",
        "webpush": "web",
    }
    assert all((one.user, one.name, one.app) == ("octocat", "phone", "") for one in found.values())
    assert found["apns"].environment is None
    web = found["webpush"]
    assert (web.account, web.named, web.address, web.p256dh, web.auth) == ("web", False, ENDPOINT, KEY, AUTH)


def test_what_an_app_says_is_kept() -> None:
    said = {"app": "org.example", "platform": "macos", "app_version": "2.1", "model": "Mac15,3"}
    found = read(**GOOD["apns"], **said, environment="sandbox")
    assert (found.app, found.platform, found.app_version, found.model) == tuple(said.values())
    assert found.environment is Environment.SANDBOX
    ends = NOW + timedelta(days=1)
    web = read(
        kind="webpush",
        subscription=subscription(expirationTime=ends.timestamp() * MILLISECONDS, options={"userVisibleOnly": True}),
        application_server_key=SECOND.key + "=",
        app="https://shop.example.com",
    )
    assert (web.account, web.named, web.expires_at) == ("web-old", True, ends)


OFF = coded(b"\4" + bytes(64))
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"kind": "apns"}, "missing_field", "$.token"),
    ({"kind": "apns", "token": "<0a0b>"}, "invalid_token", "$.token"),
    ({"kind": "apns", "token": FCM}, "invalid_token", "$.token"),
    ({"kind": "fcm_token", "token": FID}, "invalid_token", "$.token"),
    ({"kind": "fcm_fid", "token": FCM}, "invalid_token", "$.token"),
    ({"kind": "apns", "token": ""}, "invalid_token", "$.token"),
    ({**GOOD["fcm_fid"], "environment": "sandbox"}, "invalid_field", "$.environment"),
    ({**GOOD["webpush"], "environment": "production"}, "invalid_field", "$.environment"),
    ({**GOOD["apns"], "subscription": subscription()}, "invalid_field", "$.subscription"),
    ({**GOOD["apns"], "application_server_key": FIRST.key}, "invalid_field", "$.application_server_key"),
    ({**GOOD["webpush"], "token": APNS}, "invalid_field", "$.token"),
    ({**GOOD["apns"], "app": "a\nb"}, "invalid_id", "$.app"),
    ({**GOOD["apns"], "app_version": "a\0b"}, "invalid_id", "$.app_version"),
    ({**GOOD["apns"], "model": "\u2028"}, "invalid_id", "$.model"),
    ({"kind": "webpush"}, "missing_field", "$.subscription"),
    (
        {"kind": "webpush", "subscription": subscription(endpoint="http://fcm.googleapis.com/x")},
        "invalid_endpoint",
        "$.subscription.endpoint",
    ),
    (
        {"kind": "webpush", "subscription": subscription(endpoint="https://127.0.0.1/x")},
        "invalid_endpoint",
        "$.subscription.endpoint",
    ),
    (
        {"kind": "webpush", "subscription": subscription(endpoint="https://push.example.org/x")},
        "invalid_endpoint",
        "$.subscription.endpoint",
    ),
    (
        {"kind": "webpush", "subscription": subscription(p256dh=OFF)},
        "invalid_key",
        "$.subscription.keys.p256dh",
    ),
    (
        {"kind": "webpush", "subscription": subscription(auth="AAAA")},
        "invalid_key",
        "$.subscription.keys.auth",
    ),
    (
        {"kind": "webpush", "subscription": subscription(expirationTime=NOW.timestamp() * MILLISECONDS)},
        "subscription_expired",
        "$.subscription.expirationTime",
    ),
    (
        {"kind": "webpush", "subscription": subscription(expirationTime=1e300)},
        "invalid_time",
        "$.subscription.expirationTime",
    ),
    ({**GOOD["webpush"], "application_server_key": KEY}, "unknown_server_key", "$.application_server_key"),
    ({**GOOD["webpush"], "application_server_key": "x"}, "invalid_key", "$.application_server_key"),
]


@pytest.mark.parametrize(("body", "code", "path"), BAD)
def test_a_mistake_is_told_with_its_place(body: dict[str, Any], code: str, path: str) -> None:
    error = refusal(**body)
    assert (error.status, error.code, error.path) == (422, code, path)


@pytest.mark.parametrize(("body", "code", "path"), BAD)
def test_no_refusal_repeats_an_address_or_a_key(body: dict[str, Any], code: str, path: str) -> None:
    del code, path
    error = refusal(**body)
    told = f"{error} {error.message} {error.hint}"
    given = body.get("subscription") or {}
    for secret in (body.get("token"), given.get("endpoint"), *(given.get("keys") or {}).values()):
        assert not secret or secret not in told


def test_a_push_service_that_an_account_allows_is_taken() -> None:
    endpoint = "https://push.example.org/up?t=1"
    found = read([SECOND], kind="webpush", subscription=subscription(endpoint=endpoint))
    assert (found.account, found.address) == ("web-old", endpoint)


def test_without_an_account_for_browsers_the_caller_is_told_what_to_declare() -> None:
    error = refusal([], **GOOD["webpush"])
    assert (error.code, error.path) == ("no_account", "$.kind")
    assert 'provider = "webpush"' in error.hint
    assert refusal([SECOND], **GOOD["webpush"], app="https://other.example.com").code == "no_account"


def test_a_registration_is_never_printed_with_its_address() -> None:
    found = read(**GOOD["webpush"])
    for text in (repr(found), str(found.__rich_repr__())):
        assert ENDPOINT not in text
        assert KEY not in text


def test_every_kind_has_a_platform_and_a_provider() -> None:
    assert set(registration._PLATFORM) == set(PROVIDER_OF) == set(AddressKind)


def test_the_keys_for_browsers_are_those_of_accounts_that_can_use_them() -> None:
    def account(name: str, provider: str, priority: int = 1, **settings: object) -> Account:
        return Account(name, provider, Channel.PUSH, priority=priority, settings=settings)

    found = registration.application_servers(
        [
            account("late", "webpush", 2, public_key=FIRST.key + "=", hosts=["a.example"], apps=["x"]),
            account("apple", "apns", public_key=FIRST.key),
            account("none", "webpush"),
            account("off", "webpush", public_key=OFF),
            account("soon", "webpush", public_key=SECOND.key),
        ]
    )
    assert found == [
        ApplicationServer("soon", SECOND.key),
        ApplicationServer("late", FIRST.key, ("a.example",), ("x",)),
    ]
