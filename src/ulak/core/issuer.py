"""Which identity provider may say who a tenant's users are?

``[issuers.NAME]`` of ``ulak.toml``. Its keys are fetched from ``jwks_url``, or stand in the file as
``public_key``. The address of the keys is written by the operator and never taken from a token (CVE-2026-32301).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ulak.core import fields, jwks
from ulak.core.fields import Field, Problem
from ulak.core.token import OWN

MAX_PEM = 8_000
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Issuer:
    """One ``[issuers.NAME]``; exactly one of ``jwks_url`` and ``public_key`` is set."""

    name: str
    issuer: str
    audience: str
    algorithm: str
    jwks_url: str | None = None
    public_key: str | None = None
    user_claim: str = "sub"


def _issuer(value: object) -> str:
    written = fields.text(value)
    if written == OWN:
        raise ValueError("can't be \"ulak\": that is Ulak itself; use what stands in the tokens' iss")
    return written


def _keys_url(value: object) -> str:
    written = fields.text(value)
    try:
        url = urlsplit(written)
        local = url.scheme == "http" and url.hostname in _LOCAL
    except ValueError:
        raise ValueError("must be a URL") from None
    if not url.hostname or not (url.scheme == "https" or local) or url.username is not None or url.fragment:
        raise ValueError('must be an https URL such as "https://id.example.com/jwks.json"')
    return written


def _pem(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_PEM:
        raise ValueError('must be a public key in PEM form; begin with "-----BEGIN PUBLIC KEY-----"')
    return value


ISSUER_FIELDS = (
    Field("issuer", _issuer, "`iss` of the tokens, to the letter", required=True, shown='"https://id.example.com/"'),
    Field("audience", fields.text, "a text that must stand in `aud`", default=OWN, shown='"ulak"'),
    Field("algorithm", fields.one_of(jwks.PUBLIC_ALGORITHMS), "how tokens are signed", required=True, shown='"ES256"'),
    Field("jwks_url", _keys_url, "where the keys are fetched", shown='"https://id.example.com/jwks.json"'),
    Field("public_key", _pem, "the one key, in PEM form, instead of `jwks_url`", shown='"""-----BEGIN PUBLIC …"""'),
    Field("user_claim", fields.name, "claim that holds your id of the user", default="sub", shown='"sub"'),
)


def read(name: str, table: object, file: str, problems: list[Problem]) -> Issuer | None:
    """Read one table; mistakes go to ``problems``."""
    path = f"issuers.{name}"
    before = len(problems)
    values: dict[str, Any] = fields.read(table, ISSUER_FIELDS, file, path, problems)
    if len(problems) > before:
        return None
    if (values["jwks_url"] is None) == (values["public_key"] is None):
        hint = "its keys are fetched from the first or are the second"
        problems.append(Problem(file, path, "needs one of jwks_url and public_key", hint))
        return None
    if values["public_key"] is not None:
        try:
            jwks.pem(values["public_key"], values["algorithm"])
        except jwks.BadKey as error:
            problems.append(Problem(file, f"{path}.public_key", str(error), f"give the key for {values['algorithm']}"))
            return None
    return Issuer(name, **values)


def check_apart(issuers: list[Issuer], file: str, problems: list[Problem]) -> None:
    """Two tables must not mean the same tokens: their users could be read in two ways."""
    seen: dict[tuple[str, str, str], str] = {}
    for each in issuers:
        first = seen.setdefault((each.issuer, each.audience, each.algorithm), each.name)
        if first != each.name:
            hint = "make one of them, or give them different audiences"
            problems.append(Problem(file, f"issuers.{each.name}", f"means the same tokens as issuers.{first}", hint))
