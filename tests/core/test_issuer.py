"""Is an identity provider declared as meant, and is every mistake told?"""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from ulak.core.issuer import Issuer
from ulak.core.project import ProjectError, load

PEM = (
    ed25519.Ed25519PrivateKey.generate()
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
GOOD: dict[str, object] = {
    "issuer": "https://id.example.com/",
    "algorithm": "ES256",
    "jwks_url": "https://id.example.com/jwks.json",
}


def file(**tables: dict[str, object]) -> dict[str, str]:
    lines = []
    for name, table in tables.items():
        lines.append(f"[issuers.{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return {"ulak.toml": "\n".join(lines)}


def told(**tables: dict[str, object]) -> str:
    with pytest.raises(ProjectError) as caught:
        load(file(**tables))
    return str(caught.value)


def test_an_issuer_is_read_with_its_defaults() -> None:
    given = load(file(id=GOOD)).issuers
    assert given == {
        "id": Issuer("id", "https://id.example.com/", "ulak", "ES256", "https://id.example.com/jwks.json", None, "sub")
    }


def test_an_issuer_may_have_one_key_in_the_file() -> None:
    table: dict[str, object] = {
        "issuer": "own",
        "algorithm": "EdDSA",
        "public_key": PEM,
        "audience": "app",
        "user_claim": "uid",
    }
    assert load(file(id=table)).issuers == {"id": Issuer("id", "own", "app", "EdDSA", None, PEM, "uid")}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"issuer": "ulak"}, 'issuers.id.issuer: can\'t be "ulak"'),
        ({"issuer": ""}, "issuers.id.issuer: must be a string"),
        ({"algorithm": "HS256"}, "must be one of RS256, ES256, EdDSA"),
        ({"algorithm": "none"}, "must be one of RS256, ES256, EdDSA"),
        ({"jwks_url": "http://id.example.com/keys"}, "must be an https URL"),
        ({"jwks_url": "https://user:pw@id.example.com/"}, "must be an https URL"),
        ({"jwks_url": "https://[::1"}, "must be a URL"),
        ({"jwks_url": "file:///etc/passwd"}, "must be an https URL"),
        ({"jwks_url": "https:///keys"}, "must be an https URL"),
        ({"public_key": PEM}, "issuers.id: needs one of jwks_url and public_key"),
        ({"user_claim": "a b"}, "issuers.id.user_claim: must be a name"),
        ({"secret": "s"}, "issuers.id.secret: unknown key"),
    ],
)
def test_a_mistake_is_told_with_its_place(changes: dict[str, object], words: str) -> None:
    assert words in told(id={**GOOD, **changes})


def test_what_is_needed_is_named() -> None:
    words = told(id={"audience": "ulak"})
    assert "issuers.id.issuer: is missing" in words
    assert "issuers.id.algorithm: is missing" in words
    assert "needs one of" in told(id={"issuer": "x", "algorithm": "ES256"})


def test_a_key_that_does_not_fit_is_told_before_it_is_needed() -> None:
    assert "issuers.id.public_key: is no key for ES256" in told(
        id={"issuer": "x", "algorithm": "ES256", "public_key": PEM}
    )
    private = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    words = told(id={"issuer": "x", "algorithm": "EdDSA", "public_key": private.decode()})
    assert "is a private key" in words
    assert private.decode().splitlines()[1] not in words


def test_plain_http_is_for_this_machine_only() -> None:
    local = {**GOOD, "jwks_url": "http://localhost:8081/keys"}
    assert load(file(id=local)).issuers["id"].jwks_url == "http://localhost:8081/keys"


def test_two_tables_can_not_mean_the_same_tokens() -> None:
    assert "issuers.b: means the same tokens as issuers.a" in told(a=GOOD, b={**GOOD, "user_claim": "uid"})
    assert len(load(file(a=GOOD, b={**GOOD, "audience": "other"})).issuers) == 2
