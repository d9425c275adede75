"""Does another implementation believe our signatures, and does it notice every change of what they cover?"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import dkim as oracle  # type: ignore[import-untyped]
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from ulak.core.content.email import Attachment, EmailContent
from ulak.core.content.headers import Facts
from ulak.core.content.mime import Stamp, build
from ulak.core.sign import dkim

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RSA = rsa.generate_private_key(65537, 1024)  # short, to be made quickly
ED = Ed25519PrivateKey.from_private_bytes(base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="))
FACTS = Facts(
    "example.com", "dlv_1", "att_1_1", "order", "orders", "transactional", "https://example.com/u/t", "no@example.com"
)
FULL = EmailContent(
    "Octo <octo@example.com>", "Grüße an  dich", "one  \n\ttwo ü\n\n\n", "<p>ü  x</p>\n\n", "help@example.com", "de",
    headers=(("In-Reply-To", "<a@b.cc>"), ("X-Order", "7")), attachments=(Attachment("ü.bin", "a/b", b"\0" * 99),),
)  # fmt: skip


def pem(key: Any) -> str:
    return str(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
    )


def record(key: Any) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(raw)
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)


class _VerifyKey:
    """What the oracle wants of PyNaCl, by ``cryptography``."""

    def __init__(self, text: bytes, encoder: object) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(text))

    def verify(self, data: bytes, signature: bytes) -> None:
        self._key.verify(signature, data)


@pytest.fixture(autouse=True)
def _nacl(monkeypatch: pytest.MonkeyPatch) -> None:
    shim = SimpleNamespace(
        signing=SimpleNamespace(VerifyKey=_VerifyKey),
        encoding=SimpleNamespace(Base64Encoder=None),
        exceptions=SimpleNamespace(ValueError=ValueError, BadSignatureError=InvalidSignature),
    )
    monkeypatch.setattr(oracle, "nacl", shim, raising=False)


def signed(key: Any, content: EmailContent = FULL, facts: Facts = FACTS) -> bytes:
    message = build(content, Stamp("ada@example.com", NOW, "01ab", facts))
    return dkim.load("example.com", "mail", pem(key)).sign(message, NOW) + message


def believed(message: bytes, key: Any) -> bool:
    def dns(name: bytes, timeout: int = 5) -> bytes:
        assert name == b"mail._domainkey.example.com."
        return record(key)

    try:
        return bool(oracle.DKIM(message, minkey=1024).verify(dnsfunc=dns))
    except oracle.ValidationError:  # such as another hash of the body
        return False


@pytest.mark.parametrize("key", [RSA, ED], ids=["rsa", "ed25519"])
def test_another_implementation_believes_it(key: Any) -> None:
    message = signed(key)
    assert believed(message, key)
    assert all(len(line) <= 78 for line in message.partition(b"\r\n\r\n")[0].split(b"\r\n"))


@pytest.mark.parametrize("key", [RSA, ED], ids=["rsa", "ed25519"])
def test_another_key_is_not_ours(key: Any) -> None:
    other = Ed25519PrivateKey.generate() if key is ED else rsa.generate_private_key(65537, 1024)
    assert not believed(signed(other), key)


CHANGED = [
    name for name in (*dkim.OVERSIGNED, *dkim.SIGNED) if name not in ("cc", "references", "content-transfer-encoding")
]


@pytest.mark.parametrize("name", CHANGED)
def test_no_covered_field_can_be_changed_or_taken_away(name: str) -> None:
    message = signed(ED)
    head, blank, body = message.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    at = next(n for n, line in enumerate(lines) if line.lower().startswith(f"{name}:".encode()))
    changed = [*lines[:at], lines[at] + b"x", *lines[at + 1 :]]
    end = at + 1
    while end < len(lines) and lines[end].startswith(b" "):
        end += 1
    assert not believed(b"\r\n".join(changed) + blank + body, ED)
    assert not believed(b"\r\n".join([*lines[:at], *lines[end:]]) + blank + body, ED)


@pytest.mark.parametrize("name", dkim.OVERSIGNED)
@pytest.mark.parametrize("last", [True, False], ids=["below", "above"])
def test_no_field_that_matters_can_be_added(name: str, last: bool) -> None:
    message = signed(ED)
    extra = f"{name}: x\r\n".encode()
    if name == "from":
        extra = b"From: evil@x.yy\r\n"
    head, blank, body = message.partition(b"\r\n\r\n")
    added = head + b"\r\n" + extra.rstrip() + blank + body if last else extra + message
    try:
        assert not believed(added, ED)
    except oracle.MessageFormatError:
        assert name == "from"  # two of it are not even looked at


def test_the_body_cannot_be_changed() -> None:
    message = signed(ED)
    assert b"one" in message
    assert not believed(message.replace(b"one", b"two", 1), ED)
    assert not believed(message + b"more\r\n", ED)
    assert believed(message + b"\r\n\r\n", ED)  # relaxed: empty lines at the end do not count


def test_a_field_outside_the_list_may_be_added() -> None:
    assert believed(b"Received: from somewhere\r\n" + signed(ED), ED)


def test_without_oversigning_a_second_subject_would_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: what the second naming is for."""
    monkeypatch.setattr(dkim, "listed", lambda found: [n for n in (*dkim.OVERSIGNED, *dkim.SIGNED) if n in found])
    assert believed(b"Subject: other\r\n" + signed(ED), ED)


def test_without_its_place_in_the_list_one_click_could_be_forged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: a changed List-Unsubscribe-Post would verify."""
    monkeypatch.setattr(dkim, "OVERSIGNED", tuple(n for n in dkim.OVERSIGNED if n != "list-unsubscribe-post"))
    message = signed(ED)
    assert believed(message.replace(b"One-Click", b"Two-Click"), ED)


def test_the_example_of_rfc_8463() -> None:
    lines = [
        "From: Joe SixPack <joe@football.example.com>",
        "To: Suzie Q <suzie@shopping.example.net>",
        "Subject: Is dinner ready?",
        "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)",
        "Message-ID: <20030712040037.46341.5F8J@football.example.com>",
    ]
    body = "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
    digest = base64.b64encode(hashlib.sha256(dkim.relaxed_body(body.encode())).digest()).decode()
    assert digest == "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
    field = (
        " v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n"
        " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
        " subject : date : message-id : from : subject : date;\r\n"
        f" bh={digest};\r\n b="
    )
    names = ["from", "to", "subject", "date", "message-id", "from", "subject", "date"]
    found = {line.partition(":")[0].lower(): line.partition(":")[2].encode() for line in lines}
    data = dkim.signed_data(found, names, field.encode())
    signature = dkim.Signer("football.example.com", "brisbane", ED)._signature(data)
    assert base64.b64encode(signature).decode() == (
        "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
    )


@given(st.text(max_size=80), st.text(max_size=80), st.none() | st.text(max_size=80))
def test_any_message_of_ours_is_believed(subject: str, text: str, html: str | None) -> None:
    shim = SimpleNamespace(signing=SimpleNamespace(VerifyKey=_VerifyKey), encoding=SimpleNamespace(Base64Encoder=None))
    oracle.nacl = shim
    assert believed(
        signed(ED, EmailContent("octo@example.com", subject, text, html), Facts("example.com", "d", "a")), ED
    )


@pytest.mark.parametrize(
    ("domain", "selector", "key", "told"),
    [
        ("example", "mail", pem(ED), "dkim_domain"),
        ("example.com; d=evil.example", "mail", pem(ED), "dkim_domain"),
        ("example.com\r\nBcc: x", "mail", pem(ED), "dkim_domain"),
        ("example.com", "", pem(ED), "dkim_selector"),
        ("example.com", "a b", pem(ED), "dkim_selector"),
        ("example.com", "mail", "secret", "dkim_key"),
        ("example.com", "mail", "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----", "dkim_key"),
        ("example.com", "mail", pem(ec.generate_private_key(ec.SECP256R1())), "RSA or Ed25519"),
        ("example.com", "mail", "ü", "dkim_key"),
    ],
    ids=["label", "tag", "crlf", "empty", "blank", "no_key", "broken", "curve", "not_ascii"],
)
def test_unusable_settings_are_told_without_the_key(domain: str, selector: str, key: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        dkim.load(domain, selector, key)
    assert "secret" not in str(caught.value)


def test_a_key_is_read_however_it_is_written() -> None:
    raw = base64.b64encode(ED.private_bytes_raw()).decode()
    signers = [dkim.load("example.com", "mail", text) for text in (pem(ED), pem(ED).replace("\n", "\\n"), raw)]
    assert len({signer.sign(b"From: a@b.cc\r\n\r\nx\r\n", NOW) for signer in signers}) == 1
