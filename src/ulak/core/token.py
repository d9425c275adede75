"""Whose token is this, and may it be believed now?

A user's token is a JWT that a tenant's own backend, or Ulak for it, signed with the tenant's key. Rules:

* the key is chosen by ``kid`` among keys that are already here; nothing is ever fetched for a token;
* a key has one algorithm, and the header's must be it;
* the tenant is the key's, whatever the token claims; a ``tnt`` claim that says otherwise is refused;
* ``exp``, ``iat``, ``sub`` and ``aud`` (``ulak``) must be there, and a token may live 24 hours at most;
* times are compared with a ``now`` that is passed in, Unix seconds, with ``SKEW`` for clocks that differ.

RFC 7519 (JWT), RFC 8725 (best current practice).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

AUDIENCE = "ulak"
MAX_LIFE = 86_400
MIN_SECRET = 32
SKEW = 60
MAX_TOKEN = 4_096
MAX_USER = 255


class TokenError(Exception):
    """The token is not believed; ``code`` is stable, and says nothing that helps to guess a better one."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code

    @property
    def expired(self) -> bool:
        """A fresh token would do: the client may fetch one and come back."""
        return self.code == "token_expired"


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One key of one tenant. ``secret`` is the HMAC secret (>= 32 bytes), or later a public key in PEM."""

    tenant: int
    kid: str
    secret: bytes
    algorithm: str = "HS256"

    def __post_init__(self) -> None:
        if self.algorithm.startswith("HS") and len(self.secret) < MIN_SECRET:
            raise ValueError(f"the secret of token key {self.kid!r} is shorter than {MIN_SECRET} bytes")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a believed token says; ``expires_at`` in Unix seconds."""

    tenant: int
    user: str
    expires_at: float


def ring(keys: Iterable[TokenKey]) -> Mapping[str, TokenKey]:
    """Order keys by their id; raises ``ValueError`` if two share one, as a token could then change tenants."""
    ordered: dict[str, TokenKey] = {}
    for key in keys:
        if ordered.setdefault(key.kid, key) != key:
            raise ValueError(f"token key id {key.kid!r} belongs to two keys")
    return ordered


def mint(key: TokenKey, user: str, ttl: int, now: float) -> str:
    """Sign a token for a user that lives ``ttl`` seconds (at most 24 h) from ``now``."""
    if not 0 < ttl <= MAX_LIFE:
        raise ValueError(f"a token lives between 1 second and {MAX_LIFE} seconds")
    issued = int(now)
    claims = {"iss": AUDIENCE, "aud": AUDIENCE, "sub": user, "tnt": key.tenant, "iat": issued, "exp": issued + ttl}
    return jwt.encode(claims, key.secret, algorithm=key.algorithm, headers={"kid": key.kid})


def verify(token: str, keys: Mapping[str, TokenKey], now: float) -> Claims:
    """Believe a token or raise ``TokenError``."""
    key = _key_of(token, keys)
    try:
        claims = jwt.decode(
            token,
            key.secret,
            algorithms=[key.algorithm],
            audience=AUDIENCE,
            options={
                "require": ["exp", "iat", "sub", "aud"],
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
            },
        )
    except jwt.InvalidAudienceError:
        raise TokenError("token_audience") from None
    except jwt.MissingRequiredClaimError:
        raise TokenError("token_claims") from None
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenError("token_invalid") from None
    expires_at = _times(claims, now)
    return Claims(key.tenant, _user(claims, key), expires_at)


def _key_of(token: str, keys: Mapping[str, TokenKey]) -> TokenKey:
    if len(token) > MAX_TOKEN or not token.isascii():
        raise TokenError("token_invalid")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenError("token_invalid") from None
    kid = header.get("kid")
    key = keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise TokenError("token_key")
    return key


def _times(claims: Mapping[str, Any], now: float) -> float:
    expires_at, issued_at = _seconds(claims, "exp"), _seconds(claims, "iat")
    not_before = _seconds(claims, "nbf") if "nbf" in claims else issued_at
    if expires_at - issued_at > MAX_LIFE or expires_at <= issued_at:
        raise TokenError("token_life")
    if max(issued_at, not_before) > now + SKEW:
        raise TokenError("token_early")
    if expires_at <= now:
        raise TokenError("token_expired")
    return expires_at


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise TokenError("token_claims")
    return float(value)


def _user(claims: Mapping[str, Any], key: TokenKey) -> str:
    user = claims["sub"]
    if not isinstance(user, str) or not 0 < len(user) <= MAX_USER or not _storable(user):
        raise TokenError("token_claims")
    if claims.get("tnt", key.tenant) != key.tenant:
        raise TokenError("token_tenant")
    return user


def _storable(text: str) -> bool:
    """PostgreSQL takes neither NUL nor half a surrogate pair, and one such user would spoil a batch."""
    return "\0" not in text and not any(0xD800 <= ord(character) <= 0xDFFF for character in text)
